"""CP-Mix's recipes: the ablations, the lengths of the stages, and what a whole run tells, saves and draws."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import BalancedSoftmaxLoss, CrossEntropyLoss
from lt_fast.report import run_report
from lt_fast.sampling import ConfusionCounts

SHORT = {"epochs": 6, "pairs_per_batch": 16}  # stage 1: epochs 0 to 3; 417 images: seven steps per epoch
ABLATIONS = ["cp_mix", "cp_mix_no_pairs", "cp_mix_no_mixing_function", "cp_mix_no_regularization", "cp_mix_ce"]


def parts_of(name, **overrides):
    config = experiment.resolve(name, "digits-lt", {**SHORT, **overrides}, seed=5)
    return build(config, load_data(config))


@pytest.mark.parametrize(
    ("name", "loaders", "tau", "plain"),
    [
        ("cp_mix", ["train", "pairs", "mixed"], 0.5, BalancedSoftmaxLoss),
        ("cp_mix_no_pairs", ["train", "mixed"], 0.5, BalancedSoftmaxLoss),
        ("cp_mix_no_mixing_function", ["train", "pairs", "mixed"], 0.0, BalancedSoftmaxLoss),
        ("cp_mix_no_regularization", ["train", "pairs"], 0.5, BalancedSoftmaxLoss),
        ("cp_mix_ce", ["train", "pairs", "mixed"], 0.5, CrossEntropyLoss),
    ],
)
def test_each_ablation_leaves_out_what_it_says(name, loaders, tau, plain):
    parts = parts_of(name)
    assert list(parts.loaders) == loaders
    assert any(type(module) is plain for module in parts.method.modules())
    assert experiment.resolve(name, "digits-lt")["method"]["tau"] == tau
    assert parts.method.active(3, 6) == ("train",)
    assert parts.method.active(4, 6) is None


@pytest.mark.parametrize("data_set", ["digits-lt", "cifar10-lt", "cifar100-lt"])
def test_the_stages_are_two_thirds_and_one_third(data_set):
    for name in ABLATIONS:
        config = experiment.resolve(name, data_set)
        assert config["method"]["stage_2_from"] == pytest.approx(2 / 3)
        assert (config["calibrator"]["name"], config["calibrator"]["start"]) == ("retraining", "trained")
    ours = [source for _, source in experiment.values_of("cp_mix", data_set).values() if source.startswith("ours")]
    assert any("the paper's value was not available" in source for source in ours)


def test_a_run_tells_saves_and_draws_its_confusions(tmp_path, capsys):
    folder = tmp_path / "run"
    options = [f"--set={name}={value}" for name, value in SHORT.items()]
    status = main(["train", "--method=cp-mix", "--data=digits-lt", "--quiet", f"--run={folder}", "--seed=5", *options])
    words = capsys.readouterr().out
    assert status == 0
    result = json.loads((folder / "result.json").read_text())
    confusions = result["method"]["confusions"]
    assert confusions["predictions"] == 6 * 417
    assert f"most confused while training, of {confusions['errors']} errors on 2502 images" in words
    assert result["tables"] == ["confusion_counts.safetensors"]
    entries = load_file(folder / "confusion_counts.safetensors")["entries"]
    counts = ConfusionCounts(10)
    counts.load_state_dict({**counts.state_dict(), "entries": entries})
    matrix = counts.matrix()
    assert confusions["errors"] == matrix.sum() - np.trace(matrix)
    first = confusions["most_frequent"][0]
    off_diagonal = matrix - np.diag(np.diag(matrix))
    assert first["count"] == off_diagonal.max()
    row = off_diagonal[int(first["true"])]
    assert first["count"] == row[int(first["predicted"])]
    assert first["share"] == pytest.approx(first["count"] / row.sum())
    assert run_report.confusion_table(result).splitlines()[2].split()[:3] == [
        first["true"], first["predicted"], str(first["count"]),
    ]  # fmt: skip
    assert (folder / "plots" / "confusion_pairs.png").stat().st_size > 10_000
    assert (folder / "calibration" / "calibrator.safetensors").exists()
    again = experiment.evaluate_run(folder)
    assert again["metrics"] == result["metrics"]
    assert again["metrics_before_calibration"] == result["metrics_before_calibration"]
    (folder / "confusion_counts.safetensors").unlink()
    with pytest.warns(UserWarning, match="has a result, but no confusion_counts.safetensors; made again"):
        experiment.run(result["config"], folder, resume=True, progress=False)
    assert (folder / "confusion_counts.safetensors").exists()


def test_no_mixture_is_left():
    with pytest.raises(UsageError, match="method cp_mix: .*(regularize|mixture|mix_pairs)"):
        parts_of("cp_mix", mix_pairs=False, regularize=False)
