"""Training: one loop that takes a method and its loaders, and the run directory that lets it stop and resume exactly.

Nothing here looks a name up: methods, loaders, optimizers and schedules come in as objects.
"""

from lt_fast._schedules import epoch_at
from lt_fast.batch import Batch
from lt_fast.training.batches import Batches
from lt_fast.training.callbacks import Callback
from lt_fast.training.checkpoint import Checkpoint, Checkpoints
from lt_fast.training.determinism import deterministic
from lt_fast.training.history import History
from lt_fast.training.loop import check_step, fit
from lt_fast.training.processes import process_group
from lt_fast.training.run_directory import RunDirectory, read_config
from lt_fast.training.schedules import LearningRate, cosine, multistep
from lt_fast.training.times import TRACE, Measured, Times

__all__ = [
    "TRACE",
    "Batch",
    "Batches",
    "Callback",
    "Checkpoint",
    "Checkpoints",
    "History",
    "LearningRate",
    "Measured",
    "RunDirectory",
    "Times",
    "check_step",
    "cosine",
    "deterministic",
    "epoch_at",
    "fit",
    "multistep",
    "process_group",
    "read_config",
]
