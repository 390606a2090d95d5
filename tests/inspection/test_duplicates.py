"""Duplicates: the banded search gives what comparing each with each gives."""

import base64
import itertools

import numpy as np
import pytest

from lt_fast.inspection import duplicates
from lt_fast.inspection.duplicates import alike, linked, near, same
from lt_fast.inspection.facts import Facts


def small(generator, base=None, noise=0.0):
    pixels = generator.uniform(0, 255, 256) if base is None else base + noise * generator.normal(size=256)
    return base64.b64encode(pixels.clip(0, 255).astype(np.uint8).tobytes()).decode()


def by_force(looks, thumbnails, distance, correlation):
    """Compare each with each; connect by repeated merging."""
    rows = [np.frombuffer(base64.b64decode(text), np.uint8).astype(float) for text in thumbnails]
    group = list(range(len(looks)))
    for i, j in itertools.combinations(range(len(looks)), 2):
        if looks[i] is None or looks[j] is None or (looks[i] ^ looks[j]).bit_count() > distance:
            continue
        if np.corrcoef(rows[i], rows[j])[0, 1] >= correlation:
            group = [group[i] if each == group[j] else each for each in group]
    members = [[at for at, each in enumerate(group) if each == value] for value in sorted(set(group))]
    return sorted(each for each in members if len(each) > 1)


@pytest.mark.parametrize("distance", [0, 1, 3, 5, 8, 16])
def test_bands_find_what_comparing_each_with_each_finds(distance, monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 7)  # so that small sets cross the blocks' borders
    monkeypatch.setattr(duplicates, "_PAIRS", 3)
    generator = np.random.Generator(np.random.PCG64(distance))
    looks, thumbnails = [], []
    for _ in range(40):
        value, base = int(generator.integers(0, 2**64, dtype=np.uint64)), generator.uniform(0, 255, 256)
        for _ in range(int(generator.integers(1, 5))):
            flips = generator.integers(0, 64, int(generator.integers(0, distance + 3)))
            looks.append(value ^ int(np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64), initial=0)))
            thumbnails.append(small(generator, base, noise=float(generator.choice([0, 10, 80]))))
    looks[3], thumbnails[3] = None, ""
    looks[5], thumbnails[5] = looks[4], thumbnails[4]
    found = near(looks, thumbnails, distance=distance, correlation=0.95)
    assert sorted(found) == by_force(looks, thumbnails, distance, 0.95)
    assert [4, 5] in [group[:2] for group in found] or any({4, 5} <= set(group) for group in found)


def test_equal_hashes_of_different_pictures_are_not_near():
    generator = np.random.Generator(np.random.PCG64(1))
    one, other = Facts(None, looks=7, small=small(generator)), Facts(None, looks=7, small=small(generator))
    assert not alike(one, other)
    assert alike(one, other, correlation=-1)
    assert alike(one, one._replace(looks=7 ^ 0b11111))
    assert not alike(one, one._replace(looks=7 ^ 0b111111))
    assert not alike(one, Facts("damaged"))
    assert near([7, 7], [one.small, other.small]) == []


def test_many_equal_images_are_one_group():
    generator = np.random.Generator(np.random.PCG64(2))
    thumbnail = small(generator)
    assert near([5] * 3000, [thumbnail] * 3000) == [list(range(3000))]


def test_nothing_is_no_group():
    assert near([], []) == []
    assert near([None], [""]) == []
    assert same([]) == []
    assert linked([], 0).tolist() == []


@pytest.mark.parametrize("distance", [-1, 17, 2.5])
def test_the_distance_has_a_range(distance):
    with pytest.raises((ValueError, TypeError), match="distance must be"):
        near([1], [""], distance=distance)
