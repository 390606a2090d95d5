"""A loss and its recipe in one file, for the command line.

``lt-fast methods capped_prior --recipe custom_recipe.py`` lists it, ``lt-fast train --recipe custom_recipe.py --data
digits-lt`` trains it, ``--set most=5`` changes its option. ``python custom_recipe.py`` trains it beside cross entropy.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Unpack

import numpy as np

from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.base import Loss, SharedOptions
from lt_fast.recipes import Paper, Recipe, Spec, cited, register
from lt_fast.registry import register as register_component


@register_component("loss", "capped_prior")
class CappedPriorLoss(Loss):
    """Balanced softmax that takes no class for more than ``most`` times as large as the smallest one.

    Equals ``F.cross_entropy(logits + log(minimum(class_counts / class_counts.min(), most)), target)``.

    Args:
        most: largest quotient of two classes, >= 1; 1 is cross entropy.
    """

    def __init__(self, counts: CountsLike, *, most: float = 100.0, **shared: Unpack[SharedOptions]) -> None:
        if most < 1:
            raise ValueError(f"most must be >= 1, got {most}; 1 is cross entropy")
        sizes = ClassCounts(counts).require_no_empty().counts
        super().__init__(counts, bias=np.log(np.minimum(sizes / sizes.min(), most)), **shared)


register(
    Recipe(
        "capped_prior",
        Paper("An example of lt-fast's documentation, without a paper"),
        "the docstring of CappedPriorLoss",
        title="Balanced softmax with a capped prior",
        loss=Spec("capped_prior", most=cited(20.0, "ours: chosen for this example, not tuned")),
    )
)


def main() -> None:
    from lt_fast import experiment  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    settings = {"epochs": parser.parse_args().epochs}
    print(f"{'recall in percent':<32}{'all':>8}{'few':>8}")
    for recipe in ("ce", "capped_prior"):
        config = experiment.resolve(recipe, "digits-lt", settings, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            found = experiment.run(config, Path(folder) / "run", progress=False)["metrics"]
        print(f"{recipe:<32}{100 * found['balanced_acc']:>8.1f}{100 * found['few_recall']:>8.1f}")


if __name__ == "__main__":
    main()
