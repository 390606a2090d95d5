"""``FeatureMixing``: any method on batches whose pairs are chosen by the features of the network that is trained."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast.batch import Batch, BatchPlan, MixPlan
from lt_fast.calibration.collecting import in_eval_mode
from lt_fast.data import Loader
from lt_fast.data.plans import Planner, checked_mix, described
from lt_fast.methods.confusion_record import ConfusionTable
from lt_fast.methods.method import Method, StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.mixing.mix import pasted
from lt_fast.ranks import Ranks
from lt_fast.sampling import ConfusionCounts

_COPY, _MODEL = "method.model.", "model."


@runtime_checkable
class FeatureMixer(Protocol):
    """A mixer that chooses by features which image of a batch is pasted into, such as ``lt_fast.mixing.OTMix``.

    >>> from lt_fast.mixing import Mixup, OTMix
    >>> isinstance(OTMix([0] * 90 + [1] * 10, image_size=32, epochs=240, seed=0), FeatureMixer)
    True
    >>> isinstance(Mixup(seed=0), FeatureMixer)
    False
    """

    def by_features(self, epoch: int) -> bool:
        """Return whether ``epoch`` mixes so; its plans are then unmixed."""

    def foregrounds(self, batch: BatchPlan, labels: NDArray[np.int64]) -> MixPlan:
        """Return what is pasted, one image for each of the batch, with its rectangle."""

    def backgrounds(self, foreground: Tensor, background: Tensor, confused: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each foreground a row of ``background``, from (F, D) and (B, D) features and (F, B) rates."""

    def check(self) -> None:
        """Raise unless backgrounds can be chosen here."""


