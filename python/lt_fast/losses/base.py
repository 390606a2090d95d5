"""The base of all losses: shared options and their documentation, class vectors, and every call of the fused operator.

A loss file turns ``ClassCounts`` into vectors of length C. One that is a single call of the fused operator derives from
``MarginLoss``; one with its own maths per row from ``RowLoss``.
"""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.first_logits import FirstLogits
from lt_fast.losses.fixed_options import FixedOptions, advice
from lt_fast.ops import mixed_margin_loss
from lt_fast.ops.arguments import require_tensor, settings
from lt_fast.ops.branches import mixed_labels, mixed_loss, row_cross_entropy
from lt_fast.ops.reference import is_own

__all__ = [
    "Loss", "MarginLoss", "RowLoss", "SharedOptions", "UnweightedOptions", "Vectors", "is_own", "mixed_labels",
    "mixed_margin_loss", "require_tensor", "row_cross_entropy",
]  # fmt: skip

Vectors = Mapping[str, NDArray[np.float64] | None]
"""Name to ``(C,)`` values; None for a vector that the loss does not have."""


class UnweightedOptions(TypedDict, total=False):
    """Options of every loss, documented in ``Loss``."""

    label_rule: str
    omega: float
    normalization: str
    reduction: str
    empty: EmptyPolicy


class SharedOptions(UnweightedOptions, total=False):
    """Options of every loss that takes class weights, documented in ``Loss``."""

    weight: Any


class _LossType(type):
    """Type of the losses: fixes a loss once it is made, and shows the shared options in its signature."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made._fixed = True  # noqa: SLF001  (only now, so that constructors may set attributes)
        return made

    @property
    def __signature__(cls: Any) -> inspect.Signature:
        """Signature of the constructor with the shared options in place of its ``**``."""
        own = list(inspect.signature(cls.__init__).parameters.values())[1:]
        if own[-1:] and own[-1].kind is inspect.Parameter.VAR_KEYWORD:
            options = inspect.signature(Loss.__init__).parameters.values()
            names = cls.shared_options.__annotations__.keys() - {option.name for option in own}
            own[-1:] = [option for option in options if option.name in names]
        return inspect.Signature(own)


class Loss(nn.Module, metaclass=_LossType):
    """A loss of logits against one label per row, or against two labels of mixed images.

    With two labels a and b per row it is the mean over the rows of ``f * weight[a] * loss(logits, a) + (1 - f) *
    weight[b] * loss(logits, b)``; ``label_rule`` computes the label weight f from ``lam``, the mixing coefficient of
    the first image. Every label has its own margin, gap or probability.

    The options are fixed when the loss is made; an assignment raises an ``AttributeError`` that names the alternative.
    At calls 1, 2, 4, ... 1024 the loss checks its logits, and warns if they look like probabilities, or if they are not
    cosines although the loss has a ``scale``. ``torch.compile`` and the bare ``ops.mixed_margin_loss`` do not check.

    Args:
        counts: training samples per class: a ``ClassCounts``, or a sequence, ``Series`` or dictionary of counts.
        weight: one number >= 0 per class, which multiplies the loss of its samples; ``effective_number_weights(counts)``
            late in training is DRW. By default there is none, as in the papers.
        label_rule: ``"mixup"`` takes f = ``lam``; ``"mam"``, ``"remix"``, ``"unimix"`` and ``"cp_mix"`` change it by the
            class counts, see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``; 0 is mixup.
        normalization: the divisor of the mean. ``"expected"``: N times the mean weight of a training sample, which is
            the same on 1 and on 16 ranks; ``"weights"``: the sum of the weights in the batch, as ``F.cross_entropy``;
            ``"batch"``: N. Without ``weight`` all three are N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"error"`` refuses a class without samples. ``"ignore"`` gives it weight 0 where weights follow from
            counts, and the margin or prior of the rarest other class.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)`` with logits in
        float32, float64, bfloat16 or float16, int64 labels in [0, C) and lam in [0, 1]. Returns a scalar, or (N,) for
        ``reduction="none"``, float64 for float64 logits and float32 for all others. O(N * C).

    Raises:
        TypeError: if labels are not int64, or an option has a wrong type.
        ValueError: if a class is empty, a shape does not fit, a label is out of range, or an option is out of range or
            unknown.
    """

    shared_options: ClassVar[type] = SharedOptions

    def __init__(
        self,
        counts: CountsLike,
        *,
        vectors: Vectors | None = None,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
        **operator: Any,
    ) -> None:
        super().__init__()
        counts = ClassCounts(counts).require_no_empty(empty)
        mixing = {"label_rule": label_rule, "omega": omega, "normalization": normalization, "reduction": reduction}
        options = {**operator, **mixing}
        for name in options.keys() - _DEFAULTS.keys():
            raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}")
        settings(*{**_DEFAULTS, **options}.values())
        self.vectors = ClassVectors(counts, **(vectors or {}), weight=checked_weights(weight, len(counts)))
        self.options = FixedOptions(type(self).__name__, options)
        self._first = FirstLogits(type(self).__name__, options.get("scale", 1.0))

    def loss_and_gradient(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the reduced loss and its gradient with respect to ``logits``, both detached from the graph.

        ``logits.backward(gradient)`` then does what ``loss.backward()`` does after ``forward``. For a ``MarginLoss``
        this avoids the cost of autograd in the loss, at small shapes more than the loss itself. Not for a gradient
        scaler: half-precision gradients are rounded here before they are scaled.

        Raises:
            ValueError: for ``reduction="none"``, and whatever ``forward`` raises.
            RuntimeError: in ``torch.inference_mode``, unless the loss is a ``MarginLoss``.
        """
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                f"loss_and_gradient of {type(self).__name__} must be called outside torch.inference_mode, where no "
                "gradient can be computed; use torch.no_grad"
            )
        require_tensor(logits)
        leaf = logits.detach().requires_grad_()
        with torch.enable_grad():
            loss: Tensor = self(leaf, target_a, target_b, lam)
        if loss.dim():
            raise ValueError("reduction must be 'mean' or 'sum' for loss_and_gradient, got 'none'")
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the module; refuse an option."""
        self._refuse_option(name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the module; refuse an option."""
        self._refuse_option(name, None)
        super().__delattr__(name)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a buffer of the module; refuse an option."""
        self._refuse_option(name, tensor)
        super().register_buffer(name, tensor, persistent=persistent)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter of the module; refuse an option."""
        self._refuse_option(name, param)
        super().register_parameter(name, param)

    def _refuse_option(self, name: str, value: Any) -> None:
        if not self.__dict__.get("_fixed") or self._takes_effect(name, value):
            return
        own = next(cls for cls in type(self).__mro__ if cls.__module__.startswith("lt_fast."))
        own = type(self) if own.__module__ == __name__ else own
        options = tuple(inspect.signature(own).parameters)
        if own is not type(self) and name not in options:
            return  # an attribute of a user's subclass of this loss
        message = advice(type(self).__name__, options, name)
        if message is not None:
            raise AttributeError(message)

    def _takes_effect(self, name: str, value: Any) -> bool:
        """Whether ``value`` replaces a submodule, or the value of a counter."""
        if name in self._modules:
            return isinstance(value, nn.Module)
        buffer = self._buffers.get(name)
        of_counter = buffer is not None and isinstance(value, Tensor)
        return of_counter and (value.shape, value.dtype) == (buffer.shape, buffer.dtype)  # type: ignore[union-attr]


