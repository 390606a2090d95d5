"""Arguments for the functions of the Rust module: plausible ones by parameter, hostile ones for any."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from lt_fast import _rust

CLASSES, SAMPLES, ROWS = 3, 6, 5
NUMBERS = [0, 1, 2, 3, 7, 64, 65, 1000, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**61, 2**62, 2**63 - 1]
NUMBERS += [2**63, 2**64 - 1, 2**64, -1, -(2**63), 10**40]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 5e-324, 1e308, 1e30, float("nan"), float("inf"), float("-inf")]
DTYPES = ["?", "u1", "i1", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c16", "O", "U3", "S2", "M8[s]"]
DTYPES += [">i8", ">u4", ">f8"]
TEXTS = ["exp", "step", "pareto", "ldam", "counter", "", "\0", "\ud800", "x" * 5000]


def _array(dtype: str, draw: Callable[[Random], Any], *shape: int) -> Callable[[Random], np.ndarray]:
    count = int(np.prod(shape))
    return lambda random: np.array([draw(random) for _ in range(count)], dtype).reshape(shape)


def _number(least: int, most: int) -> Callable[[Random], int]:
    return lambda random: random.randint(least, most)


def _real(least: float, most: float) -> Callable[[Random], float]:
    return lambda random: random.uniform(least, most)


def _choice(*values: Any) -> Callable[[Random], Any]:
    return lambda random: random.choice(values)


def _every_class(dtype: str) -> Callable[[Random], np.ndarray]:
    return lambda random: np.array(random.sample([0, 0, 1, 1, 2, 2], SAMPLES), dtype)


def _mix(random: Random) -> Any:
    rows, positions = _array("i8", _number(0, 3), 2)(random), _array("i8", _number(0, 99), 2)(random)
    boxes = random.choice([None, np.array([[0, 1, 4, 6]] * 2, "i4")])
    return random.choice([None, (rows, positions, _array("f4", _real(0, 1), 2)(random), boxes)])


def _cropping(random: Random) -> Any:
    return (*(random.randint(0, most) for most in (99, 9, 2, 4)), random.choice([False, True]))


def _steps(random: Random) -> list[Any]:
    values = {"invert": [], "posterize": [1, 8], "rotate": [-30.0, 90.0, 7.5], "hue": [0.1], "gaussian_blur": [0.3, 90]}
    values |= {"shear_x": [-99, 0.3], "shear_y_bicubic": [-0.3, 3], "translate_x": [-16000, 2.5], "sharpness": [0, 9]}
    names = random.choices(sorted(values), k=random.randint(1, 3))
    return [(name, random.random(), values[name], len(values[name]) == 2 and random.random() < 0.5) for name in names]


def _stages(random: Random) -> list[Any]:
    return [
        (random.random(), random.random() < 0.5, [_steps(random) for _ in range(random.randint(1, 4))])
        for _ in range(random.randint(0, 3))
    ]


def _augmentation(random: Random) -> Any:
    return _rust.Augmentation(_stages(random), random.randint(0, 255), random.randint(0, 9))


def _list(random: Random) -> bytes:
    return b"".join(b"folder/%d.jpg %d\n" % (number, random.randrange(9)) for number in range(random.randrange(9)))


_CELLS = _array("i8", _number(0, CLASSES - 1), ROWS)
# A function's own parameters stand before those of that name in any function.
PLAUSIBLE: dict[str, Callable[[Random], Any]] = {
    **dict.fromkeys(["seed", "stream", "epoch", "start"], _number(0, 99)),
    **dict.fromkeys(["alpha", "beta", "temperature"], _real(0.1, 3)),
    **dict.fromkeys(["flip", "cycle", "replacement"], _choice(False, True)),
    **dict.fromkeys(["target", "predicted"], _CELLS),
    "n": _number(1, 300),
    "uniform_fraction": _real(0, 1),
    "num_classes": _number(CLASSES, CLASSES),
    "ConfusionCounts.num_classes": _choice(CLASSES, CLASSES, 2001),
    "largest": _number(50, 1000),
    "imbalance_ratio": _real(1, 20),
    "profile": _choice("exp", "step", "pareto"),
    "method": _choice("ldam", "counter"),
    "draws_per_epoch": _choice(0, 1, 5, 200),
    "shuffled.draws_per_epoch": _number(1, 900),
    "weighted.draws_per_epoch": _number(0, SAMPLES),
    "repeat_factor.draws_per_epoch": _number(1, 50),
    "batch_size": _number(1, 9),
    "first": _number(0, 3),
    "step": _number(1, 3),
    "count": _number(0, 3),
    "ConfusionCounts.merge.count": _array("i8", _number(0, 2**40), ROWS),
    "m": _number(1, 4),
    "classes_per_batch": _number(1, 2),
    "labels": _every_class("u4"),
    "class_sizes.labels": _every_class("i8"),
    "long_tailed_indices.labels": _every_class("i8"),
    "counts": _array("i8", _number(1, 2), CLASSES),
    "class_probs": _array("f8", _real(0.1, 1), CLASSES),
    "weight": _array("f8", _real(0, 9), ROWS),
    "weights": _array("f8", _real(0.1, 9), SAMPLES),
    "repeat_factors": _array("f8", _real(0.1, 9), SAMPLES),
    "indptr": lambda _: np.arange(SAMPLES + 1),
    "multilabel.indices": _every_class("u4"),
    "least_sampled.indices": _every_class("u4"),
    "integers.indices": _array("i8", _number(-9, 2**18), 9),
    "images": _array("u1", _number(0, 255), 4, 5, 6, CLASSES),
    "fill_batch.index": _array("i8", _number(0, 3), 2),
    "positions": _array("i8", _number(0, 2**40), 2),
    "cropping": _cropping,
    "mean": _array("f4", _real(0, 1), CLASSES),
    "std": _array("f4", _real(0.1, 1), CLASSES),
    "mix": _mix,
    "out": lambda _: np.zeros((2, CLASSES, 5, 6), np.float32),
    "list": _list,
    "stages": _stages,
    "fill": _number(0, 255),
    "cutout": _number(0, 9),
    "augmentation": _augmentation,
    "augmented.positions": _array("i8", _number(0, 2**40), 4),
    "view": _number(0, 2),
    "dtype": _choice("float32", "float32", "bfloat16"),
    "channels_last": _choice(False, True),
}


def plausible(target: str, parameter: str) -> Callable[[Random], Any] | None:
    """Return what draws a usable argument, or None if nobody has said what is usable."""
    return PLAUSIBLE.get(f"{target}.{parameter}") or PLAUSIBLE.get(parameter)


def hostile(random: Random) -> Any:
    """Return a value of any kind, most often an array."""
    kinds = [
        lambda: random.choice(NUMBERS),
        lambda: random.getrandbits(random.choice([8, 31, 63, 64])) if random.random() < 0.5 else True,
        lambda: random.choice(FLOATS),
        lambda: random.choice(TEXTS),
        lambda: random.choice(
            [None, [], [0, 1], (), {}, b"", b"a 1\nb", b"\xff 3", object(), np.int64(3), np.float32(2)]
        ),
        lambda: twisted(random, _any_array(random)),
        lambda: twisted(random, _any_array(random)),
    ]
    return random.choice(kinds)()


def _any_array(random: Random) -> np.ndarray:
    shape = tuple(random.choice([0, 1, 2, 3, 5, 6, 7, 300]) for _ in range(random.choice([0, 1, 1, 1, 2, 4])))
    if np.prod(shape) > 10**5:
        shape = shape[:1]
    numbers = np.array([random.choice(NUMBERS) % 2**64 for _ in range(int(np.prod(shape)))], np.uint64)
    with np.errstate(all="ignore"):
        return numbers.reshape(shape).astype(random.choice(DTYPES))


def twisted(random: Random, array: np.ndarray) -> np.ndarray:  # noqa: PLR0911 - one return for each twist
    """Return an array in another layout, with one odd element, of another length or without an end."""
    array = array.copy()
    twist = random.randrange(12)
    if twist == 0 and array.size and array.dtype.kind in "iuf":
        array.flat[random.randrange(array.size)] = _odd(random, array.dtype)
    elif twist == 1 and array.ndim:
        return np.repeat(array, 2, axis=0)[::2]
    elif twist == 2 and array.ndim:
        return array[::-1]
    elif twist == 3:
        array.flags.writeable = False
    elif twist == 4 and array.ndim:
        return array[: random.randrange(len(array) + 1)]
    elif twist == 5:
        return np.asfortranarray(array)
    elif twist == 6 and not array.dtype.hasobject:
        shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        shifted[...] = array
        return shifted
    elif twist == 7 and array.size == 1:
        return np.broadcast_to(array.reshape(()), (random.choice([2, 2**33, 2**50]),))
    elif twist == 8:
        return array[..., None] if random.random() < 0.5 else array.astype(object)
    return array


def _odd(random: Random, dtype: np.dtype) -> Any:
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return random.choice([value for value in FLOATS if not largest < abs(value) < float("inf")])
    limits = np.iinfo(dtype)
    return random.choice([limits.min, limits.max, limits.max - 1, limits.max // 2])
