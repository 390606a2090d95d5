"""``collect``: compute features, logits and labels of a data set once, with a frozen model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast._columns import Columns
from lt_fast.calibration.batch_norm import batch_norms
from lt_fast.calibration.heads import named_head, unwrapped
from lt_fast.calibration.labelled_batches import labelled
from lt_fast.calibration.model_output import modules_that_return, refuse_other_output


class Collected(NamedTuple):
    """What ``collect`` returns, on the CPU.

    Attributes:
        features: what the head was given, ``(N, D)`` float32.
        logits: what it returned, ``(N, C)`` float32; ``(0, C)`` where they were not asked for.
        labels: ``(N,)`` int64.

    >>> from lt_fast.models import digits_net
    >>> found = collect(digits_net(2, seed=0), [(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 0, 1]))])
    >>> isinstance(found, Collected), found.features.shape, found.logits.shape, found.labels
    (True, torch.Size([4, 64]), torch.Size([4, 2]), tensor([0, 0, 0, 1]))
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


def collect(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    device: str | torch.device | None = None,
    amp: bool = False,
    head: str = "head",
    keep_logits: bool = True,
    progress: bool = False,
) -> Collected:
    """Run ``model`` over ``batches`` in eval mode without gradients, and store the inputs and outputs of its head.

    Works on any model whose forward pass calls its head once on ``(N, D)`` features and returns the head's output:
    alone, as ``logits`` of a structure, or as the first ``(N, C)`` tensor of a tuple or dictionary. Every batch is
    checked: a calibrated head does not correct an output that is averaged, scaled, shifted or normalised after
    the head. The mode of every module is restored afterwards. Batch norm uses its running statistics and does not move
    them. Models in ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` are run without their wrapper.

    Args:
        model: moved to ``device`` when one is given.
        batches: yields ``(x, labels)``, or unmixed batches as a ``lt_fast.data.Loader`` reads them; labels
            ``(N,)`` integers in [0, C).
        device: where to compute; the model's own when left out.
        amp: compute in bfloat16 where autocast deems it safe; the results are float32 nevertheless.
        head: name of the classifier module: ``"fc"`` for a torchvision ResNet.
        keep_logits: False keeps the features alone, which is what calibrators are fitted on.
        progress: show a bar over the batches (needs tqdm).

    Complexity: one forward pass; N (D + C) floats of memory, N D without logits.

    Raises:
        TypeError: if a batch has another form; the message says how to convert it.
        ValueError: if there is no batch, a batch is mixed, its labels and images differ in number, a label is outside
            [0, C), there is no module called ``head``, the forward pass does not call it exactly once, or the model
            returns something other than its output.

    >>> from lt_fast.models import digits_net
    >>> model = digits_net(2, seed=0)
    >>> batches = [(torch.zeros(3, 1, 8, 8), torch.tensor([0, 0, 1])), (torch.ones(1, 1, 8, 8), torch.tensor([1]))]
    >>> features, logits, labels = collect(model, batches)
    >>> features.shape, labels, torch.allclose(model.head(features), logits, atol=1e-6)
    (torch.Size([4, 64]), tensor([0, 0, 1, 1]), True)
    """
    columns, empty = Columns(), torch.empty(0)
    for features, logits, labels in collected_batches(
        model, batches, device=device, amp=amp, head=head, keep_logits=keep_logits, progress=progress
    ):
        columns.add((features, labels, logits) if keep_logits else (features, labels))
        empty = logits[:0].clone()
    if not len(columns):
        raise ValueError("batches must yield at least one batch, got none")
    features, labels, *kept = columns.tensors()
    return Collected(features, kept[0] if kept else empty, labels)


