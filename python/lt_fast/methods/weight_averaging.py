"""``WeightAveraging``: predict by a running average of the weights that a method trains."""

import copy
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.data import Loader
from lt_fast.methods.method import Method, StepOutput
from lt_fast.methods.training_data import TrainingData


class WeightAveraging(Method):
    """Train as ``method`` does, and predict by an exponential moving average of its weights.

    Before every step the average moves towards the weights by ``1 - d``, with ``d = min(decay, (1 + t) / (10 + t))``
    after ``t`` steps: the first weights, which no step has seen, are forgotten soon. Running statistics of batch norm
    are averaged like weights. ``model`` is the average: it is what checkpoints, calibration and predictions use.

    Args:
        method: what is trained.
        decay: in [0, 1).

    Attributes:
        model: the average; it requires no gradient.
        trained: the method, with the weights that the optimizer changes.

    Source: Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780; the growing decay is that of
    TensorFlow's ExponentialMovingAverage.

    >>> import lt_fast as lt
    >>> plain = lt.methods.Classification(lt.models.digits_net(2, seed=0), lt.losses.CrossEntropyLoss([3, 1]))
    >>> method = WeightAveraging(plain, decay=0.99)
    >>> average, trained = (network.head.bias.data for network in (method.model, method.trained.model))
    >>> _ = average.fill_(0.0), trained.fill_(1.0)
    >>> for _ in range(2):
    ...     method.update()  # every training step does so
    ...     print(average)
    tensor([0.9000, 0.9000])
    tensor([0.9818, 0.9818])
    """

    graphable = False  # the average moves on the host, step by step

    def __init__(self, method: Method, decay: float) -> None:
        super().__init__(copy.deepcopy(method.model).requires_grad_(requires_grad=False))
        self.decay = _checks.number("averaging", decay, least=0, below=1)
        self.trained, self.logit_scale = method, method.logit_scale
        self.may_leave_parameters_unused = method.may_leave_parameters_unused
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))
        self._steps: int | None = None  # the same on the host, once it has been read: a GPU is not asked in every step

    def train(self, mode: bool = True) -> "WeightAveraging":
        """Set the mode of what is trained; the average stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the method's loaders."""
        return self.trained.loaders(data)

    def prepare(self, network_of: Callable[[str], nn.Module]) -> None:
        """Prepare the method."""
        self.trained.prepare(network_of)

    def learning_rates(self) -> Mapping[int, float]:
        """Return the method's."""
        return self.trained.learning_rates()

    def active(self, epoch: int, epochs: int) -> Collection[str] | None:
        """Return the method's."""
        return self.trained.active(epoch, epochs)

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Prepare the method."""
        self.trained.on_epoch_start(epoch, epochs)

    def phase(self, epoch: int) -> Hashable:
        """Return the method's."""
        return self.trained.phase(epoch)

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Move the average, then return the loss of the method's step."""
        self.update()
        return self.trained.training_step(batches)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights that are trained."""
        t = int(self.steps) if self._steps is None else self._steps
        keep = min(self.decay, (1 + t) / (10 + t))
        own, theirs = self.model.state_dict(), self.trained.model.state_dict()
        floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floating], [theirs[name] for name in floating], 1 - keep)
        for name in own.keys() - set(floating):
            own[name].copy_(theirs[name])
        self.steps += 1
        self._steps = t + 1

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        self._steps = None
        super()._load_from_state_dict(*arguments, **keywords)

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Load first weights into both networks."""
        super().begin_with(weights)
        self.trained.begin_with(weights)

    def merge_ranks(self) -> None:
        """Merge what the method has recorded."""
        self.trained.merge_ranks()

    def finish(self, data: TrainingData) -> None:
        """Run the method's second stage."""
        self.trained.finish(data)

    def summary(self) -> Mapping[str, Any]:
        """Return the method's."""
        return self.trained.summary()

    def tables(self) -> Mapping[str, Tensor]:
        """Return the method's."""
        return self.trained.tables()


def averaged(method: Method, decay: float) -> Method:
    """Return ``method`` with averaging, or itself where ``decay`` is 0."""
    return WeightAveraging(method, decay) if decay else method
