"""Advice: the mode by its rule, and the classes that are too small to measure."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lt_fast.inspection.advice import advise, images_tested
from lt_fast.inspection.intervals import half_width_of_recall


@pytest.mark.parametrize(("counts", "side", "mode"), [
    ([4999], 300, "freeze"),
    ([2500, 2500], 300, "finetune"),
    ([9000, 49, 40], 300, "freeze"),
    ([9000, 50, 40], 300, "finetune"),
    ([10_000, 10_000], 64, "scratch"),
    ([10_000, 10_000], 65, "finetune"),
    ([10_000, 9_999], 64, "finetune"),
    ([3, 0, 0], 32, "freeze"),
])  # fmt: skip
def test_the_mode_follows_its_rule(counts, side, mode):
    assert advise(np.array(counts), [side] * 5, 9).mode == mode


def test_classes_too_small_to_measure():
    found = advise(np.array([60, 57, 5, 1, 0]), [100], 122)
    assert list(found.too_small) == [1, 2, 3]
    assert found.too_small[3] == 1  # no test image at all
    assert found.folds == 5
    assert advise(np.array([60, 58]), [100], 118).folds == 0
    assert [advise(np.array([3, 1]), [100], groups).folds for groups in (0, 2, 3)] == [0, 2, 3]


@pytest.mark.parametrize(("count", "tested"), [(1, 0), (2, 1), (5, 1), (7, 1), (8, 2), (60, 12), (2062, 412)])
def test_a_fifth_is_tested_and_one_is_left(count, tested):
    assert images_tested(count) == tested


@pytest.mark.parametrize("images", [2, 4, 12, 50, 1000])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_width_is_scipys(images, level):
    found = binomtest(images // 2, images).proportion_ci(level, method="wilson")
    assert half_width_of_recall(images, level) == pytest.approx((found.high - found.low) / 2, rel=1e-9)


@pytest.mark.parametrize(("images", "level", "message"), [(-1, 0.95, "images"), (2.5, 0.95, "images"), (5, 1, "level")])
def test_the_width_refuses(images, level, message):
    with pytest.raises((ValueError, TypeError), match=f"{message} must"):
        half_width_of_recall(images, level)
