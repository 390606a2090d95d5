"""Linear probing against simplicity bias, and fine-tuning of the whole network after it (LP+FT)."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.calibration.checks import MAX_EPOCHS, checked_matrix
from lt_fast.calibration.descent import Order, cosine_rate
from lt_fast.calibration.fine_tuning import fine_tuned, other_weights, with_other_weights
from lt_fast.calibration.heads import Model, named_head, wrap_head
from lt_fast.calibration.linear_heads import head_logits, new_weight, taken_apart, uniform, with_weights
from lt_fast.calibration.probe_perturbations import uncertainty_perturbation, virtual_adversarial_loss
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register

Variant: TypeAlias = Literal["plain", "vat", "udp", "soup"]

_NETWORK = "network."
"""Beginning of the names of the fine-tuned weights in a saved calibrator."""


@register("calibrator", "linear_probe")
class LinearProbe(TrainedCalibration):
    """Train a classifier on frozen features so that it does not lean on the simplest of them; then perhaps fine-tune.

    Loss of a batch of features x with labels y, by ``variant``:

    - ``"plain"``: cross entropy;
    - ``"vat"``: cross entropy ``+ penalty * virtual_adversarial_loss``;
    - ``"udp"``: cross entropy ``+ penalty *`` cross entropy of ``x + uncertainty_perturbation``;
    - ``"soup"``: the mean cross entropy of ``probes`` classifiers, each of which begins with weights on its own part of
      the features and 0 elsewhere. The result has their mean weights.

    With ``finetune_epochs`` above 0 a run continues by training all weights of the network by cross entropy on
    augmented images, from the probe: ``finetune`` does so, and ``adapted`` gives the fine-tuned network. Without, the
    backbone stays frozen.

    Args:
        counts: training samples per class.
        variant: ``"plain"``, ``"vat"``, ``"udp"`` or ``"soup"``.
        start: ``"fresh"``, or ``"trained"`` to continue from the given head; a soup is fresh.
        balanced: draw classes equally often, as N draws per epoch; False takes every row once.
        penalty: weight of the second part of the loss; ``"vat"`` and ``"udp"``.
        radius: length (``"vat"``) or largest entry (``"udp"``) of the perturbation.
        distance: where ``"vat"`` looks for its direction.
        step_size: of the steps of ``"udp"``.
        steps: their number.
        probes: classifiers of ``"soup"``, at most as many as features.
        finetune_epochs: passes of N images by which a run fine-tunes the network; 0 leaves it frozen.
        finetune_lr: first learning rate of these; a cosine by epochs takes it to 0.
        finetune_batch_size: images per step.
        finetune_weight_decay: L2 penalty on all weights.
        epochs: of the probe, of N rows, from 1 to 1,000,000.
        lr: first learning rate of the probe; a cosine by epochs takes it to 0.
        batch_size: rows per step.
        momentum: Nesterov's, in [0, 1); of both parts.
        weight_decay: L2 penalty on the probe.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e draws from view ``e % K``.
        order: ``order(epoch, n)`` gives the rows of an epoch; by default keyed by ``(seed, epoch)``.
        seed: integer in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: nothing is learned for them.

    Attributes:
        weight: ``(C, D)`` tensor after ``fit`` or ``load``.
        bias: ``(C,)``, or None for a head without.
        cosine: whether the head normalises features and rows.
        network: fine-tuned weights but the classifier's, after ``finetune``; otherwise empty.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Trivedi, Koutra and Thiagarajan 2023, arXiv:2303.13500; code pujacomputes/classifier_playground,
    lps_utils.py and train_simplicity_bias.py. Epochs, rate, batch and weight decay of the probe and of the fine-tuning
    are those of its scripts/run_lp+ft.sh, ``penalty`` of ``"vat"``, its ``radius`` and ``distance`` those of utils.py
    and vat_loss.py. The values of ``"udp"`` and ``"soup"`` were not available: ours.
    Differs from that code: ``balanced`` draws, for long-tailed data, where it shuffles; one rate per epoch, where the
    probe's changes with every batch, and from ``lr`` to 0, where it multiplies ``lr`` by ``batch_size / 256`` and ends
    at 1e-5 of that; new offsets are 0, where ``nn.Linear`` draws them; the last, smaller batch is used; fine-tuning
    ends with the last epoch. Its greedy soup, chosen on the test set, is left out.

    >>> labels = torch.tensor([0] * 90 + [1] * 10)
    >>> features = torch.tensor([[0.0]] * 60 + [[1.0]] * 40)  # at 1 there are 30 images of class 0 and all of class 1
    >>> for balanced in (False, True):
    ...     probe = LinearProbe([90, 10], variant="vat", radius=0.1, balanced=balanced, epochs=10, lr=1.0)
    ...     print(probe.fit(features, labels).transform(torch.tensor([[0.0], [1.0]])).argmax(1))
    tensor([0, 0])
    tensor([0, 1])
    """

    name = "linear_probe"
    transforms = "features"
    kept: ClassVar[dict[str, str]] = {"weight": "CD", "bias?": "C"}

    weight: Tensor | None = None
    bias: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        variant: Variant = "plain",
        start: Literal["fresh", "trained"] = "fresh",
        balanced: bool = True,
        penalty: float = 0.1,
        radius: float = 1.0,
        distance: float = 10.0,
        step_size: float = 0.1,
        steps: int = 10,
        probes: int = 4,
        finetune_epochs: int = 0,
        finetune_lr: float = 0.03,
        finetune_batch_size: int = 64,
        finetune_weight_decay: float = 5e-4,
        epochs: int = 200,
        lr: float = 0.03,
        batch_size: int = 256,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        scale: float = 1.0,
        views: int = 0,
        order: Order | None = None,
        seed: int = 0,
        progress: bool = False,
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__(
            counts,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            momentum=momentum,
            weight_decay=weight_decay,
            scale=scale,
            views=views,
            order=order,
            seed=seed,
            progress=progress,
            empty=empty,
        )
        _checks.choice("variant", variant, get_args(Variant))
        _checks.choice("start", start, ("fresh", "trained"))
        if variant == "soup" and start == "trained":
            raise ValueError("start must be 'fresh' with variant='soup', whose classifiers are new, got 'trained'")
        self.variant, self.start, self.balanced = variant, start, bool(balanced)
        self.penalty = _checks.number("penalty", penalty, least=0)
        self.radius = _checks.number("radius", radius, least=0)
        self.distance = _checks.number("distance", distance, above=0)
        self.step_size = _checks.number("step_size", step_size, above=0)
        self.steps = _checks.integer("steps", steps, least=1, most=MAX_EPOCHS)
        self.probes = _checks.integer("probes", probes, least=1)
        self.finetune_epochs = _checks.integer("finetune_epochs", finetune_epochs, least=0, most=MAX_EPOCHS)
        self.finetune_lr = _checks.number("finetune_lr", finetune_lr, above=0)
        self.finetune_batch_size = _checks.integer("finetune_batch_size", finetune_batch_size, least=1)
        self.finetune_weight_decay = _checks.number("finetune_weight_decay", finetune_weight_decay, least=0)
        self.network: dict[str, Tensor] = {}
        self.finetune_losses: list[float] = []

    def _settings(self) -> dict[str, Any]:
        own = (
            "variant", "start", "balanced", "penalty", "radius", "distance", "step_size", "steps", "probes",
            "finetune_epochs", "finetune_lr", "finetune_batch_size", "finetune_weight_decay",
        )  # fmt: skip
        return {name: getattr(self, name) for name in own} | super()._settings()

    def _tensors(self) -> dict[str, Tensor | None]:
        return super()._tensors() | {f"{_NETWORK}{name}": values for name, values in self.network.items()}

    def _restore(self, tensors: dict[str, Tensor], folder: Any) -> None:
        super()._restore(tensors, folder)
        tuned = {name: values for name, values in tensors.items() if name.startswith(_NETWORK)}
        self.network = {name.removeprefix(_NETWORK): values for name, values in tuned.items()}

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Tensor:  # noqa: ARG002
        return checked_matrix(features_or_logits, name="features").clone()

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        weight, bias, self.cosine = self._beginning(given, head)
        pool = self._pool(given, weight, bias) if self.variant == "soup" else [(weight, bias)]

        def loss_of(rows: Tensor) -> Tensor:
            losses = [self._loss(given[rows], target[rows], *each) for each in pool]
            return torch.stack(losses).mean()

        parts = [part for each in pool for part in each if part is not None]
        self._minimise(parts, loss_of, target, nesterov=self.momentum > 0)
        weights, biases = zip(*pool, strict=True)
        self.weight = torch.stack(weights).mean(0).detach()
        self.bias = None if bias is None else torch.stack(biases).mean(0).detach()
        self.network, self.finetune_losses = {}, []

    def _loss(self, x: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        def logits_of(features: Tensor) -> Tensor:
            return self.scale * head_logits(features, weight, bias, cosine=bool(self.cosine))

        loss = F.cross_entropy(logits_of(x), target)
        if self.variant == "vat":
            change = virtual_adversarial_loss(logits_of, x, radius=self.radius, distance=self.distance)
            return loss + self.penalty * change
        if self.variant == "udp":
            moved = x + uncertainty_perturbation(
                logits_of, x, radius=self.radius, step_size=self.step_size, steps=self.steps
            )
            return loss + self.penalty * F.cross_entropy(logits_of(moved), target)
        return loss

    def _beginning(self, given: Tensor, head: nn.Module | None) -> tuple[Tensor, Tensor | None, bool]:
        num_classes = len(self.counts)
        if head is None:
            return new_weight(num_classes, given, self.seed), torch.zeros(num_classes).to(given), False
        weight, bias, cosine = taken_apart(head, given, num_classes)
        if self.start == "fresh":
            return new_weight(num_classes, given, self.seed), None if bias is None else torch.zeros_like(bias), cosine
        return weight, bias, cosine

    def _pool(self, given: Tensor, weight: Tensor, bias: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        """Return new classifiers, each with weights on its own part of the features, the last on the rest too."""
        width = given.shape[1] // self.probes
        if not width:
            raise ValueError(f"probes must be <= the number of features ({given.shape[1]}), got {self.probes}")
        pool = []
        for number in range(self.probes):
            start, stop = number * width, given.shape[1] if number == self.probes - 1 else (number + 1) * width
            own = torch.zeros_like(weight)
            own[:, start:stop] = uniform((len(weight), stop - start), given[:, start:stop], self.seed + number)
            pool.append((own, None if bias is None else bias.clone()))
        return pool

    def finetune(
        self,
        model: nn.Module,
        passes: Iterable[Iterable[Any]],
        *,
        epochs: int | None = None,
        head: str = "head",
        device: str | torch.device | None = None,
        amp: bool = False,
    ) -> None:
        """Train all weights of ``model`` from the probe on; see ``fine_tuned``.

        ``model`` is not changed: ``adapted`` returns the network with the new weights, and ``apply`` the classifier.

        Args:
            model: whose features the probe was fitted to.
            passes: for each epoch the batches, ``(x, labels)`` as ``collect`` takes.
            epochs: number of passes; ``finetune_epochs`` when left out.
            head: name of its classifier module.
            device: where to compute; the model's own when left out.
            amp: compute in bfloat16 where autocast deems it safe.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there are no passes, or other numbers of them.
        """
        tensors = self._fitted("finetune")
        number = _checks.integer("epochs", self.finetune_epochs if epochs is None else epochs, least=1)
        probed = with_weights(model, tensors["weight"], tensors.get("bias"), head=head)
        tuned, self.finetune_losses = fine_tuned(
            probed,
            passes,
            rates=_cosine(number, self.finetune_lr),
            momentum=self.momentum,
            weight_decay=self.finetune_weight_decay,
            scale=self.scale,
            device=device,
            amp=amp,
        )
        inner = named_head(tuned, head)
        own: dict[str, Tensor] = dict(inner.named_parameters())
        self.weight = own["weight"].detach().cpu().clone()
        self.bias = own["bias"].detach().cpu().clone() if "bias" in own else None
        self.network = other_weights(tuned, inner)

    def adapted(self, model: Model) -> Model:
        """Return the network whose features the classifier takes: ``model``, or after ``finetune`` a copy of it.

        Raises:
            ValueError: if it has not the weights that were fine-tuned.
        """
        return with_other_weights(model, self.network) if self.network else model

    def transform(self, features: Any) -> Tensor:
        """Return logits ``(N, C)`` of features ``(N, D)``, times ``scale``, on the device of the features.

        Args:
            features: of the ``adapted`` network.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape ``(N, D)``.
        """
        tensors = self._fitted("transform")
        weight, bias = tensors["weight"], tensors.get("bias")
        given = self._checked_input(features, weight.shape[1])
        weight, bias = weight.to(given.device), None if bias is None else bias.to(given.device)
        return self.scale * head_logits(given.to(weight.dtype), weight, bias, cosine=bool(self.cosine))

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with the new classifier and, after ``finetune``, all new weights.

        Args:
            model: any module whose head is of the kind that was fitted; it is not changed.
            head: name of its classifier module: ``"fc"`` for a torchvision ResNet. The model must return what this
                module returns, which ``collect`` checks.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or its weights are others.
        """
        tensors = self._fitted("apply")
        probed = with_weights(self.adapted(model), tensors["weight"], tensors.get("bias"), head=head)
        if self.scale == 1:
            return probed
        factor = torch.full_like(tensors["weight"][:, 0], self.scale)
        return wrap_head(probed, factor, torch.zeros_like(factor), head=head)


def _cosine(epochs: int, lr: float) -> Sequence[float]:
    return [cosine_rate(epoch, epochs, lr=lr, peak_lr=lr, warmup_epochs=0) for epoch in range(epochs)]
