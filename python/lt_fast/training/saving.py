"""When a training is saved, and where it begins: what stands between the loop and its run directory."""

from lt_fast.errors import Interrupted, UsageError
from lt_fast.training.checkpoint import Checkpoint
from lt_fast.training.finite import FiniteWatch, refuse_non_finite
from lt_fast.training.interruption import Interruption
from lt_fast.training.run_directory import RunDirectory
from lt_fast.training.state import Place, Training, refuse_other_run


class Saving:
    """Writes checkpoints at the right moments; without a run directory, only keeps an eye on the numbers.

    Args:
        run: where to write, or None.
        training: what to write.
        watch: asked before every write, so that no lost state is kept.
        interruption: asked after every step and every epoch.

    Attributes:
        last: the newest checkpoint, or None.
    """

    def __init__(
        self,
        run: RunDirectory | None,
        training: Training,
        watch: FiniteWatch,
        interruption: Interruption,
    ) -> None:
        self._run, self._training, self._watch, self._interruption = run, training, watch, interruption
        self.last = next(reversed(run.checkpoints.paths()), None) if run is not None else None

    def due(self) -> bool:
        """Whether a signal to any rank has asked for the training to stop after this step."""
        asked = self._interruption.requested is not None
        return any(self._training.ranks.any(asked))

    def stop(self, place: Place) -> Interrupted:
        """Save inside an epoch; returns the exception to raise."""
        self.save(place)
        return self._interrupted(place)

    def end_epoch(self, place: Place) -> None:
        """Save between two epochs, checkpoint first: ``metrics.csv`` can be written again from it.

        Raises:
            Interrupted: if a signal asked for it.
        """
        self.save(place)
        if self._run is not None:
            self._run.write_metrics(place.history)
        if self.due():
            raise self._interrupted(place)

    def save(self, place: Place) -> None:
        """Write a checkpoint; every rank calls it, rank 0 writes.

        Raises:
            FloatingPointError: if the loss or a weight is not finite; the last checkpoint stays the newest.
            DataError: if it cannot be written.
        """
        self._watch.check(last=self.last)
        self._training.method.merge_ranks()
        if self._run is None:
            return
        tensors, values = self._training.capture(place)
        refuse_non_finite(tensors["model"], after=place.in_words(), last=self.last)
        values["config_sha256"] = self._run.identity
        self.last = self._run.checkpoints.save(place.epoch, place.step, tensors, values)

    def _interrupted(self, place: Place) -> Interrupted:
        return Interrupted(
            f"stopped by {self._interruption.requested or 'a signal to another rank'} after {place.in_words()}; "
            f"the state is in {self.last}; continue with --resume",
        )


def beginning(training: Training, run: RunDirectory | None, *, resume: bool) -> Place:
    """Return the place to start from: that of the newest good checkpoint when resuming, else the very start.

    ``metrics.csv`` is cut back to the rows that the checkpoint has. Rank 0 reads, the other ranks get what it read.

    Raises:
        ValueError: if there is no run directory to resume from.
        UsageError: if there are checkpoints and ``resume`` is False.
        DataError: if there are checkpoints and none can be used.
    """
    ranks = training.ranks
    if not ranks.is_main:
        checkpoint = ranks.broadcast(None)
        return Place() if checkpoint is None else training.restore(checkpoint)
    checkpoint, place = _newest(training, run, resume=resume)
    ranks.broadcast(checkpoint)
    return place


def _newest(training: Training, run: RunDirectory | None, *, resume: bool) -> tuple[Checkpoint | None, Place]:
    if run is None:
        if resume:
            raise ValueError("resume must be False without a run directory, got True; pass run=RunDirectory(...)")
        return None, Place()
    if not resume:
        if run.checkpoints.paths():
            raise UsageError(f"{run.path} holds checkpoints; continue with resume=True, or name another run directory")
        return None, Place()
    places: list[Place] = []

    def accept(found: Checkpoint) -> None:
        refuse_other_run(found, run.identity, run.row_rules)
        places.append(training.restore(found))

    checkpoint = run.checkpoints.newest(accept, most=training.most_bytes)
    place = places[-1] if places else Place()
    if checkpoint is not None:
        run.checkpoints.drop_newer(checkpoint)
    run.tidy()
    if place.history.rows or run.metrics_path.exists():
        run.write_metrics(place.history)
    return checkpoint, place
