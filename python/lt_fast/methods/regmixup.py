"""``RegMixup``: the clean images and a mixture of them in one step, so that mixing regularises and does not replace."""

from collections.abc import Mapping

import torch
from torch import nn

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.data import Loader
from lt_fast.methods.classification import Classification
from lt_fast.methods.method import StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.registry import register


@register("method", "regmixup")
class RegMixup(Classification):
    """Train on every batch twice at once: unmixed, and mixed by the mixer of the run.

    Formula: ``(criterion(clean, y) + eta * criterion(mixed, y, y_b, lam)) / (1 + eta)``, both parts from one forward
    pass of the concatenated batch, so that batch norm sees clean and mixed images. Twice the images per step. In a loop
    of your own, with images ``x`` and labels ``y``::

        mix = lt.mixing.mixup(y, alpha=20, seed=0, epoch=epoch, step=step)
        clean, mixed = model(torch.cat([x, mix.apply(x)])).chunk(2)
        regular = criterion(mixed, y, y[mix.partner], mix.lam_label)
        loss = (criterion(clean, y) + eta * regular) / (1 + eta)

    Args:
        model: gives the logits (N, C).
        criterion: as for ``Classification``; with deferred re-weighting it changes for both parts.
        eta: weight of the mixed part, finite, >= 0.
        logit_scale: what predictions multiply the logits by.

    Raises:
        TypeError: if ``criterion`` is not an ``nn.Module``.
        ValueError: if ``eta`` is out of range, or the run has no mixer.

    Source: Pinto et al. 2022, arXiv:2206.14502; code FrancescoPinto/RegMixup, models/regmixup.py. For ``eta=1`` equals
    that code, which averages over both halves; the paper's sum ``clean + eta * mixed`` is ``1 + eta`` times as large.
    With class weights and ``normalization="weights"`` each part is divided by its own weights.

    >>> import lt_fast as lt
    >>> model, criterion = lt.models.digits_net(2, seed=0).eval(), lt.losses.CrossEntropyLoss([3, 1])
    >>> x, y = torch.linspace(0, 1, 256).reshape(4, 1, 8, 8), torch.tensor([0, 0, 0, 1])
    >>> mix = lt.mixing.mixup(y, alpha=20, seed=0, epoch=0, step=0)
    >>> mixed = Batch(views=(mix.apply(x),), target=y, target_b=y[mix.partner], lam=mix.lam_label)
    >>> loss = RegMixup(model, criterion)({"train": Batch(views=(x,), target=y), "mixed": mixed}).loss
    >>> parts = criterion(model(x), y), criterion(model(mixed.x), y, mixed.target_b, mixed.lam)
    >>> torch.allclose(loss, sum(parts) / 2)
    True
    """

    def __init__(self, model: nn.Module, criterion: nn.Module, *, eta: float = 1.0, logit_scale: float = 1.0) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        self.eta = _checks.number("eta", eta, least=0)

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the clean images, and the same images with the same augmentation, mixed."""
        if data.mixer is None:
            raise ValueError(
                "mixer must be given for the method regmixup, got None; name one with --set mixer=mixup, or train "
                "without mixing with --set method=classification"
            )
        return {"train": data.loader(mixer=None), "mixed": data.loader()}

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of both parts, from one forward pass."""
        clean, mixed = batches["train"], batches["mixed"]
        logits = self.training_logits(torch.cat([clean.x, mixed.x]))
        own, others = torch.split(logits, [len(clean), len(mixed)])
        plain = self.loss(own, clean.target, None, None)
        regular = self.loss(others, mixed.target, mixed.target_b, mixed.lam)
        return StepOutput((plain + self.eta * regular) / (1 + self.eta))
