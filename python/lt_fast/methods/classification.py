"""``Classification``: one forward pass and one loss, with deferred re-weighting where the loss asks for it."""

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn

from lt_fast.batch import Batch
from lt_fast.data import Loader
from lt_fast.losses import sum_over_experts
from lt_fast.losses.experts import require_experts
from lt_fast.methods.deferred_reweighting import DeferredReweighting
from lt_fast.methods.method import Method, StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.registry import register


@register("method", "classification")
class Classification(Method):
    """Train ``model`` by a loss of its logits: ``criterion(model(x).float(), target, target_b, lam)``.

    A network of several experts is trained by the sum of the experts' losses (``lt_fast.losses.sum_over_experts``), or
    by a loss of all of them at once, such as ``RIDELoss``.

    Args:
        model: gives the logits (N, C), and with ``num_experts`` above 1 those of all experts, (N, E, C).
        criterion: called with float32 logits, labels, and the labels and mixing coefficients of the partners (None
            without mixing); returns a scalar. A ``DeferredReweighting`` changes the loss at its epoch.
        unmixed_pass: pass each batch through the network unmixed first, without a gradient. Batch norm's running
            statistics are then those of unmixed and mixed images in equal parts; weights are trained by the mixed ones
            alone, as without it. One more forward pass per step. Without a mixer it changes nothing.
        logit_scale: what predictions multiply the logits by.

    Raises:
        TypeError: if ``criterion`` is not an ``nn.Module``.
        ValueError: if it is a loss of another number of experts than ``model`` has.

    Source of ``unmixed_pass``: ntucllab/imbalanced-DL, strategy/_mixup_drw.py, _remix_drw.py and _mamix_drw.py, which
    measure the accuracy on the training images so.

    >>> from lt_fast.losses import CrossEntropyLoss
    >>> from lt_fast.models import digits_net
    >>> model, criterion = digits_net(2, seed=0), CrossEntropyLoss([3, 1])
    >>> batch = Batch(views=(torch.linspace(0, 1, 256).reshape(4, 1, 8, 8),), target=torch.tensor([0, 0, 0, 1]))
    >>> loss = Classification(model, criterion)({"train": batch}).loss
    >>> torch.equal(loss, criterion(model(batch.x), batch.target))
    True
    """

    def __init__(
        self, model: nn.Module, criterion: nn.Module, *, unmixed_pass: bool = False, logit_scale: float = 1.0
    ) -> None:
        super().__init__(model)
        if not isinstance(criterion, nn.Module):
            raise TypeError(f"criterion must be a loss (an nn.Module), got {type(criterion).__name__}")
        require_experts(criterion, model)
        self.criterion, self.unmixed_pass, self.logit_scale = criterion, unmixed_pass, logit_scale
        self._loss = None if isinstance(criterion, DeferredReweighting) else criterion

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the loader of the run, and with ``unmixed_pass`` one of the same images before they are mixed."""
        if not self.unmixed_pass or data.mixer is None:
            return super().loaders(data)
        return {"train": data.loader(), "unmixed": data.loader(mixer=None)}

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Choose the loss of the epoch."""
        if isinstance(self.criterion, DeferredReweighting):
            # Not an assignment of a module: it would be registered, and saved, a second time.
            object.__setattr__(self, "_loss", self.criterion.at(epoch, epochs))

    def phase(self, epoch: int) -> Hashable:  # noqa: ARG002  (the loss of the current epoch has been chosen)
        """Return which loss is used."""
        return "reweighted" if self._loss is getattr(self.criterion, "reweighted", None) else "plain"

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of the batch ``"train"``."""
        batch = batches["train"]
        if "unmixed" in batches:
            with torch.no_grad():
                self.model(batches["unmixed"].x)
        return StepOutput(self.loss(self.training_logits(batch.x), batch.target, batch.target_b, batch.lam))

    def loss(self, logits: Tensor, target: Tensor, target_b: Tensor | None, lam: Tensor | None) -> Tensor:
        """Return the loss of the current epoch, computed in float32 also under autocast."""
        if self._loss is None:
            raise RuntimeError(
                "on_epoch_start(epoch, epochs) must be called before the first step: it chooses the loss"
            )
        with torch.autocast(logits.device.type, enabled=False):
            return sum_over_experts(self._loss, logits.float(), target, target_b, lam)