class MarginLoss(Loss):
    """A loss that is one call of ``ops.mixed_margin_loss``, the cross entropy with a margin, a bias and class weights.

    A subclass computes its vectors of length C from the counts::

        class SquareRootMarginLoss(MarginLoss):
            def __init__(self, counts, *, max_margin: float = 0.5, scale: float = 30.0, **shared: Unpack[SharedOptions]):
                counts = ClassCounts(counts).require_no_empty()
                margin = max_margin * (counts.counts.min() / counts.counts) ** 0.5
                super().__init__(counts, margin=margin, scale=scale, **shared)

    Args:
        counts: training samples per class.
        margin: subtracted from the own logit before scaling; None for 0.
        bias: added to the scaled logits; None for 0.
        options: other options of ``ops.mixed_margin_loss`` (``scale``, ``label_smoothing``, ``focal_gamma``, ...), and
            the shared options that ``Loss`` documents.

    Shape:
        margin and bias (C,); all others as in ``Loss``. One pass over the logits.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        margin: NDArray[np.float64] | None = None,
        bias: NDArray[np.float64] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(counts, vectors={"margin": margin, "bias": bias}, **options)

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of ``logits`` against one label per row, or two with the mixing coefficient ``lam``."""
        require_tensor(logits)
        vectors = self.vectors.for_logits(logits)
        loss: Tensor = mixed_margin_loss(logits, target_a, target_b=target_b, lam=lam, **vectors, **self.options)
        self._first.look(logits, self.vectors)
        return loss

    def loss_and_gradient(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the reduced loss and its gradient, see ``Loss``; here from one call of the operator."""
        require_tensor(logits)
        vectors = self.vectors.for_logits(logits)
        both: tuple[Tensor, Tensor] = mixed_margin_loss(
            logits, target_a, target_b=target_b, lam=lam, return_gradient=True, **vectors, **self.options
        )
        self._first.look(logits, self.vectors)
        return both


class RowLoss(Loss):
    """A loss whose maths the fused operator does not have: ``row_loss`` in plain torch, mixed and reduced like others.

    A subclass passes the vectors that ``row_loss`` needs to the constructor, as ``vectors``.
    """

    def row_loss(self, scores: Tensor, label: Tensor, **vectors: Tensor) -> Tensor:
        """Return the loss of each row against one label.

        Shape:
            scores (N, C) float32, or float64 for float64 logits; label (N,) int64; vectors (C,); returns (N,).
        """
        raise NotImplementedError

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of ``logits`` against one label per row, or two with the mixing coefficient ``lam``."""
        require_tensor(logits)
        own = self.vectors.for_logits(logits)
        of_mix = {"class_counts": own.pop("class_counts"), "weight": own.pop("weight", None)}

        def row_loss(scores: Tensor, label: Tensor) -> Tensor:
            return self.row_loss(scores, label, **own)

        loss = mixed_loss(row_loss, logits, target_a, target_b=target_b, lam=lam, **of_mix, **self.options)
        self._first.look(logits, self.vectors)
        return loss


_DEFAULTS: dict[str, Any] = {
    "label_rule": "mixup", "omega": 0.25, "kappa": 3.0, "tau": 0.5, "margin_rule": "fixed", "max_margin": None,
    "gamma": None, "compat": None, "scale": 1.0, "label_smoothing": 0.0, "focal_gamma": 0.0,
    "normalization": "expected", "reduction": "mean",
}  # fmt: skip
