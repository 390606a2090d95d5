"""Stage 2 of a run on augmented views, and with shifted batch norm: keyed, stored, used, resumed, refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import lt_fast as lt
from lt_fast import experiment
from lt_fast.calibration import CALIBRATORS, collect
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data, source_of
from lt_fast.experiment.calibrating import calibrate_run
from lt_fast.experiment.second_stage import adapted, batches_to_fit, fine_tune, refuse_unfit, shift_batch_norm

ONCE = {"epochs": 2}
SHORT = {**ONCE, "calibrator.epochs": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose stage 2 has shifted batch norm, and its result."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    config = experiment.resolve("mislas", "digits-lt", {**SHORT, "calibrator.shift_epochs": 2}, seed=3)
    return folder, experiment.run(config, folder, progress=False)


def features_of(config, views):
    parts = build(config, load_data(config))
    parts.calibrator.views = views
    batches = batches_to_fit(config, parts.data, parts.calibrator, parts.data.source)
    return [torch.cat([batch.x for batch in each]) for each in batches]


def test_views_are_augmented_in_order_and_keyed():
    config = experiment.resolve("mc", "digits-lt", SHORT, seed=3)
    (plain,) = features_of(config, 0)
    views = features_of(config, 2)
    assert [len(each) for each in views] == [len(plain)] * 2
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[0], plain)
    again = features_of(config, 3)
    assert all(torch.equal(one, two) for one, two in zip(views, again, strict=False))
    other = features_of(experiment.resolve("mc", "digits-lt", SHORT, seed=4), 1)
    assert not torch.equal(other[0], views[0])
    # Row i of a view is image i, moved by up to a pixel over black.
    padded = F.pad(plain, (1, 1, 1, 1), value=float(plain.min()))
    moved = [padded[:, :, top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    nearest = torch.stack([(each - views[0]).abs().amax((1, 2, 3)) for each in moved]).amin(0)
    assert nearest.max() < 1e-5


def test_a_run_is_fitted_on_the_views(tmp_path):
    results = {}
    for views in (0, 2):
        config = experiment.resolve("mc", "digits-lt", {**SHORT, "calibrator.views": views}, seed=3)
        results[views] = experiment.run(config, tmp_path / str(views), progress=False)
    before = [result["metrics_before_calibration"] for result in results.values()]
    assert before[0] == before[1]
    assert results[0]["metrics"]["nll"] != results[2]["metrics"]["nll"]
    assert json.loads((tmp_path / "2" / "calibration" / "calibrator.json").read_text())["views"] == 2
    found = calibrate_run(
        tmp_path / "0", "mc", tmp_path / "c", options={"views": "2", "epochs": "3", "batch_size": "64"}
    )
    assert found["calibrator"]["views"] == 2
    one, two = (load_file(folder / "calibrator.safetensors") for folder in (tmp_path / "2/calibration", tmp_path / "c"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_shifted_batch_norm_is_measured_stored_and_used(run, tmp_path):
    folder, result = run
    calibrator = CALIBRATORS["label_aware_smoothing"].load(folder / "calibration")
    assert calibrator.statistics
    assert not any("num_batches" in name for name in calibrator.statistics)
    saved = load_file(folder / "predictions.safetensors")
    classifier = lt.load(folder)
    images = load_data(result["config"]).test.images
    wanted = saved["calibrated_logits"].double().softmax(1).numpy()
    np.testing.assert_allclose(classifier.predict(images).probabilities, wanted, atol=1e-5)
    again = experiment.evaluate_run(folder)
    assert again["metrics"] == result["metrics"]
    assert again["metrics_before_calibration"] == result["metrics_before_calibration"]


def test_the_statistics_are_those_of_class_balanced_augmented_batches(run):
    config = run[1]["config"]
    parts = build(config, load_data(config))
    model, calibrator = parts.method.model, parts.calibrator
    shift_batch_norm(config, parts.data, calibrator, model, device="cpu")
    first = dict(calibrator.statistics)
    calibrator.statistics = {}
    shift_batch_norm(config, parts.data, calibrator, model, device="cpu")
    assert all(torch.equal(first[name], values) for name, values in calibrator.statistics.items())
    network = adapted(calibrator, model)
    assert network is not model
    batches = parts.data.plain_loader(source_of(load_data(config).test))
    assert not torch.equal(collect(network, batches).features, collect(model, batches).features)


def test_a_stage_2_that_is_gone_is_learned_again(run, tmp_path):
    folder, result = run
    copy = shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(copy / "calibration")
    with pytest.warns(UserWarning, match="made again from its last checkpoint"):
        again = experiment.run(result["config"], copy, resume=True, progress=False)
    assert again["metrics"] == result["metrics"]
    file = "calibration/calibrator.safetensors"
    assert (copy / file).read_bytes() == (folder / file).read_bytes()


def test_an_exported_program_answers_as_the_run(run, tmp_path):
    pytest.importorskip("onnxscript")
    from lt_fast.inference.exporting import export

    folder = run[0]
    calibrate_run(folder, "disalign", tmp_path / "c", options={"epochs": "1"})
    assert export(lt.load(folder, calibration=tmp_path / "c"), tmp_path / "a.onnx").difference < 1e-5


def test_tau_is_given_or_chosen_on_validation_images(tmp_path):
    config = experiment.resolve("tau_norm", "digits-lt", {**ONCE, "calibrator.tau": "none", "validation": 0.2})
    experiment.run(config, tmp_path / "run", progress=False)
    assert 0 <= json.loads((tmp_path / "run/calibration/calibrator.json").read_text())["tau"] <= 2
    config = experiment.resolve("tau_norm", "digits-lt", {**ONCE, "calibrator.tau": "none"})
    with pytest.raises(UsageError, match="tau_norm is fitted on validation images, and the run has none"):
        experiment.run(config, tmp_path / "other", progress=False)


def test_a_frozen_network_has_neither():
    calibrator = CALIBRATORS["label_aware_smoothing"]([3, 2], shift_epochs=1, views=2)
    refuse_unfit({}, calibrator)
    with pytest.raises(UsageError, match=r"calibrator.shift_epochs must be 0 where the network is frozen, got 1: its"):
        refuse_unfit({"mode": "freeze", "feature_views": 3}, calibrator)
    calibrator.shift_epochs = 0
    refuse_unfit({"mode": "freeze", "feature_views": 3}, calibrator)
    with pytest.raises(UsageError, match=r"calibrator.views must be 0 where feature_views is 0, got 2: no augmented"):
        refuse_unfit({"mode": "freeze", "feature_views": 0}, calibrator)


# --- fine-tuning after a probe ----------------------------------------------------------------------------------------

PROBE = {**ONCE, "calibrator": "linear_probe", "calibrator.epochs": 3, "calibrator.lr": 0.3}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run whose stage 2 is a probe and two epochs of fine-tuning, and its result."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    config = experiment.resolve("cp_mix", "digits-lt", {**PROBE, "calibrator.finetune_epochs": 2}, seed=3)
    return folder, experiment.run(config, folder, progress=False)


def test_a_run_is_fine_tuned_after_its_probe(tuned):
    folder, result = tuned
    frozen = experiment.resolve("cp_mix", "digits-lt", PROBE, seed=3)
    parts = build(frozen, load_data(frozen))
    checkpoint = load_file(folder / "checkpoints" / "epoch-0002" / "model.safetensors")
    saved = load_file(folder / "calibration" / "calibrator.safetensors")
    names = {name.removeprefix("network.") for name in saved if name.startswith("network.")}
    assert names == {name for name, _ in parts.method.model.named_parameters() if not name.startswith("head.")}
    moved = [not torch.equal(saved[f"network.{name}"], checkpoint[name]) for name in names]
    assert all(moved)
    assert result["metrics"] != result["metrics_before_calibration"]


def test_a_fine_tuned_run_is_measured_again_and_used(tuned):
    folder, result = tuned
    assert experiment.evaluate_run(folder)["metrics"] == result["metrics"]
    test = load_data(result["config"]).test
    found = lt.load(folder).predict(test.images).probabilities.argmax(1)
    assert (found == test.labels).mean() == pytest.approx(result["metrics"]["top1"])


@pytest.mark.parametrize("balanced", [True, False])
def test_images_of_the_fine_tuning_are_class_balanced_or_each_once(balanced):
    config = experiment.resolve("ce", "digits-lt", {**PROBE, "calibrator.balanced": balanced}, seed=3)
    parts = build(config, load_data(config))
    seen = []

    class Recording:
        finetune_epochs, finetune_batch_size = 2, 100

        def finetune(self, model, passes, **where):
            assert where == {"device": "cpu", "amp": False}
            seen.extend([batch.target for batch in batches] for batches in passes)

    recording = Recording()
    recording.balanced = balanced
    fine_tune(config, parts.data, recording, parts.method.model, device="cpu")
    counts = [torch.bincount(torch.cat(epoch), minlength=10) for epoch in seen]
    assert len(counts) == 2
    assert [len(batch) for batch in seen[0]] == [100, 100, 100, 100, 17]
    if balanced:
        assert min(map(int, counts[0])) > 20
    else:
        assert counts[0].tolist() == parts.data.class_counts.counts.tolist()


def test_a_finished_run_is_probed(run, tmp_path):
    folder, _ = run
    record = calibrate_run(folder, "linear_probe", tmp_path / "a", options={"variant": "udp", "epochs": 3, "lr": 0.3})
    assert record["metrics"]["top1"] > 0.15
    assert record["calibrator"]["variant"] == "udp"


def test_a_frozen_network_is_not_fine_tuned():
    probe = CALIBRATORS["linear_probe"]([3, 2], finetune_epochs=1)
    with pytest.raises(UsageError, match=r"calibrator\.finetune_epochs must be 0 where the network is frozen, got 1"):
        refuse_unfit({"mode": "freeze", "feature_views": 0}, probe)