class FeatureMixing(Method):
    """Train as ``method`` does; in some epochs the network that is trained chooses what is pasted into what.

    In such an epoch a step reads the images of the batch and the foregrounds that the mixer has drawn for them, both
    unmixed. The features of both, ``model.features(x)`` in evaluation mode, and the confusions of the classes give the
    background of each foreground, and ``method`` gets the mixed batch: any loss and any network with ``features``. In
    the other epochs the mixer mixes in the loader as usual, and nothing is added.

    The confusions are those of the validation images (``TrainingData.validation``), predicted once at the start of each
    such epoch. Which images are read is a pure function of (seed, epoch, step); the pairs follow from the weights as
    well. Ranks exchange features and images, so that the pairs of a batch do not depend on the number of ranks.

    Args:
        method: what is trained; its loaders must use the mixer.
        mixer: a ``FeatureMixer``, the same object as ``TrainingData.mixer``.
        num_classes: C.

    Attributes:
        method: as given.

    Raises:
        TypeError: if the network has no ``features``.
        ValueError: from ``loaders``, if there are no validation images.

    Source: Gao et al. 2023; code JintongGao/Enhancing-Minority-Classes-by-Mixing, cifar_train.py, train_OTmix. Differs
    from it: the confusions come from validation images, where the code has those of the test set; a class without such
    images is never confused; features are pooled ones, in evaluation mode, so that batch norm's statistics see the
    mixed images alone, where the code has the last feature maps in training mode and their statistics twice.

    >>> import lt_fast as lt
    >>> mixer = lt.mixing.OTMix([0] * 90 + [1] * 10, image_size=8, epochs=12, seed=0)
    >>> method = lt.methods.Classification(lt.models.digits_net(2, seed=0), lt.losses.CrossEntropyLoss([90, 10]))
    >>> mixing = FeatureMixing(method, mixer, num_classes=2)
    >>> mixing.model is method.model, [epoch for epoch in range(12) if mixer.by_features(epoch)]  # the network chooses
    (True, [3, 5, 6, 7, 8, 11])
    """

    graphable = False  # pairs are chosen on the host

    def __init__(self, method: Method, mixer: FeatureMixer, num_classes: int) -> None:
        super().__init__(method.model)
        if not callable(getattr(method.model, "features", None)):
            raise TypeError(
                f"model must have features(x), by which pairs are chosen, got {type(method.model).__name__}; "
                "lt_fast.models.adapt gives any network one"
            )
        self.method, self.mixer, self.logit_scale = method, mixer, method.logit_scale
        self.may_leave_parameters_unused = method.may_leave_parameters_unused
        # The table of an epoch is kept: a training that resumes inside the epoch must pair by the same one.
        self.table = ConfusionTable(num_classes)
        self.table_epoch: Tensor
        self.register_buffer("table_epoch", torch.tensor(-1))
        self._rates = ConfusionRates(self.table.counts)
        self._own: list[str] = []
        self._foregrounds: dict[str, str] = {}
        self._validation: Loader | None = None
        self._ranks, self._by_features = Ranks(), False
        # The network is a part of both methods: it is saved once.
        self.register_state_dict_post_hook(_without_copy)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_copy)  # type: ignore[no-untyped-call]

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the method's loaders, and a loader of foregrounds for each that uses the mixer."""
        if data.validation is None:
            raise ValueError(
                f"mixer {type(self.mixer).__name__} needs validation images, whose confusions choose the pairs, and "
                "the run has none; hold some out with --set validation=0.1"
            )
        self.mixer.check()
        self._ranks, self._validation = data.ranks, data.plain_loader(data.validation)
        own = self.method.loaders(data)
        mixed = [name for name, loader in own.items() if getattr(loader.planner, "mixer", None) is self.mixer]
        self._own, self._foregrounds = list(own), {name: f"{name}_foregrounds" for name in mixed}
        plans = {name: Foregrounds(own[name].planner, self.mixer, data.labels) for name in mixed}
        added = {self._foregrounds[name]: data.loader(plans[name], seed=own[name].seed) for name in mixed}
        return {**own, **added}

    def prepare(self, network_of: Callable[[str], nn.Module]) -> None:
        """Prepare the method."""
        self.method.prepare(network_of)

    def learning_rates(self) -> Mapping[int, float]:
        """Return the method's."""
        return self.method.learning_rates()

    def active(self, epoch: int, epochs: int) -> Collection[str] | None:
        """Return the method's, with foregrounds where the epoch mixes by features."""
        own = self.method.active(epoch, epochs)
        names = self._own if own is None else list(own)
        added = [self._foregrounds[name] for name in names if name in self._foregrounds]
        return [*names, *added] if self.mixer.by_features(epoch) else names

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Predict the validation images where the epoch mixes by features, unless the training resumes inside it."""
        self.method.on_epoch_start(epoch, epochs)
        self._by_features = self.mixer.by_features(epoch)
        if self._by_features and int(self.table_epoch) != epoch:
            self.table.counts = self._confusions()
            self.table_epoch.fill_(epoch)
        self._rates = ConfusionRates(self.table.counts)

    @torch.no_grad()
    def _confusions(self) -> ConfusionCounts:
        if self._validation is None:
            raise RuntimeError(
                "loaders(data) must be called before an epoch that mixes by features, which reads the validation images"
            )
        counts, device = ConfusionCounts(self.table.counts.num_classes), self.table_epoch.device
        with in_eval_mode(self.method):
            for batch in self._validation.batches(0):
                if batch.weight:
                    counts.update(batch.target, self.method.predict(batch.x.to(device)).argmax(1))
        counts.all_reduce()
        return counts

    def phase(self, epoch: int) -> Hashable:
        """Return the method's, and whether the epoch mixes by features."""
        return self.method.phase(epoch), self._by_features

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of the method's step on the mixed batches."""
        own = {name: batch for name, batch in batches.items() if name in self._own}
        for name, foreground in self._foregrounds.items():
            if foreground in batches:
                own[name] = self._mixed(own[name], batches[foreground])
        return self.method.training_step(own)

    @torch.no_grad()
    def _mixed(self, background: Batch, foreground: Batch) -> Batch:
        """Return every foreground pasted into its background; a row without a rectangle stays as it is."""
        if foreground.lam is None or foreground.boxes is None:
            return background
        boxes, plain = foreground.boxes, replace(background, target_b=None, lam=None, boxes=None)
        own = self._paired(plain, foreground)
        views = zip(own.views, foreground.views, strict=True)
        mixed = tuple(pasted(each, other, boxes) for each, other in views)
        return replace(own, views=mixed, target_b=foreground.target, lam=foreground.lam, boxes=boxes)

    def _paired(self, background: Batch, foreground: Batch) -> Batch:
        """Return the background of each foreground of this rank, chosen among the rows of all ranks."""
        sizes = self._ranks.gather(len(background) if background.weight else 0)
        every, front, behind, lam, target = (
            self._gathered(each, sizes)
            for each in (background, *self._features(foreground, background), foreground.lam, foreground.target)
        )
        rows, mixed = torch.arange(len(lam), device=lam.device), lam < 1
        confused = self._rates.between(target[mixed].cpu().numpy(), every.target.cpu().numpy())
        rows[mixed] = torch.from_numpy(self.mixer.backgrounds(front[mixed], behind, confused)).to(rows.device)
        first = sum(sizes[: self._ranks.rank])
        own = rows[first : first + sizes[self._ranks.rank]]
        # A rank without rows has a copy of one, which is not counted.
        return every.mapped(lambda tensor: tensor[own]) if len(own) else background

    def _gathered(self, rows: Any, sizes: Sequence[int]) -> Any:
        gather = partial(self._ranks.gather_rows, sizes=sizes)
        return rows.mapped(gather) if isinstance(rows, Batch) else gather(rows)

    def _features(self, *batches: Batch) -> tuple[Tensor, ...]:
        model: Any = self.model
        with in_eval_mode(self.model):
            features: Tensor = model.features(torch.cat([batch.x for batch in batches]))
        return torch.split(features.flatten(1).float(), [len(batch) for batch in batches])

    def predict(self, x: Tensor) -> Tensor:
        """Return the method's logits."""
        return self.method.predict(x)

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Load first weights into the method."""
        self.method.begin_with(weights)

    def merge_ranks(self) -> None:
        """Merge what the method has recorded."""
        self.method.merge_ranks()

    def finish(self, data: TrainingData) -> None:
        """Run the method's second stage."""
        self.method.finish(data)

    def summary(self) -> Mapping[str, Any]:
        """Return the method's."""
        return self.method.summary()

    def tables(self) -> Mapping[str, Tensor]:
        """Return the method's."""
        return self.method.tables()