def collected_batches(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    device: str | torch.device | None = None,
    amp: bool = False,
    head: str = "head",
    keep_logits: bool = True,
    train_batch_norm: bool = False,
    progress: bool = False,
) -> Iterator[Collected]:
    """Yield what ``collect`` returns, batch by batch: for many classes, whose logits would not fit into memory.

    Until the last batch is taken or the generator is closed, the model is in eval mode, and with ``train_batch_norm``
    all but its batch norms: these normalise by the batch, and their running statistics move. Other arguments and errors
    are those of ``collect``.

    >>> from lt_fast.models import digits_net
    >>> batches = [(torch.zeros(3, 1, 8, 8), torch.tensor([0, 0, 1])), (torch.ones(1, 1, 8, 8), torch.tensor([1]))]
    >>> for features, logits, labels in collected_batches(digits_net(2, seed=0), batches):
    ...     print(features.shape, logits.shape, labels)
    torch.Size([3, 64]) torch.Size([3, 2]) tensor([0, 0, 1])
    torch.Size([1, 64]) torch.Size([1, 2]) tensor([1])
    """
    target_device = _device(model, device)
    calls, own = _Calls(head), unwrapped(model)  # a compiled model would not call the hook, a parallel one its copies'
    hook = named_head(model, head).register_forward_hook(calls.note, with_kwargs=True)
    before = 0
    try:
        with in_eval_mode(model):
            for layer in batch_norms(model).values():
                layer.train(train_batch_norm)
            for step, (x, labels) in enumerate(labelled(batches, progress=progress)):
                calls.clear()
                images = x.to(target_device, non_blocking=True)
                # Entered for each batch: whoever takes one must not be left without gradients, or in bfloat16.
                with torch.no_grad(), torch.autocast(target_device.type, dtype=torch.bfloat16, enabled=amp):
                    features, logits = _checked(own, images, calls, step=step)
                _checks.labels_in_range("labels", labels, logits.shape[1], first=before, hint=", the model's classes")
                before += len(labels)
                # Not logits[:0], which would keep the memory of all of them.
                kept = logits if keep_logits else logits.new_empty((0, logits.shape[1]))
                yield Collected(features.float().cpu(), kept.float().cpu(), labels)
    finally:
        hook.remove()


def _device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    if device is not None:
        model.to(device)
        return torch.device(device)
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _checked(model: nn.Module, images: Tensor, calls: "_Calls", *, step: int) -> tuple[Tensor, Tensor]:
    output = model(images)
    try:
        features, logits = calls.only(len(images))
        refuse_other_output(output, logits, head=calls.name, step=step)
    except ValueError as error:
        found = modules_that_return(model, images)
        if not found:
            raise
        raise ValueError(f"{error}; head={found[-1]!r} names the module whose output the model returns") from None
    return features, logits


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of ``model`` into evaluation mode, and back into its own mode at the end."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Calls:
    """The input and output of a head in one forward pass, copied at that moment.

    Args:
        name: of the head, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: list[tuple[Any, Any]] = []

    def clear(self) -> None:
        self._seen.clear()

    def note(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        """Store copies: the model may change either tensor in place afterwards."""
        first = next((part for part in (*given, *named.values()) if isinstance(part, Tensor)), None)
        self._seen.append((first if first is None else first.clone(), out.clone() if isinstance(out, Tensor) else out))

    def only(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return features and logits.

        Raises:
            ValueError: if there was not exactly one call, or a shape is not that of a classifier.
        """
        if len(self._seen) != 1:
            raise ValueError(
                f"the forward pass must call {self.name!r} exactly once, got {len(self._seen)} calls in eval mode"
            )
        features, logits = self._seen[0]
        _require_rows(features, rows, f"{self.name!r} must be given features (N, D)")
        _require_rows(logits, rows, f"{self.name!r} must return logits (N, C)")
        return features, logits


def _require_rows(tensor: Any, rows: int, rule: str) -> None:
    shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
    if isinstance(tensor, Tensor) and tensor.ndim == 2 and len(tensor) == rows:  # noqa: PLR2004
        return
    hint = ""
    if isinstance(tensor, Tensor) and tensor.ndim == 4 and tensor.shape[2:].numel() == 1:  # noqa: PLR2004
        hint = "; flatten them before the head, which is then an nn.Linear instead of a 1 x 1 convolution"
    elif isinstance(tensor, Tensor) and tensor.ndim > 2 and len(tensor) == rows:  # noqa: PLR2004
        hint = "; a head over positions or tokens cannot be calibrated: pool them before the head"
    raise ValueError(f"{rule} with N = {rows}, got {shape}{hint}")
