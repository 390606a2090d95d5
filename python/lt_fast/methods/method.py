"""``Method``: the one contract between a way of training and the training loop."""

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from lt_fast.batch import Batch
from lt_fast.data import Loader
from lt_fast.methods.training_data import TrainingData


class StepOutput(NamedTuple):
    """What one training step returns.

    Attributes:
        loss: scalar to minimise, a mean over the rows of the step.
        logs: name to scalar on the device; ``metrics.csv`` gets the mean over the epoch under the same name.

    >>> import torch
    >>> loss, logs = StepOutput(torch.tensor(0.75), {"contrast": torch.tensor(0.5)})
    >>> loss, logs["contrast"]
    (tensor(0.7500), tensor(0.5000))
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = {}


class Method(nn.Module):
    """What one training method does with its batches: losses, loaders, schedules of weights, experts, memory.

    ``training_step`` is all that a subclass must write. Everything that is learned belongs in the state dict
    (parameters, buffers, ``get_extra_state``): a checkpoint holds the state dict and nothing else of the method.

    Args:
        model: the network that is trained and saved. Calibrators need its ``head`` (see ``lt_fast.models.Classifier``).

    Attributes:
        model: as given.
        logit_scale: what ``predict`` multiplies the model's logits by; LDAM trains ``softmax(scale * cosine)``.
        graphable: whether a captured step does all that the step does. False if it records something in Python.
        may_leave_parameters_unused: True if some step computes no gradient for a parameter, such as a second head
            that is trained later: several ranks then look for such parameters in every step.

    Example:
        >>> import torch
        >>> from lt_fast.models import digits_net
        >>> class CrossEntropy(Method):
        ...     def training_step(self, batches):
        ...         batch = batches["train"]
        ...         return StepOutput(nn.functional.cross_entropy(self.model(batch.x), batch.target))
        >>> method = CrossEntropy(digits_net(10, seed=0))
        >>> batch = Batch(views=(torch.zeros(4, 1, 8, 8),), target=torch.zeros(4, dtype=torch.int64))
        >>> method({"train": batch}).loss.shape
        torch.Size([])
    """

    logit_scale: float = 1.0
    graphable: bool = True
    may_leave_parameters_unused: bool = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
        self.model = model

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the loaders of a step by name; an epoch has as many steps as the first of them."""
        return {"train": data.loader()}

    def prepare(self, network_of: Callable[[str], nn.Module]) -> None:
        """Read what a training needs of other runs; called before the first step, also of a resumed training.

        Args:
            network_of: from the folder of a finished run on the same images to its network, which gives final logits.
        """

    def learning_rates(self) -> Mapping[int, float]:
        """Return ``id`` of a parameter to the factor of its learning rate; 1 for those that are not there."""
        return {}

    def active(self, epoch: int, epochs: int) -> Collection[str] | None:  # noqa: ARG002  (for subclasses)
        """Return the names of the loaders that ``epoch`` reads, or None for all: what is not read is not computed."""
        return None

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Prepare for ``epoch`` of ``epochs``, counted from 0.

        Also called when a training resumes inside the epoch: what must not be renewed then has to be in the state dict
        together with the epoch that it belongs to.
        """

    def phase(self, epoch: int) -> Hashable:  # noqa: ARG002  (for subclasses)
        """Return a value that changes whenever the computation of a step changes; a CUDA graph serves one phase."""
        return None

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of one step, with a graph to the parameters.

        Args:
            batches: name of each active loader to its batch, on the device of the method.
        """
        raise NotImplementedError(f"{type(self).__name__} must define training_step(batches)")

    def training_logits(self, x: Tensor) -> Tensor:
        """Return the logits that a step is trained on: (N, C), or (N, E, C) of a network of E experts."""
        each = {"each": True} if getattr(self.model, "num_experts", 1) > 1 else {}
        logits: Tensor = self.model(x, **each)
        return logits

    def forward(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Run ``training_step``, so that ``DistributedDataParallel`` can wrap a method."""
        return self.training_step(batches)

    def predict(self, x: Tensor) -> Tensor:
        """Return the logits (N, C) float32 that metrics and predictions use; the caller chooses the mode."""
        logits: Tensor = self.model(x)
        return self.logit_scale * logits.float()

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Load the first weights of the network, those of another run."""
        self.model.load_state_dict(weights)

    def merge_ranks(self) -> None:
        """Make what the ranks recorded apart, such as counts, one and the same on every rank.

        Called on all ranks at the start of every epoch and before every checkpoint.
        """

    def finish(self, data: TrainingData) -> None:
        """Run the method's own second stage after the last epoch, if it has one.

        A function of the state and of ``data``: no checkpoint follows it, so an evaluation runs it again.
        """

    def summary(self) -> Mapping[str, Any]:
        """Return what the result of a run should tell about the method, JSON values only."""
        return {}

    def tables(self) -> Mapping[str, Tensor]:
        """Return tensors for files of their own, ``<name>.safetensors``, in the run directory."""
        return {}