class Foregrounds:
    """Plans of what a mixer pastes into the batches of another planner.

    Each image of a plan is its own partner, so that it is read unmixed, together with its rectangle and coefficient. In
    a step that pastes nothing the plan is one image without these.

    Args:
        behind: plans the images that are pasted into.
        mixer: draws the foregrounds.
        labels: (N,) int64 of the data set.
    """

    def __init__(self, behind: Planner, mixer: FeatureMixer, labels: NDArray[np.int64]) -> None:
        self._behind, self._mixer, self._labels = behind, mixer, labels

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, over all ranks."""
        return self._behind.num_batches

    def plan(self, epoch: int, step: int) -> BatchPlan:
        """Return the foregrounds of one batch."""
        behind = replace(self._behind.plan(epoch, step), mix=None)
        mix = checked_mix(self._mixer.foregrounds(behind, self._labels[behind.index]), behind, len(self._labels))
        front = replace(behind, index=mix.partner, position=mix.position)
        if (mix.lam < 1).any():
            return replace(front, mix=mix)
        return replace(front, index=front.index[:1], position=front.position[:1])

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the planner behind has its own loader."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what identifies the foregrounds."""
        return {**self._behind.state_dict(), "foregrounds": described(self._mixer)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Refuse the state of other foregrounds.

        Raises:
            ValueError: naming the difference.
        """
        was, own = state.get("foregrounds"), described(self._mixer)
        if was != own:
            raise ValueError(f"state must be of the same batches: foregrounds was {was}, is {own}")


class ConfusionRates:
    """How often images of one class are predicted as another, for pairs of classes; memory as the cells that are not 0.

    Args:
        counts: of predictions.
    """

    def __init__(self, counts: ConfusionCounts) -> None:
        target, predicted, found = counts.entries()
        totals = np.bincount(target, weights=found, minlength=counts.num_classes)
        wrong = target != predicted
        self._classes = counts.num_classes
        self._pairs = target[wrong] * self._classes + predicted[wrong]  # ascending, as the entries are
        self._rates = found[wrong] / totals[target[wrong]]

    def between(self, true: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of the images of each class in ``true`` (F,) predicted as each in ``other`` (B,): (F, B).

        0 for two equal classes, and for a class without predictions.
        """
        wanted = true[:, None] * self._classes + other[None, :]
        if not len(self._pairs):
            return np.zeros(wanted.shape)
        at = np.searchsorted(self._pairs, wanted).clip(max=len(self._pairs) - 1)
        return np.where(self._pairs[at] == wanted, self._rates[at], 0.0)


def _without_copy(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:  # noqa: ARG001  (torch's signature)
    for name in [name for name in state if name.startswith(prefix + _COPY)]:
        del state[name]


def _with_copy(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:  # noqa: ARG001  (torch's signature)
    own = prefix + _MODEL
    copies = {prefix + _COPY + name.removeprefix(own): state[name] for name in state if name.startswith(own)}
    state.update(copies)
