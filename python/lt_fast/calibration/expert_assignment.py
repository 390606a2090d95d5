"""Expert assignment: ask one expert after another, and stop where the next one would not help (RIDE, stage 2)."""

import copy
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.descent import Order
from lt_fast.calibration.heads import Model, head_path, named_head, weight_norm
from lt_fast.calibration.of_experts import expert_logits, require_experts
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register


class Router(NamedTuple):
    """The numbers that decide after each expert but the last whether the next one is asked.

    Attributes:
        hidden_weight: (E - 1, H, D).
        hidden_bias: (E - 1, H).
        output_weight: (K + H,), the same after every expert, for the K largest mean logits and the hidden layer.
        output_bias: (1,).
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor

    def scores(self, expert: int, features: Tensor, logits: Tensor) -> Tensor:
        """Return (N,) scores, > 0 where the next expert is asked.

        Args:
            expert: the last one that was asked, from 0.
            features: of this expert, (N, D).
            logits: mean of the experts up to this one, scaled, (N, C).
        """
        unit = F.normalize(features, dim=1)
        hidden = F.linear(unit, self.hidden_weight[expert], self.hidden_bias[expert]).relu()
        largest = logits.topk(len(self.output_weight) - hidden.shape[1], dim=1).values
        return torch.cat([largest, hidden], dim=1) @ self.output_weight + self.output_bias


def routed_logits(router: Router, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean logits of the experts that are asked, and how many these are.

    Args:
        router: of E experts.
        features: (N, E * D).
        logits: of every expert, scaled, (N, E, C).

    Returns:
        (N, C), and (N,) int64 in [1, E].
    """
    columns = features.chunk(logits.shape[1], dim=1)
    total, used = logits[:, 0], torch.ones(len(logits), dtype=torch.int64, device=logits.device)
    asked = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    for expert in range(1, logits.shape[1]):
        asked = asked & (router.scores(expert - 1, columns[expert - 1], total / expert) > 0)
        total = total + logits[:, expert].where(asked[:, None], 0)
        used = used + asked
    return total / used[:, None], used


