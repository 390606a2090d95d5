"""``Distillation``: any loss, and in addition the predictions of a trained network as soft labels."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.methods.classification import Classification
from lt_fast.methods.method import StepOutput
from lt_fast.registry import register


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return how far the student's probabilities are from the teacher's, a mean over the rows.

    Formula: ``T ** 2 * KL(softmax(teacher / T) || softmax(student / T))``; no gradient reaches the teacher.

    Args:
        student: logits (N, C).
        teacher: logits (N, C).
        temperature: T, > 0.

    Source: Hinton et al. 2015, arXiv:1503.02531; code frank-xwang/RIDE-LongTailRecognition, model/loss.py,
    RIDELossWithDistill.

    >>> student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> [round(distillation_loss(each, teacher, temperature=1.5).item(), 4) for each in (student, teacher)]
    [0.2891, 0.0]
    """
    own = (student / temperature).log_softmax(dim=1)
    theirs = (teacher.detach() / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(own, theirs, reduction="batchmean", log_target=True)


@register("method", "distillation")
class Distillation(Classification):
    """Train as ``Classification`` does, and towards the predictions of a trained network for the same batch.

    Formula: ``criterion + weight * distillation_loss(mean of the experts, teacher)``, times the number of experts with
    ``times_experts``. The teacher is in evaluation mode, is not trained and not saved with the run.

    Args:
        model: gives the logits.
        criterion: as for ``Classification``.
        teacher: folder of a finished run on the same images, whose network is read before the first step; or
            ``RECIPE:NAME=VALUE,...``, a run of a recipe with some settings, which is trained first, in a folder next
            to that of this run; in a loop of your own a module from images to final logits (N, C).
        temperature: T, finite, > 0.
        weight: of the distillation, finite, >= 0.
        times_experts: multiply the loss by the number of experts, as the source's code does, which goes through the
            experts and adds the whole loss each time; its learning rate belongs to that.
        logit_scale: what predictions and the distillation multiply the student's logits by.

    Raises:
        TypeError, ValueError: as ``Classification``, and if a number is out of range.

    Source: Wang et al. 2021 (RIDE), arXiv:2010.01809, Section 3.2; code frank-xwang/RIDE-LongTailRecognition,
    model/loss.py, RIDELossWithDistill, with a teacher of six experts.

    >>> import lt_fast as lt
    >>> student, teacher = (lt.models.digits_net(2, seed=seed) for seed in (0, 1))
    >>> method = Distillation(student, lt.losses.CrossEntropyLoss([3, 1]), teacher=teacher, weight=2.0)
    >>> batch = Batch(views=(torch.linspace(0, 1, 256).reshape(4, 1, 8, 8),), target=torch.tensor([0, 0, 0, 1]))
    >>> loss, logs = method({"train": batch})
    >>> torch.allclose(loss, method.criterion(student(batch.x), batch.target) + 2 * logs["distillation"])
    True
    """

    graphable = False  # the teacher is no part of the method

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        *,
        teacher: str | nn.Module,
        temperature: float = 1.5,
        weight: float = 1.0,
        times_experts: bool = True,
        logit_scale: float = 1.0,
    ) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        self.temperature = _checks.number("temperature", temperature, above=0)
        self.weight = _checks.number("weight", weight, least=0)
        self.times_experts = times_experts
        self.teacher_run = teacher if isinstance(teacher, str) else None
        self._set_teacher(None if isinstance(teacher, str) else teacher)

    def _set_teacher(self, teacher: nn.Module | None) -> None:
        # Not an assignment of a module: it would be registered, trained and saved.
        object.__setattr__(self, "_teacher", teacher)

    def prepare(self, network_of: Callable[[str], nn.Module]) -> None:
        """Read the teacher."""
        if self.teacher_run is not None:
            self._set_teacher(network_of(self.teacher_run))

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of the batch ``"train"``, and both parts of it."""
        batch = batches["train"]
        logits = self.training_logits(batch.x).float()
        own = self.loss(logits, batch.target, batch.target_b, batch.lam)
        mean = logits if logits.ndim == 2 else logits.mean(dim=1)  # noqa: PLR2004
        with torch.autocast(logits.device.type, enabled=False):
            distance = distillation_loss(self.logit_scale * mean, self._taught(batch.x), temperature=self.temperature)
        times = getattr(self.model, "num_experts", 1) if self.times_experts else 1
        return StepOutput(times * (own + self.weight * distance), {"distillation": distance.detach()})

    @torch.no_grad()
    def _taught(self, x: Tensor) -> Tensor:
        teacher: Any = self.__dict__["_teacher"]
        if teacher is None:
            raise RuntimeError("prepare(network_of) must be called before the first step: it reads the teacher's run")
        teacher = teacher.to(x.device).eval()
        logits: Tensor = teacher(x)
        return logits.float()

    def summary(self) -> Mapping[str, Any]:
        """Return which run taught."""
        record = getattr(self.__dict__["_teacher"], "record", None)
        return {} if record is None else {"teacher": record}
