"""What the recipe ``lt_fast`` consists of, chosen on images of CIFAR-10-LT that are held out of training.

``python -m benches.experiments.lt_fast_choice --root DIR`` takes one step after the other, each a sweep over the
settings that the steps before have chosen; a test image decides nothing:

- systems: the recipe and others whole, each with plain and with strong augmentation;
- mixing: by which mixer, with a plain loss and margin calibration or with balanced softmax alone;
- strengths: of the mixer and of the calibration; then how many augmented views the calibration has.

Runs that are finished are not repeated, so the same command continues. The table of all candidates is written to
``benches/results/lt_fast_choice.csv``, and the settings that a step has chosen are printed: they go into the recipe by
hand, with their source. At full length (``--epochs 200``) this is some 130 trainings, for a GPU.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benches.harness import machine_line, print_table, write_csv

from lt_fast import experiment
from lt_fast.scheduling import Machine
from lt_fast.sweeps import Candidate, Sweep, sweep
from lt_fast.sweeps.choosing import best_of
from lt_fast.sweeps.grid import in_words
from lt_fast.sweeps.writing import mean_of

DATA, RECIPE, METRIC, CSV = "cifar10-lt", "lt_fast", "balanced_acc", "lt_fast_choice.csv"
VALIDATION = 0.2  # of each class: ten images of the rarest
SYSTEMS = (RECIPE, "balanced_softmax", "cp_mix", "ride", "sade")
AUGMENTED = {"transform": ("crop_flip", "autoaugment")}
MIXERS = {"mixer": ("mam", "mixup", "cutmix", "cmo", "none")}
BALANCED_LOSS = {"loss": "balanced_softmax", "calibrator": "none"}  # both would favour rare classes twice
OMEGAS, GAMMAS, VIEWS = (0.1, 0.25, 0.5), (0.8, 1.2, 1.6), (0, 5, 10)
Settings = Mapping[str, Any]


class Grid(NamedTuple):
    """Settings of one recipe that are tried, over settings that all its runs share."""

    recipe: str
    tried: Mapping[str, Sequence[Any]]
    shared: Settings = MappingProxyType({})


class Choice(NamedTuple):
    """What a step has tried, and the best of it: its grid, its candidate, its sweep."""

    step: str
    sweeps: Sequence[tuple[Grid, Sweep]]
    grid: Grid
    best: Candidate


def grids_of(step: str, chosen: Settings) -> list[Grid]:
    """Return what a step tries after ``chosen``; nothing where it has nothing to choose."""
    config = experiment.resolve(RECIPE, DATA, chosen)
    mixer, calibrator = ((config[slot] or {}).get("name") for slot in ("mixer", "calibrator"))
    margin = calibrator == "margin"
    tried: dict[str, Sequence[Any]] = {}
    match step:
        case "systems":
            return [Grid(recipe, AUGMENTED) for recipe in SYSTEMS]
        case "mixing":
            return [Grid(RECIPE, MIXERS, chosen), Grid(RECIPE, MIXERS, {**chosen, **BALANCED_LOSS})]
        case "strengths":
            tried = {"mixer.omega": OMEGAS} if mixer == "mam" else {}
            tried |= {"calibrator.gamma": GAMMAS} if margin else {}
        case "views":
            tried = {"calibrator.views": VIEWS} if margin else {}
    return [Grid(RECIPE, tried, chosen)] if tried else []


STEPS = ("systems", "mixing", "strengths", "views")


def take(step: str, grids: Sequence[Grid], data: str, out: Path, shared: Settings, **options: Any) -> Choice:
    """Carry a step out and return what it chose, over all its grids."""
    sweeps = [
        (grid, sweep(grid.recipe, data, grid.tried, overrides={**grid.shared, **shared}, out=out / step, **options))
        for grid in grids
    ]
    best = best_of([found.best for _, found in sweeps], METRIC)
    assert best is not None  # a sweep whose every candidate failed raises
    grid = next(grid for grid, found in sweeps if found.best is best)
    return Choice(step, sweeps, grid, best)


def chosen_after(choice: Choice, chosen: Settings) -> Settings:
    """Return the settings of the recipe that the next step begins with; another recipe's are not its own.

    Where another recipe is better, the recipe keeps the best of its own candidates.
    """
    own = [(grid, found) for grid, found in choice.sweeps if grid.recipe == RECIPE]
    best = best_of([found.best for _, found in own], METRIC)
    if best is None:
        return chosen
    shared = next(grid.shared for grid, found in own if found.best is best)
    return {**shared, **best.settings}


def rows_of(choice: Choice) -> list[dict[str, Any]]:
    """Return a row for each candidate of a step."""
    return [
        {
            "step": choice.step,
            "recipe": grid.recipe,
            "settings": in_words({**grid.shared, **each.settings}),
            "runs": len(each.trials),
            METRIC: _percent(each.value),
            "low": _percent(each.low),
            "high": _percent(each.high),
            "top1": _percent(mean_of(each, "top1")),
            "few_recall": _percent(mean_of(each, "few_recall")),
            "chosen": "yes" if each is choice.best else "",
        }
        for grid, found in choice.sweeps
        for each in found.candidates
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def main() -> None:
    """Take every step, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of CIFAR-10's files, in torchvision's layout")
    parser.add_argument("--out", type=Path, default=Path("runs/lt_fast_choice"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", action="store_true")
    given = parser.parse_args()
    shared = {"epochs": given.epochs, "validation": VALIDATION, "amp": given.amp}
    options: dict[str, Any] = {
        "seeds": given.seeds,
        "machine": Machine(workers=given.workers, device=given.device, root=given.root),
        "metric": METRIC,
    }
    rows: list[dict[str, Any]] = []
    chosen: Settings = {}
    for step in STEPS:
        grids = grids_of(step, chosen)
        if not grids:
            continue
        choice = take(step, grids, DATA, given.out, shared, **options)
        rows += rows_of(choice)
        print_table(rows_of(choice))
        chosen = chosen_after(choice, chosen)
        if choice.grid.recipe != RECIPE:
            print(f"{choice.grid.recipe} is better than {RECIPE}: {in_words(choice.best.settings)}")
        print(f"{RECIPE} after {step}: {in_words(chosen)}")
        about = f"{DATA}, ratio 100, {VALIDATION:g} of each class held out, {given.epochs} epochs; {machine_line()}"
        write_csv(CSV, rows, about=about)


if __name__ == "__main__":
    main()
