"""``Callback``: what a caller's own code is told of a training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lt_fast.training.history import History, Row


class Callback:
    """Base of what ``fit(callbacks=[...])`` tells of a training; every method does nothing here.

    Called on rank 0 alone. An error that a callback raises ends the training; the epoch is saved by then.

    Example:
        >>> class Printing(Callback):
        ...     def on_epoch_end(self, row):
        ...         print(f"epoch {row['epoch']}: loss {row['train_loss']:.3f}")
        >>> Printing().on_epoch_end({"epoch": 3, "train_loss": 0.5, "seconds": 1.2})  # `fit` calls it so
        epoch 3: loss 0.500
    """

    def on_fit_start(self, epochs: int, history: History) -> None:
        """Begin.

        Args:
            epochs: length of the whole training.
            history: rows of the epochs before a resumption; some of them may not have been told before.
        """

    def on_epoch_end(self, row: Row) -> None:
        """Take the row of an epoch: ``epoch``, ``train_loss``, ``learning_rate``, ``seconds``, what was measured."""

    def on_fit_end(self, error: BaseException | None) -> None:
        """End, after the last epoch or with the error that ended the training; ``Interrupted`` after a signal."""


@contextmanager
def telling(callbacks: Sequence[Callback], epochs: int, history: History) -> Iterator[None]:
    """Tell of the start, and in every case of the end, to those who were told of the start."""
    told: list[Callback] = []
    failed: BaseException | None = None
    try:
        for callback in callbacks:
            told.append(callback)
            callback.on_fit_start(epochs, History(history.rows))
        yield
    except BaseException as error:
        failed = error
        raise
    finally:
        for callback in told:
            callback.on_fit_end(failed)
