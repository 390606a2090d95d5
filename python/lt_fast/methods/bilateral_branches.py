"""``BilateralBranches``: a branch of uniform and one of reversed sampling, mixed by a share that changes (BBN)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.data import Loader
from lt_fast.methods.classification import Classification
from lt_fast.methods.method import StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.models import BilateralBranchNetwork
from lt_fast.registry import register

_REVERSED = 0x72657673
"""Changes the seed of the run into that of the reversed draws and of their augmentation."""


def parabolic_share(epoch: int, epochs: float) -> float:
    """Return ``1 - (epoch / epochs) ** 2``, what the first of two parts counts in ``epoch``, counted from 0.

    Source: BBN, arXiv:1912.02413, Section 4.3; code megvii-research/BBN, lib/core/combiner.py, whose epochs begin at 1.

    >>> parabolic_share(0, 200), parabolic_share(100, 200)
    (1.0, 0.75)
    """
    return 1 - (epoch / epochs) ** 2


@register("method", "bbn")
class BilateralBranches(Classification):
    """Train the first branch on uniform batches and the second on reversed ones, with one classifier of both.

    Formula, with l = ``parabolic_share(epoch, share_length * epochs)``, f_c the first branch's features of an image of
    class y_c that is sampled uniformly, and f_r the second branch's of one of class y_r, sampled by ``n_c ** q``::

        logits = head(2 * cat(l * f_c, (1 - l) * f_r))
        loss = l * criterion(logits, y_c) + (1 - l) * criterion(logits, y_r)

    So the network first learns features from all images, and towards the end a classifier of the rare classes. It is
    tested with l = 1/2: ``model(x)``. In a loop of your own::

        model = lt.models.bbn(num_classes, seed=0)
        first = model.branch_features(x, "conventional")
        second = model.branch_features(x_reversed, "rebalancing")
        logits = model.head(2 * torch.cat([l * first, (1 - l) * second], dim=1))
        loss = criterion(logits, y, y_reversed, l)  # the loss of mixed labels

    Args:
        model: has ``branch_features(x, branch)`` and ``head``, as a ``lt_fast.models.BilateralBranchNetwork`` does; of
            any other network one is made, if its last block is known.
        criterion: as for ``Classification``; with deferred re-weighting it changes for both labels.
        q: exponent of the class counts in the probabilities of the second sampler; -1 is the paper's reversed sampling,
            0 samples the classes alike.
        share_length: of the fall of l to 0, in lengths of the training, >= 1.
        logit_scale: what predictions multiply the logits by.
        seed: of the run.

    Raises:
        TypeError: if ``criterion`` is not an ``nn.Module``.
        ValueError: if ``model`` has no branches and its last block is not known, or a number is out of its range.

    Source: Zhou et al. 2020, arXiv:1912.02413, Section 4; code megvii-research/BBN, lib/core/combiner.py
    bbn_mix. Two passes through the shared layers as in that code, so that batch norm sees each batch apart.
    Differs from it: ``share_length`` is 1 for a training of any length unless it is given, where that code has 100 / 90
    for 90 epochs and 200 / 180 for 180; draws are a function of (seed, epoch, position).

    >>> import lt_fast as lt
    >>> method = BilateralBranches(lt.models.digits_net(2, seed=0), lt.losses.CrossEntropyLoss([3, 1]))
    >>> x, y = torch.linspace(0, 1, 256).reshape(4, 1, 8, 8), torch.tensor([0, 0, 0, 1])
    >>> batches = {"train": Batch(views=(x,), target=y), "reversed": Batch(views=(x,), target=1 - y)}
    >>> for epoch in (0, 50):
    ...     method.on_epoch_start(epoch, 100)
    ...     (slope,) = torch.autograd.grad(method(batches).loss, method.model.head.weight)
    ...     print(method.share.item(), [bool(part.any()) for part in slope.chunk(2, dim=1)])  # do the branches count?
    1.0 [True, False]
    0.75 [True, True]
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        *,
        q: float = -1.0,
        share_length: float = 1.0,
        logit_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        branched = model if hasattr(model, "branch_features") else BilateralBranchNetwork(model, seed=seed)  # type: ignore[arg-type]
        super().__init__(branched, criterion, logit_scale=logit_scale)
        self.q, self.seed = _checks.number("q", q), seed
        self.share_length = _checks.number("share_length", share_length, least=1)
        self.share: Tensor
        # A function of the epoch, so not saved; a tensor, so that one captured step serves every epoch.
        self.register_buffer("share", torch.ones(()), persistent=False)

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return uniform and reversed batches of the same sizes."""
        uniform, seed = data.loader(mixer=None), self.seed ^ _REVERSED
        drawn = data.drawn_batches(self.q, seed=seed, steps=len(uniform))
        return {"train": uniform, "reversed": data.loader(drawn, mixer=None, seed=seed)}

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Choose the share of the first branch, and the loss."""
        super().on_epoch_start(epoch, epochs)
        self.share.fill_(parabolic_share(epoch, self.share_length * epochs))

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of mixed features and mixed labels."""
        uniform, turned = batches["train"], batches["reversed"]
        rows, share = min(len(uniform), len(turned)), self.share
        first = self.model.branch_features(uniform.x[:rows], "conventional")  # type: ignore[operator]
        second = self.model.branch_features(turned.x[:rows], "rebalancing")  # type: ignore[operator]
        logits = self.model.head(2 * torch.cat([share * first, (1 - share) * second], dim=1))  # type: ignore[operator]
        lam = share.expand(rows)
        return StepOutput(self.loss(logits, uniform.target[:rows], turned.target[:rows], lam))
