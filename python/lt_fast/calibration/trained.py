"""What calibrators that stochastic gradient descent trains on features in memory have in common."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration import storage
from lt_fast.calibration.batch_norm import with_statistics
from lt_fast.calibration.calibrator import Calibrator
from lt_fast.calibration.checks import MAX_EPOCHS, as_tensor, checked_labels, rows_of_a_view
from lt_fast.calibration.descent import Order, class_balanced, cosine_rate, minimise, shuffled
from lt_fast.calibration.heads import Model
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.errors import DataError

_STATISTIC = "batch_norm:"  # begins the names of its tensors in a file
_SETTINGS = ("epochs", "lr", "batch_size", "momentum", "weight_decay", "scale", "views", "seed", "empty")


class TrainedCalibration(Calibrator):
    """Base of calibrators that are trained on features or logits: settings of the descent, checks, files.

    SGD with momentum takes one pass over N rows per epoch, with one learning rate per epoch, a cosine from ``lr`` to 0.

    Args:
        counts: training samples per class.
        epochs: from 1 to 1,000,000.
        lr: first learning rate.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty on all that is learned.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e reads view ``e % K``.
        order: ``order(epoch, n)`` gives the rows of an epoch.
        seed: integer in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples.

    Attributes:
        losses: mean loss of each epoch of the last ``fit``.
        statistics: running statistics of batch norm that this second stage has moved, by name; usually none.

    Raises:
        TypeError, ValueError: if a setting is outside its range.
    """

    name: ClassVar[str]
    transforms: ClassVar[Literal["features", "logits"]]
    kept: ClassVar[dict[str, str]]
    """Tensors that a fitted calibrator has, and their shape as letters, C for classes; "?" ends an optional one."""
    balanced: bool
    """Whether an epoch has N class-balanced draws, repeats allowed, in place of each row once."""

    cosine: bool | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        epochs: int,
        lr: float,
        batch_size: int,
        momentum: float,
        weight_decay: float,
        scale: float,
        views: int,
        order: Order | None,
        seed: int,
        progress: bool,
        empty: EmptyPolicy,
    ) -> None:
        self.epochs = _checks.integer("epochs", epochs, least=1, most=MAX_EPOCHS)
        self.lr = _checks.number("lr", lr, above=0)
        self.batch_size = _checks.integer("batch_size", batch_size, least=1)
        self.momentum = _checks.number("momentum", momentum, least=0, below=1)
        self.weight_decay = _checks.number("weight_decay", weight_decay, least=0)
        self.scale = _checks.number("scale", scale, above=0)
        self.views = _checks.integer("views", views, least=0)
        self.seed = _checks.seed(seed)
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.empty, self.order, self.progress = empty, order, progress
        self.losses: list[float] = []
        self.statistics: dict[str, Tensor] = {}

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor, JSON values, apart from the counts."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def _tensors(self) -> dict[str, Tensor | None]:
        """Return what is saved."""
        own: dict[str, Tensor | None] = {name.rstrip("?"): getattr(self, name.rstrip("?"), None) for name in self.kept}
        return own | {f"{_STATISTIC}{name}": values for name, values in self.statistics.items()}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``calibrator.json`` and ``calibrator.safetensors`` into ``folder``; ``order`` is not saved.

        Raises:
            RuntimeError: before ``fit``.
            MissingExtraError: if safetensors is not installed.
        """
        tensors = self._fitted("save")
        kind = {} if self.cosine is None else {"cosine": self.cosine}
        counts = {"counts": self.counts.counts.tolist(), "names": list(self.counts.names)}
        settings = {"method": self.name, **self._settings(), **kind, **counts, "losses": self.losses}
        storage.write(folder, settings, tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a saved calibrator.

        Raises:
            DataError: if a file is missing, damaged or of another method; names the file.
            MissingExtraError: if safetensors is not installed.
        """
        required = tuple(name for name in cls.kept if not name.endswith("?"))
        settings, tensors = storage.read(folder, method=cls.name, names=required)
        losses, names = settings.pop("losses", []), settings.pop("names", None)
        cosine = settings.pop("cosine", cls.cosine)
        try:
            settings.pop("method")
            calibrator = cls(ClassCounts(settings.pop("counts"), names=names), **settings)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder} must hold a {cls.name} calibrator, got wrong settings: {error}") from None
        calibrator.losses = losses
        if cosine is not None:
            calibrator.cosine = bool(cosine)
        calibrator._restore(tensors, folder)
        return calibrator

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the tensors that have been learned, and ``cosine`` where the kind of the head matters.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
        """
        kind = {} if self.cosine is None else {"cosine": torch.tensor(self.cosine)}
        return {**super().state_dict(), **kind}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Take over the tensors of ``state_dict()`` of a calibrator with the same settings, and return self.

        Raises:
            DataError: if a tensor is missing, has another shape or is not finite; nothing has changed then.
        """
        super().load_state_dict(state)
        if "cosine" in state:
            self.cosine = bool(state["cosine"])
        return self

    def _names(self) -> tuple[str, ...]:
        return tuple(name for name in self.kept if not name.endswith("?"))

    def _restore(self, tensors: dict[str, Tensor], folder: str | os.PathLike[str]) -> None:
        """Take over the tensors of a file.

        Raises:
            DataError: if one has another shape.
        """
        sizes, found = {"C": len(self.counts)}, {}
        for name, letters in self.kept.items():
            tensor = tensors.get(name.rstrip("?"))
            if tensor is not None:
                wrong = [at for at, size in zip(letters, tensor.shape) if sizes.setdefault(at, size) != size]  # noqa: B905
                if wrong or tensor.ndim != len(letters):
                    rule = f"must hold {name.rstrip('?')!r} of {len(self.counts)} classes"
                    raise DataError(f"{folder} {rule}, got shape {tuple(tensor.shape)}")
                found[name.rstrip("?")] = tensor
        for name, tensor in found.items():  # only now: an error has changed nothing
            setattr(self, name, tensor)
        moved = {name: values for name, values in tensors.items() if name.startswith(_STATISTIC)}
        self.statistics = {name.removeprefix(_STATISTIC): values for name, values in moved.items()}

    def adapted(self, model: Model) -> Model:
        """Return the network whose outputs it takes: ``model``, or a copy with the statistics of batch norm it moved.

        Raises:
            ValueError: if it has not the batch norms that were moved.
        """
        return with_statistics(model, self.statistics) if self.statistics else model

    def _fitted(self, what: str) -> dict[str, Tensor]:
        """Return what has been learned, or raise ``RuntimeError`` where nothing has."""
        found = {name: tensor for name, tensor in self._tensors().items() if tensor is not None}
        if not self._is_fitted():
            raise RuntimeError(f"{type(self).__name__} must be fitted before {what}; call fit(...) or load(folder)")
        return found

    def _is_fitted(self) -> bool:
        return all(getattr(self, name, None) is not None for name in self.kept if not name.endswith("?"))

    def fit(self, features_or_logits: Any, labels: Any, *, head: nn.Module | None = None) -> Self:
        """Train; bit-identical for the same input on one machine, whatever ran before.

        Args:
            features_or_logits: what the head was given, ``(N, D)``, or ``(views * N, D)``; float, finite. Logits
                ``(N, C)`` do as well, without a head.
            labels: one for each row, integers in [0, C); every class with training samples must occur.
            head: the trained head; it is not changed.

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong, a class is missing, the head is of another
                kind, or the loss diverges.
            DataError: if a number is not finite; names its row.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():  # also when the caller has switched gradients off
            given = self._given(features_or_logits, head)
            target = checked_labels(labels, self.counts, rows=len(given)).to(given.device)
            self._train(given, target, head)
        return self

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Any:
        """Return the checked rows that are trained on, a tensor or ``Outputs``."""
        raise NotImplementedError

    def _train(self, given: Any, target: Tensor, head: nn.Module | None) -> None:
        """Learn and set the tensors that are kept."""
        raise NotImplementedError

    def _minimise(
        self,
        parameters: Sequence[Tensor],
        loss_of: Callable[[Tensor], Tensor],
        target: Tensor,
        *,
        factors: Sequence[float] | None = None,
        nesterov: bool = False,
    ) -> None:
        rows = rows_of_a_view(target, self.views)
        order = class_balanced(target[:rows].cpu().numpy(), self.seed) if self.balanced else shuffled(self.seed)
        self.losses = minimise(
            [parameter.requires_grad_() for parameter in parameters],
            loss_of,
            rows,
            rates=[self._rate(epoch) for epoch in range(self.epochs)],
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            order=self.order or order,
            replacement=self.balanced,
            views=max(self.views, 1),
            factors=factors,
            nesterov=nesterov,
            progress=self.progress,
        )

    def _rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return cosine_rate(epoch, self.epochs, lr=self.lr, peak_lr=self.lr, warmup_epochs=0)

    def _checked_input(self, given: Any, columns: int) -> Tensor:
        """Return what ``transform`` was given, as a tensor.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if it is not floats of shape ``(N, columns)``.
        """
        tensor = as_tensor(given, name=self.transforms)
        if not tensor.is_floating_point():
            hint = f"; pass {self.transforms}.float()"
            raise TypeError(f"{self.transforms} must be floats, got dtype {tensor.dtype}{hint}")
        if tensor.ndim != 2 or tensor.shape[1] != columns:  # noqa: PLR2004
            raise ValueError(f"{self.transforms} must have shape (N, {columns}), got {tuple(tensor.shape)}")
        return tensor

    def __repr__(self) -> str:
        state = "fitted" if self._is_fitted() else "not fitted"
        return f"{type(self).__name__}(num_classes={len(self.counts)}, epochs={self.epochs}, {state})"
