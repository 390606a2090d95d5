"""``import lt_fast`` imports nothing else: every package loads when it is first used. Checked in fresh interpreters."""

import json
import subprocess
import sys

import pytest

EXTRAS = (
    "torchvision",
    "sklearn",
    "matplotlib",
    "tqdm",
    "safetensors",
    "pandas",
    "scipy",
    "PIL",
    "imagehash",
    "pillow_heif",
)
SUBPACKAGES = (
    "sampling",
    "datasets",
    "ops",
    "losses",
    "mixing",
    "calibration",
    "models",
    "metrics",
    "training",
    "methods",
    "recipes",
    "reproduction",
    "scheduling",
    "experiment",
    "inspection",
)


def fresh(code):
    """Run ``code`` in a new interpreter with warnings as errors; return what it prints, parsed as JSON."""
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_import_brings_no_extra_and_no_subpackage():
    loaded = set(fresh("import lt_fast, sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert not loaded & set(EXTRAS)
    assert not loaded & {f"lt_fast.{name}" for name in SUBPACKAGES}
    # Nothing at all: the command line listens to signals before the seconds in which numpy and torch load.
    assert not loaded & {"numpy", "torch", "typing", "lt_fast.counts"}
    assert "lt_fast" in loaded


def test_what_the_package_names_itself_loads_on_first_use():
    code = (
        "import json, lt_fast as lt\n"
        "counts = lt.ClassCounts([5, 1])\n"
        "print(json.dumps([counts.total, lt.counts.__name__, lt.show_versions.__module__, 'ClassCounts' in vars(lt)]))"
    )
    assert fresh(code) == [6, "lt_fast.counts", "lt_fast.versions", True]


def test_subpackages_load_on_first_use_where_no_extra_is_installed():
    # A module that is None in sys.modules cannot be imported: torch, which takes tqdm if it is there, does without.
    code = (
        "import json, sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS}))\n"
        "import lt_fast as lt\n"
        f"print(json.dumps([getattr(lt, name).__name__ for name in {SUBPACKAGES}]))"
    )
    assert fresh(code) == [f"lt_fast.{name}" for name in SUBPACKAGES]


DRAWS = """
import json, pickle, sys
import lt_fast as lt, numpy as np
labels = np.repeat([0, 1, 2], [50, 10, 3])
seen = lt.sampling.ConfusionCounts(3)
seen.update(labels, np.roll(labels, 7))
counts = lt.ClassCounts.from_labels(labels)
samplers = [
    lt.sampling.ShuffledBatchSampler(labels, batch_size=8),
    lt.sampling.ClassBalancedBatchSampler(labels, batch_size=8).shard(1, 2),
    lt.sampling.ClassBalancedSampler(labels, class_probs=[1, 2, 3]).shard(0, 2),
    lt.sampling.ConfusionPairBatchSampler(labels, seen, pairs_per_batch=4),
    lt.sampling.DualBatchSampler(
        lt.sampling.ShuffledBatchSampler(63, batch_size=8), lt.sampling.ShuffledBatchSampler(63, batch_size=8, seed=1)
    ),
    lt.sampling.StratifiedBatchSampler(labels, batch_size=8),
    lt.sampling.MPerClassBatchSampler(labels, m=2, classes_per_batch=3),
    lt.sampling.WeightedRandomSampler([1.0, 2.0, 0.5], num_samples=9),
    lt.sampling.RepeatFactorSampler([1.0, 1.5, 2.0]),
]
again = pickle.loads(pickle.dumps(samplers))
assert [list(sampler) for sampler in again] == [list(sampler) for sampler in samplers]
kept = lt.datasets.long_tailed_indices(np.tile(np.arange(10), 50), imbalance_ratio=10)
assert pickle.loads(pickle.dumps(seen)) == seen
print(json.dumps([[list(sampler) for sampler in samplers], counts.counts.tolist(), np.asarray(kept).tolist(),
                  seen.matrix().tolist()], default=str))
"""


def test_samplers_counts_and_data_sets_need_numpy_alone():
    without = fresh("import sys\nsys.modules['torch'] = None" + DRAWS)
    assert without == fresh("import torch" + DRAWS)


def test_the_namespace_is_what_it_says():
    public, listed, version = fresh(
        "import json, lt_fast as lt; print(json.dumps([lt.__all__, dir(lt), lt.__version__]))",
    )
    assert set(SUBPACKAGES) < set(public)
    assert set(listed) == {*public, "__version__"}
    assert version.count(".") == 2


def test_an_unknown_attribute_is_named():
    import lt_fast

    with pytest.raises(AttributeError, match="module 'lt_fast' has no attribute 'loses'"):
        _ = lt_fast.loses


def test_the_package_runs_as_the_command():
    command = [sys.executable, "-W", "error", "-m", "lt_fast", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("lt-fast ")
    assert not run.stderr
