"""Training: one loop that takes callables, and the run directory that lets it stop and go on to the same bits.

Nothing here looks a name up: models, batches, losses and schedules come in as objects.
"""

from lt_fast.batch import Batch
from lt_fast.training.batches import Batches
from lt_fast.training.checkpoint import Checkpoint, Checkpoints
from lt_fast.training.confusion_recorder import ConfusionRecorder
from lt_fast.training.determinism import deterministic
from lt_fast.training.history import History
from lt_fast.training.joined_batches import JoinedBatches, StagedBatches
from lt_fast.training.loop import fit
from lt_fast.training.reweighting import DeferredReweighting
from lt_fast.training.run_directory import RunDirectory, read_config
from lt_fast.training.schedules import LearningRate, cosine, epoch_at, multistep

__all__ = [
    "Batch",
    "Batches",
    "Checkpoint",
    "Checkpoints",
    "ConfusionRecorder",
    "DeferredReweighting",
    "History",
    "JoinedBatches",
    "LearningRate",
    "RunDirectory",
    "StagedBatches",
    "cosine",
    "deterministic",
    "epoch_at",
    "fit",
    "multistep",
    "read_config",
]