class RoutedHead(nn.Module):
    """The head of several experts, of which a router chooses how many count.

    Args:
        inner: of the experts, unchanged.
        router: fitted.
        scale: of the logits.

    Shape:
        x (N, E * D) float; returns (N, C).
    """

    def __init__(self, inner: nn.Module, router: Router, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale
        for name, tensor in router._asdict().items():
            self.register_buffer(name, tensor)

    @property
    def weight(self) -> Tensor:
        """The inner head's ``(C, E * D)``."""
        weight: Tensor = self.inner.weight  # type: ignore[assignment]
        return weight

    def weight_norm(self) -> Tensor:
        """Return the row lengths of the inner head."""
        return weight_norm(self.inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean logits of the experts that are asked."""
        inner: Any = self.inner
        router = Router(*(getattr(self, name) for name in Router._fields))
        return routed_logits(router, x, self.scale * inner.each(x))[0]


@register("calibrator", "expert_assignment")
class ExpertAssignment(TrainedCalibration):
    """Learn after which expert the next one is asked; the logits are the mean of those that were.

    After expert i a small network looks at the K largest mean logits so far and at the features of expert i, at unit
    length, through one hidden layer. It is trained by binary cross entropy on class-balanced draws: the answer is yes
    where the mean so far is wrong and that of more experts is right. Experts are asked in their order.

    Args:
        counts: training samples per class.
        hidden: units of the hidden layer.
        top: K, the logits that are looked at, at most C.
        positive_weight: of the rows where more experts help, > 0; the larger, the more experts are asked.
        epochs: of N draws, from 1 to 1,000,000.
        lr: first learning rate; a cosine by epochs takes it to 0.
        batch_size: rows per step.
        momentum: Nesterov's, in [0, 1).
        weight_decay: L2 penalty on all that is learned.
        scale: what the training loss multiplied the logits by (30 for cosine heads).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e draws from view ``e % K``.
        order: ``order(epoch, n)`` gives the rows of an epoch; by default class-balanced draws keyed by (seed, epoch).
        seed: of the first weights and of the draws, in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples.

    Attributes:
        weight, bias: of every head, (E, C, D) and (E, C), or None where they have none.
        used: (E,) int64, how many images were answered by 1, 2, ... E experts, over all calls of ``transform``.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Wang et al. 2021 (RIDE), arXiv:2010.01809, Section 3.3; code frank-xwang/RIDE-LongTailRecognition, model/
    ldam_drw_resnets/ea_resnet_cifar.py and configs/config_imbalance_cifar100_ride_ea.json, whose settings are the
    defaults. Differs from that code: the features are computed once, and without augmentation unless there are
    ``views``; at most C logits are looked at.

    >>> from lt_fast.models import digits_net
    >>> head, features = digits_net(2, experts=2, expert_width=0.5).head, torch.arange(64.0 * 64).sin().reshape(64, 64)
    >>> labels = head(features).argmax(1)  # what both experts say together
    >>> calibrator = ExpertAssignment(labels.bincount(), positive_weight=5, epochs=10, batch_size=16)
    >>> logits = calibrator.fit(features, labels, head=head).transform(features)
    >>> (logits.argmax(1) == labels).float().mean() > 0.9, calibrator.used[0] > 0  # and one expert was enough for some
    (tensor(True), tensor(True))
    """

    name = "expert_assignment"
    transforms = "features"
    of_experts: ClassVar[bool] = True
    balanced = True
    kept: ClassVar[dict[str, str]] = {
        "hidden_weight": "RHD", "hidden_bias": "RH", "output_weight": "O", "output_bias": "1",
        "weight": "ECD", "bias?": "EC",
    }  # fmt: skip

    weight: Tensor | None = None
    bias: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        hidden: int = 16,
        top: int = 30,
        positive_weight: float = 100.0,
        epochs: int = 5,
        lr: float = 0.01,
        batch_size: int = 512,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        scale: float = 1.0,
        views: int = 0,
        order: Order | None = None,
        seed: int = 0,
        progress: bool = False,
        empty: EmptyPolicy = "error",
    ) -> None:
        self.hidden = _checks.integer("hidden", hidden, least=1)
        self.top = _checks.integer("top", top, least=1)
        self.positive_weight = _checks.number("positive_weight", positive_weight, above=0)
        super().__init__(
            counts, epochs=epochs, lr=lr, batch_size=batch_size, momentum=momentum, weight_decay=weight_decay,
            scale=scale, views=views, order=order, seed=seed, progress=progress, empty=empty,
        )  # fmt: skip
        self.used = torch.zeros(0, dtype=torch.int64)

    def _settings(self) -> dict[str, Any]:
        own = {"hidden": self.hidden, "top": self.top, "positive_weight": self.positive_weight}
        return {**super()._settings(), **own}

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Tensor:
        given = checked_matrix(features_or_logits, name="features")
        require_experts(head)
        return given

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        heads: Any = head
        first = expert_logits(heads, given[:1])
        experts, num_classes = first.shape[1:]
        router = self._new_router(experts, given.shape[1] // experts, num_classes, given)

        def loss_of(rows: Tensor) -> Tensor:
            logits = self.scale * expert_logits(heads, given[rows])
            return self._loss(router, given[rows], logits, target[rows])

        self._minimise(list(router), loss_of, target, nesterov=self.momentum > 0)
        for name, tensor in router._asdict().items():
            setattr(self, name, tensor.detach())
        self._keep(heads, given)

    def _loss(self, router: Router, features: Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean binary cross entropy over the experts but the last."""
        experts = logits.shape[1]
        columns, sums = features.chunk(experts, dim=1), logits.cumsum(dim=1)
        right = sums.argmax(dim=2) == target[:, None]
        positive = torch.as_tensor(self.positive_weight).to(logits)
        loss = logits.new_zeros(())
        for at in range(experts - 1):
            helps = ~right[:, at] & right[:, at + 1 :].any(dim=1)
            score = router.scores(at, columns[at], sums[:, at] / (at + 1))
            loss = loss + F.binary_cross_entropy_with_logits(score, helps.to(score), pos_weight=positive)
        return loss / (experts - 1)

    def _new_router(self, experts: int, width: int, num_classes: int, like: Tensor) -> Router:
        """Return first weights: Kaiming-normal, and offsets as ``nn.Linear`` has them."""
        draw = torch.Generator().manual_seed(self.seed % (1 << 63))
        top = min(self.top, num_classes)
        shapes = ((experts - 1, self.hidden, width), (top + self.hidden,))
        weights = [torch.randn(shape, generator=draw) * (2 / shape[-1]) ** 0.5 for shape in shapes]
        bounds = ((experts - 1, self.hidden), width), ((1,), top + self.hidden)
        offsets = [(2 * torch.rand(shape, generator=draw) - 1) * fan**-0.5 for shape, fan in bounds]
        found = [each.to(like) for each in (weights[0], offsets[0], weights[1], offsets[1])]
        return Router(*found)

    def _keep(self, heads: Any, like: Tensor) -> None:
        """Keep what ``transform`` needs of the heads."""
        self.cosine = bool(heads.cosine)
        self.weight = torch.stack([head.weight.detach() for head in heads.experts]).to(like)
        biases = [head.bias.detach() for head in heads.experts if getattr(head, "bias", None) is not None]
        self.bias = torch.stack(biases).to(like) if biases else None
        self.used = torch.zeros(len(self.weight), dtype=torch.int64)

    def _router(self, what: str, device: torch.device) -> Router:
        fitted = self._fitted(what)
        return Router(*(fitted[name].to(device) for name in Router._fields))

    def transform(self, features: Any) -> Tensor:
        """Return the mean logits (N, C) of the experts that are asked, times ``scale``.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape (N, E * D).
        """
        fitted = self._fitted("transform")
        weight = fitted["weight"]
        given = self._checked_input(features, weight.shape[0] * weight.shape[2])
        own = given.to(torch.promote_types(given.dtype, weight.dtype)).reshape(len(given), *weight.shape[::2])
        weight = weight.to(own)
        if self.cosine:
            own, weight = F.normalize(own, dim=2), F.normalize(weight, dim=2)
        logits = torch.einsum("ned,ecd->nec", own, weight)
        logits = logits if self.bias is None else logits + self.bias.to(own)
        found, used = routed_logits(self._router("transform", own.device), own.flatten(1), self.scale * logits)
        counted = torch.bincount(used.cpu() - 1, minlength=len(weight))
        self.used = counted if len(self.used) != len(counted) else self.used + counted
        return found

    def summary(self) -> dict[str, Any]:
        """Return the mean number of experts that ``transform`` asked, and the share of images by that number."""
        total = int(self.used.sum())
        if not total:
            return {}
        number = torch.arange(1, len(self.used) + 1)
        mean = float((self.used * number).sum()) / total
        return {"mean_experts": mean, "share_by_experts": (self.used.double() / total).tolist()}

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` whose head asks as many experts. All are computed: ``predict`` saves them.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or it is none of several experts.
        """
        path = head_path(model, head)
        inner = named_head(model, head)
        require_experts(inner)
        changed = copy.deepcopy(model)
        router = self._router("apply", next(inner.parameters()).device)
        changed.set_submodule(path, RoutedHead(changed.get_submodule(path), router, self.scale))
        return changed

    @torch.no_grad()
    def predict(self, model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of ``transform`` and how many experts gave them, computing no expert that is not asked.

        Args:
            model: a ``lt_fast.models.MultiExpert`` in evaluation mode, with the head that was fitted.
            x: images (N, Ch, H, W).

        Returns:
            (N, C), and (N,) int64 in [1, E].
        """
        router, common = self._router("predict", x.device), model.shared(x)
        rows, used = torch.arange(len(x), device=x.device), torch.ones(len(x), dtype=torch.int64, device=x.device)
        total: Any = 0.0
        for number, (expert, head) in enumerate(zip(model.experts, model.head.experts, strict=True), 1):
            features = expert(common[rows])
            logits = self.scale * head(features)
            total = logits if number == 1 else total.index_add(0, rows, logits)
            if number == model.num_experts:
                break
            more = router.scores(number - 1, features, total[rows] / number) > 0
            rows = rows[more]
            used[rows] += 1
        return total / used[:, None], used
