"""The class sizes of a pair of labels, checked and in one dtype: for label rules that depend on them."""

import torch
from torch import Tensor

from lt_fast.mixing.draws import checked_target


def checked_pair(lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int) -> tuple[Tensor, Tensor, Tensor]:
    """Return all three as tensors on the device of ``lam``: float64 for a number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``lam`` is outside [0, 1] or a size is not > 0; checked on the CPU only, and not
            under ``torch.compile``.
    """
    lam, n_a, n_b = (
        value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64) for value in (lam, n_a, n_b)
    )
    if not torch.compiler.is_compiling():  # reading the values would break the graph
        _check_values(lam, n_a, n_b)
    wide = torch.promote_types(lam.dtype, torch.float32)
    return lam.to(wide), n_a.to(lam.device, wide), n_b.to(lam.device, wide)


def sizes_of(sizes: Tensor, **targets: Tensor) -> tuple[Tensor, ...]:
    """Return the class sizes of labels given by name, on the labels' device.

    Raises:
        TypeError: if labels are not integers.
        ValueError: if a label is outside [0, C); checked on the CPU only.
    """
    for name, target in targets.items():
        checked_target(target, name, num_classes=len(sizes))
    return tuple(sizes.to(target.device)[target.long()] for target in targets.values())


def _check_values(lam: Tensor, n_a: Tensor, n_b: Tensor) -> None:
    if lam.device.type == "cpu" and not bool(((lam >= 0) & (lam <= 1)).all()):
        wrong = lam[~((lam >= 0) & (lam <= 1))].flatten()[0].item()
        raise ValueError(f"lam must be in [0, 1], got {wrong:g}")
    for name, sizes in (("n_a", n_a), ("n_b", n_b)):
        if sizes.device.type == "cpu" and not bool((sizes > 0).all()):
            wrong = sizes[~(sizes > 0)].flatten()[0].item()
            raise ValueError(f"{name} must be > 0, got {wrong:g}; a class without samples cannot be mixed")
