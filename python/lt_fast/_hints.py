"""Next steps for the errors about logits and labels: what the given value looks like, and how to pass it.

Each function returns ``"; <next step>"``, or an empty string where nothing can be said. They run on the way to an
exception only, so they may read values; in a trace, where values cannot be read, they look at shapes alone.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lt_fast.counts import ClassCounts

_TWO_LABELS = "target_b and lam: one label per row for each of the two images, and the factor of the first image"


# --- logits -----------------------------------------------------------------------------------------------------------


def for_logits_type(logits: object) -> str:
    """Next step for logits that are no tensor: an output object, a tuple, an array, the counts."""
    if isinstance(getattr(logits, "logits", None), Tensor):
        return "; pass its attribute .logits"
    if isinstance(logits, Mapping):
        return _of_keys(logits, "logits")
    if isinstance(logits, ClassCounts):
        return "; the counts belong to the constructor of a loss, and logits and labels to its call"
    if isinstance(logits, tuple | list) and any(isinstance(part, Tensor) for part in logits):
        at = next(index for index, part in enumerate(logits) if isinstance(part, Tensor))
        return f"; pass one tensor of it, such as output[{at}]"
    return _as_tensor("logits", logits)


def for_logits_dtype(logits: Tensor, target: object) -> str:
    """Next step for logits of a wrong dtype, such as labels in their place."""
    if isinstance(target, Tensor) and target.is_floating_point() and not logits.is_floating_point():
        return "; did you swap logits and target? The logits come first"
    return "" if logits.is_complex() else "; use logits.float()"


def for_logits_shape(logits: Tensor, target: object) -> str:
    """Next step for logits that are not (N, C): sequences, segmentation, one sample, one class."""
    if logits.dim() == 1:
        return _for_one_dimension(logits, target)
    if logits.dim() == 2 and logits.shape[1]:  # noqa: PLR2004
        return _for_one_output("torch.cat([torch.zeros_like(logits), logits], 1)")
    if logits.numel() == 0 or logits.dim() < 2:  # noqa: PLR2004
        return ""
    if logits.shape[0] * max(logits.shape[1:]) == logits.numel():
        return "; use logits.flatten(1)"
    return _for_positions(logits, target)


def _for_positions(logits: Tensor, target: object) -> str:
    labels = target.shape if isinstance(target, Tensor) else None
    where_second, where_last = (logits.shape[0], *logits.shape[2:]), logits.shape[:-1]
    second = "logits.movedim(1, -1).flatten(0, -2), target.flatten()"
    last = "logits.flatten(0, -2), target.flatten()"
    if labels == where_last != where_second:
        return f"; for one label per position pass {last}"
    if labels == where_second != where_last:
        return f"; for one label per position pass {second}"
    return f"; for one label per position pass {second} where classes are dimension 1, {last} where they are the last"


def _for_one_output(two_columns: str) -> str:
    return f"; of a binary model with one output pass {two_columns}, and counts of two classes"


def _for_one_dimension(logits: Tensor, target: object) -> str:
    if isinstance(target, Tensor) and target.dim() == 1 and len(target) == len(logits) > 1:
        return _for_one_output("torch.stack([torch.zeros_like(logits), logits], 1)")
    return "; for one sample use logits.unsqueeze(0) and target.reshape(1)"


# --- labels -----------------------------------------------------------------------------------------------------------


def for_labels_type(name: str, labels: object) -> str:
    """Next step for labels that are no tensor: lists, arrays, tuples of a mixed batch, dictionaries, ``lam``."""
    if isinstance(labels, Mapping):
        return _of_keys(labels, name)
    if isinstance(labels, ClassCounts):
        return "; the counts belong to the constructor of a loss, and logits and labels to its call"
    if isinstance(labels, tuple | list) and any(isinstance(part, Tensor) and part.dim() for part in labels):
        return f"; pass the parts of a mixed batch one by one, as target, {_TWO_LABELS}"
    if name == "target_b" and isinstance(labels, int | float):
        return "; the labels of the second images come before their factor: target, target_b, lam"
    return _as_tensor(name, labels)


def for_labels_dtype(name: str, labels: Tensor, logits: Tensor) -> str:
    """Next step for labels that are not int64: ``.long()`` only where it keeps what they say."""
    if labels.is_complex():
        return ""
    if _is_row_of_classes(labels, logits):
        return _for_soft_labels(name, labels)
    if labels.is_floating_point() and readable(labels):
        broken = (labels != labels.round()) | ~labels.isfinite()
        if bool(broken.any()):
            return _for_broken_labels(name, float(labels[broken].flatten()[0]))
    return f"; use {name}.long()"


def _for_broken_labels(name: str, value: float) -> str:
    swapped = "; the factor of the first image is lam, which follows target_b" if name == "target_b" else ""
    return f" with values such as {value:g}, which is no class index{swapped}"


def for_labels_shape(name: str, labels: Tensor, logits: Tensor) -> str:
    """Next step for labels that are not (N,): one-hot or soft rows, a column, one number."""
    if _is_row_of_classes(labels, logits):
        return _for_soft_labels(name, labels)
    if labels.numel() == len(logits) and labels.dim() != 1:
        return f"; use {name}.reshape(-1)"
    if labels.dim() == 1:
        return f"; logits have {len(logits)} rows and {name} has {len(labels)} labels"
    return ""


def _is_row_of_classes(labels: Tensor, logits: Tensor) -> bool:
    return labels.dim() == 2 and len(labels) == len(logits) and labels.shape[1] > 1  # noqa: PLR2004


def _for_soft_labels(name: str, labels: Tensor) -> str:
    one_hot = f"{name}.long().argmax(1)"
    if not readable(labels):
        return f"; use {one_hot} for one-hot labels; pass those of mixed images as {_TWO_LABELS}"
    if _is_one_hot(labels):
        return f"; these look like one-hot labels: use {one_hot}"
    if labels.is_floating_point():
        two = f"; pass soft labels of mixed images as {_TWO_LABELS}"
        return f"{two}, which lt_fast.losses.two_labels makes of them; for one label per row use {name}.argmax(1)"
    return (
        f"; pass soft labels of mixed images as {_TWO_LABELS}; .long() would have rounded them to 0, so make labels "
        "from the values before it"
    )


def _is_one_hot(labels: Tensor) -> bool:
    zero_or_one = (labels == 0) | (labels == 1)
    return bool(zero_or_one.all()) and bool(((labels != 0).sum(1) == 1).all())


def for_label_value(name: str, labels: Tensor, num_classes: int, *, rows: str = "logits") -> str:
    """Next step for a label outside the classes: rows to leave out, labels from 1 on, too few classes."""
    lowest, largest = int(labels.min()), int(labels.max())
    if lowest < 0:
        left_out = f"; leave rows without a label out: keep = {name} >= 0, then {rows}[keep] and {name}[keep]"
        return left_out + (f"; a loss of logits does it with ignore_index={lowest}" if rows == "logits" else "")
    if lowest >= 1 and largest == num_classes:
        return f"; labels are numbered from 0: use {name} - 1"
    keep = f"keep = {name} < {num_classes}, then {rows}[keep] and {name}[keep]"
    marked = f"; if {largest} marks rows without a label, leave them out: {keep}"
    ignored = f"; a loss of logits does it with ignore_index={largest}" if rows == "logits" else ""
    return f"; there are {num_classes} classes{marked}{ignored}"


def for_class_vector(num_classes: int) -> str:
    """Next step for class vectors, such as the counts of a loss, of another number of classes than the logits."""
    return f"; the logits have {num_classes} columns: make the loss with {num_classes} counts, or the network to fit it"


# --- both -------------------------------------------------------------------------------------------------------------


def _of_keys(values: Mapping[Any, Any], name: str) -> str:
    keys = [key for key, value in values.items() if isinstance(value, Tensor)] or list(values)
    wanted = name if name in keys else next((key for key in ("out", "labels", "label") if key in keys), None)
    if wanted is not None:
        return f"; pass its entry [{wanted!r}]"
    return f"; pass one of its entries: {', '.join(map(repr, keys[:5]))}"


def _as_tensor(name: str, value: object) -> str:
    arrays = isinstance(value, list | tuple) or hasattr(value, "__array__")
    return f"; use torch.as_tensor({name})" if arrays else ""


def readable(values: Tensor) -> bool:
    """Whether values can be read: not in a trace or a transform."""
    return (
        not torch.compiler.is_compiling()
        and not values.is_meta
        and not torch._C._are_functorch_transforms_active()  # noqa: SLF001
        and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001
    )
