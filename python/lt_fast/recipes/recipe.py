"""``Recipe``: one published setting as data, each value beside the place it was taken from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Value(NamedTuple):
    """A setting's value and where it comes from: a paper, ``repository: path``, or ``ours: reason``."""

    value: Any
    source: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a method is made of, and what its authors set.

    Args:
        name: how the command line calls it.
        title: its name in words.
        paper: authors, year, title.
        arxiv: identifier of the preprint.
        equations: where in the paper the formulas stand.
        cost: what a run needs beyond one forward and one backward pass a step.
        loss: name in ``lt_fast.losses.LOSSES``.
        mixer: name in ``lt_fast.mixing.MIXERS``, or None: images are not mixed.
        head: ``"linear"`` or ``"cosine"``.
        sampler: name in ``lt_fast.recipes.assembly.SAMPLERS``.
        deferred: whether class weights set in after ``defer_until`` of the epochs (DRW).
        calibrator: name in ``lt_fast.calibration.CALIBRATORS`` for stage 2, or None.
        values: settings on every data set, over those of the data set's protocol.
        values_on: data set to settings, over ``values``.
        values_at: (data set, profile, imbalance ratio) to settings, over ``values_on``: what was tuned for that one.
    """

    name: str
    title: str
    paper: str
    arxiv: str
    equations: str
    cost: str = "one forward and one backward pass a step"
    loss: str = "cross_entropy"
    mixer: str | None = None
    head: str = "linear"
    sampler: str = "shuffled"
    deferred: bool = False
    calibrator: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    values_on: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    values_at: Mapping[tuple[str, str, float], Mapping[str, Value]] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """The named parts, as they stand in a resolved configuration."""
        return {
            "loss": self.loss,
            "mixer": self.mixer,
            "head": self.head,
            "sampler": self.sampler,
            "deferred": self.deferred,
            "calibrator": self.calibrator,
        }
