"""Margin calibration: golden numbers, a fit done by hand, its files, and what it refuses."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import reference
from lt_fast import ClassCounts, calibration
from lt_fast.calibration import MarginCalibration
from lt_fast.errors import DataError
from lt_fast.models.initialization import build

CIFAR10 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
COUNTS = [40, 12, 4]


def problem(rows=56, seed=0, dtype=torch.float64):
    """Logits of an imbalanced set whose classifier favours the first class."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))[:rows]
    logits = torch.randn(rows, 3, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    logits += 1.5 * nn.functional.one_hot(labels, 3)
    logits[:, 0] += 2.0
    return logits, labels


def fitted(**kwargs):
    logits, labels = problem()
    return MarginCalibration(COUNTS, **{"epochs": 3, "batch_size": 16, **kwargs}).fit(
        logits, labels, weight_norm=[1.5, 1.0, 0.5]
    )


def linear(features, classes):
    return build(lambda: nn.Linear(features, classes), seed=0)


class TestFormulas:
    def test_golden_weights(self):
        expected = [0.018275, 0.033775, 0.062438, 0.115335, 0.213377, 0.393882, 0.727836, 1.345865, 2.498766, 4.59045]
        weights = calibration.generalized_reweighting(CIFAR10)
        np.testing.assert_allclose(weights, expected, atol=5e-7)
        assert weights.sum() == pytest.approx(10)

    @pytest.mark.parametrize(
        ("normalization", "expected"), [("weights", 1.1314276096499896), ("batch", 2.662127654206969)]
    )
    def test_golden_loss(self, normalization, expected):
        x = torch.tensor([[0.2, -0.1, 0.05, 0.3, -0.25, 0, 0.15, -0.05, 0.1, 0.4]] * 2, dtype=torch.float64)
        x[1, 0] = 0.6
        weight = torch.from_numpy(calibration.generalized_reweighting(CIFAR10))
        loss = calibration.margin_calibration_loss(5 * x, torch.tensor([9, 3]), weight, normalization=normalization)
        assert loss.item() == pytest.approx(expected, rel=1e-14)

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.floats(0, 3))
    def test_weights_equal_the_reference(self, counts, gamma):
        np.testing.assert_allclose(
            calibration.generalized_reweighting(counts, gamma),
            reference.inverse_frequency_weights(counts, gamma),
            rtol=1e-9,
        )

    def test_weights_stay_finite_where_powers_overflow(self):
        weights = calibration.generalized_reweighting([10**15, 1, 0], 50.0)
        assert weights.tolist() == [0.0, 3.0, 0.0]

    def test_gamma_zero_weighs_alike(self):
        assert calibration.generalized_reweighting(CIFAR10, 0).tolist() == [1.0] * 10

    @settings(deadline=None)
    @given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31), st.floats(0.1, 30))
    def test_logits_equal_the_reference(self, rows, classes, seed, scale):
        generator = torch.Generator().manual_seed(seed)
        logits, weight = (
            torch.randn(n, d, dtype=torch.float64, generator=generator) for n, d in ((rows, classes), (classes, 4))
        )
        omega, beta = (torch.randn(classes, dtype=torch.float64, generator=generator) for _ in range(2))
        got = calibration.margin_calibrated_logits(logits, omega, beta, weight.norm(dim=1), scale=scale)
        torch.testing.assert_close(got, reference.margin_calibrated_logits(logits, omega, beta, weight, scale=scale))

    @pytest.mark.parametrize("normalization", ["weights", "batch"])
    def test_loss_equals_the_reference(self, normalization):
        logits, labels = problem()
        weights = calibration.generalized_reweighting(COUNTS)
        got = calibration.margin_calibration_loss(
            logits, labels, torch.from_numpy(weights), normalization=normalization
        )
        expected = reference.margin_calibration_loss(logits, labels, weights, normalization=normalization)
        assert got.item() == pytest.approx(expected)

    @pytest.mark.parametrize("normalization", ["weights", "batch"])
    def test_gradients(self, normalization):
        logits, labels = problem(rows=50)
        weight = torch.from_numpy(calibration.generalized_reweighting(COUNTS))
        norm = torch.tensor([1.5, 1.0, 0.5], dtype=torch.float64)

        def loss(omega, beta):
            calibrated = calibration.margin_calibrated_logits(logits, omega, beta, norm, scale=2.0)
            return calibration.margin_calibration_loss(calibrated, labels, weight, normalization=normalization)

        start = [torch.full((3,), v, dtype=torch.float64, requires_grad=True) for v in (1.0, 0.2)]
        assert torch.autograd.gradcheck(loss, start)


class TestFit:
    @pytest.mark.parametrize("normalization", ["weights", "batch"])
    @pytest.mark.parametrize(
        "options", [{}, {"warmup_epochs": 2, "peak_lr": 0.1}, {"scale": 4.0, "gamma": 0.5, "weight_decay": 0.0}]
    )
    def test_equals_descent_by_hand(self, normalization, options):
        logits, labels = problem()
        norm = [1.5, 1.0, 0.5]
        settings = {"gamma": 1.2, "momentum": 0.9, "weight_decay": 5e-4, "normalization": normalization} | options
        got = MarginCalibration(
            COUNTS, epochs=4, batch_size=24, **settings, order=lambda e, n: np.roll(np.arange(n), e)
        )
        got.fit(logits, labels, weight_norm=norm)
        if options.get("warmup_epochs"):
            rates = [0.05, 0.075, 0.1, 0.05]
        else:
            rates = [0.05 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
        batches = [np.split(np.roll(np.arange(56), epoch), [24, 48]) for epoch in range(4)]
        by_hand = {k: v for k, v in settings.items() if k not in ("warmup_epochs", "peak_lr")}
        omega, beta = reference.margin_calibration_fit(
            logits, labels, COUNTS, norm, rates=rates, batches=batches, **by_hand
        )
        np.testing.assert_allclose(got.omega, omega, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(got.beta, beta, rtol=1e-9, atol=1e-12)

    def test_the_default_order_depends_on_seed_and_epoch_alone(self):
        torch.testing.assert_close(fitted().omega, fitted().omega, rtol=0, atol=0)
        assert not torch.equal(fitted().omega, fitted(seed=1).omega)

    def test_the_global_generators_are_not_touched(self):
        before, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        fitted()
        assert torch.equal(torch.random.get_rng_state(), before)
        assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002

    def test_helps_the_rare_classes(self):
        labels = torch.repeat_interleave(torch.arange(3), 10 * torch.tensor(COUNTS))
        logits = torch.randn(560, 3, generator=torch.Generator().manual_seed(0))
        logits += 1.5 * nn.functional.one_hot(labels, 3)
        logits[:, 0] += 2.0
        calibrated = MarginCalibration([400, 120, 40], epochs=20, batch_size=64).fit(logits, labels).transform(logits)
        rare = labels == 2
        before, after = ((z.argmax(1) == labels)[rare].float().mean().item() for z in (logits, calibrated))
        assert after > before + 0.1

    def test_the_loss_falls(self):
        losses = fitted(epochs=20).losses
        assert len(losses) == 20
        assert losses[-1] < losses[0]

    def test_head_and_logits_with_their_norm_are_the_same_fit(self):
        head = linear(5, 3)
        features = torch.randn(56, 5, generator=torch.Generator().manual_seed(1))
        _, labels = problem()
        first = MarginCalibration(COUNTS).fit(features, labels, head=head)
        norm = head.weight.norm(dim=1)
        second = MarginCalibration(COUNTS).fit(head(features).detach(), labels, weight_norm=norm.tolist())
        torch.testing.assert_close(first.omega, second.omega)
        torch.testing.assert_close(first.beta, second.beta)
        torch.testing.assert_close(first.weight_norm, norm.detach())
        assert head.weight.grad is None

    def test_a_head_may_name_its_own_row_lengths(self):
        class Cosine(nn.Linear):
            def weight_norm(self):
                return torch.ones(3)

        features = torch.randn(56, 5, generator=torch.Generator().manual_seed(1))
        got = MarginCalibration(COUNTS).fit(features, problem()[1], head=build(lambda: Cosine(5, 3), seed=0))
        assert got.weight_norm.tolist() == [1.0, 1.0, 1.0]

    def test_works_where_gradients_are_off(self):
        expected = fitted().omega
        with torch.no_grad():
            assert torch.equal(fitted().omega, expected)
        with torch.inference_mode():
            inside = fitted().omega
        assert torch.equal(inside, expected)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_dtypes(self, dtype):
        logits, labels = problem()
        got = MarginCalibration(COUNTS).fit(logits.to(dtype), labels.to(torch.int32))
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert got.omega.dtype == got.beta.dtype == wide
        assert got.transform(logits.to(dtype)).dtype == wide

    def test_arrays_and_lists_are_read(self):
        logits, labels = problem()
        first = MarginCalibration(COUNTS).fit(logits.numpy(), labels.tolist())
        assert torch.equal(first.omega, MarginCalibration(ClassCounts(COUNTS)).fit(logits, labels).omega)

    def test_the_input_is_left_alone(self):
        logits, labels = problem()
        kept = logits.clone()
        MarginCalibration(COUNTS).fit(logits, labels)
        assert torch.equal(logits, kept)

    def test_one_class_has_nothing_to_learn_but_decay(self):
        got = MarginCalibration([5], weight_decay=0).fit(
            torch.arange(5.0).view(5, 1), torch.zeros(5, dtype=torch.int64)
        )
        assert (got.omega.tolist(), got.beta.tolist()) == ([1.0], [0.0])

    def test_an_empty_class_can_be_ignored(self):
        logits, labels = problem()
        logits = torch.cat([logits, torch.zeros(56, 1)], dim=1)
        got = MarginCalibration([*COUNTS, 0], empty="ignore").fit(logits, labels)
        assert torch.isfinite(got.omega).all()
        assert math.isfinite(got.losses[-1])

    def test_progress_shows_a_bar(self, capsys):
        fitted(progress=True)
        assert "calibrate" in capsys.readouterr().err


class TestTransformAndApply:
    def test_transform_is_the_formula(self):
        got, (logits, _) = fitted(scale=3.0), problem()
        expected = reference.margin_calibrated_logits(
            logits, got.omega, got.beta, torch.diag(got.weight_norm), scale=3.0
        )
        torch.testing.assert_close(got.transform(logits), expected)

    def test_before_the_first_step_nothing_changes(self):
        got = fitted(lr=1e-300)
        logits, _ = problem()
        torch.testing.assert_close(got.transform(logits), logits)

    def test_gradients_flow_through_transform(self):
        got, (logits, _) = fitted(), problem()
        logits.requires_grad_()
        got.transform(logits).sum().backward()
        torch.testing.assert_close(logits.grad, got.omega.expand(56, 3))


class TestFiles:
    def test_round_trip(self, tmp_path):
        first = fitted(gamma=0.7, scale=2.0, warmup_epochs=1, peak_lr=0.2, normalization="batch", seed=4)
        first.save(tmp_path / "new" / "folder")
        second = MarginCalibration.load(tmp_path / "new" / "folder")
        logits, labels = problem()
        assert torch.equal(first.transform(logits), second.transform(logits))
        assert second.losses == first.losses
        assert vars(second).keys() == vars(first).keys()
        refit = second.fit(logits, labels, weight_norm=[1.5, 1.0, 0.5])
        assert torch.equal(refit.omega, first.omega)

    def test_names_and_ignored_classes_survive(self, tmp_path):
        logits, labels = problem()
        counts = ClassCounts([*COUNTS, 0], names=["peat", "loess", "marl", "chalk"])
        wide = torch.cat([logits, torch.zeros(56, 1)], dim=1)
        MarginCalibration(counts, empty="ignore").fit(wide, labels).save(tmp_path)
        assert MarginCalibration.load(tmp_path).counts == counts

    def test_saving_again_replaces_and_leaves_nothing_aside(self, tmp_path):
        fitted().save(tmp_path)
        fitted(seed=9).save(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["calibrator.json", "calibrator.safetensors"]
        assert torch.equal(MarginCalibration.load(tmp_path).omega, fitted(seed=9).omega)

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match=r"file cannot be written \(File exists\); choose another folder"):
            fitted().save(tmp_path / "file")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(DataError, match=r"calibrator.json must exist; save a calibrator into .* first"):
            MarginCalibration.load(tmp_path)

    @pytest.mark.parametrize("keep", [0, 1, 10])
    @pytest.mark.parametrize("name", ["calibrator.json", "calibrator.safetensors"])
    def test_truncated(self, tmp_path, name, keep):
        fitted().save(tmp_path)
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=rf"{name} (is damaged|must be a safetensors file, got damaged content): "):
            MarginCalibration.load(tmp_path)

    def test_not_text(self, tmp_path):
        fitted().save(tmp_path)
        (tmp_path / "calibrator.json").write_bytes(b"\xff\xfe\xfa")
        with pytest.raises(DataError, match=r"calibrator.json is damaged: .* codec"):
            MarginCalibration.load(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"method": "tau"}, "must hold a 'margin' calibrator, got 'tau'"),
            ({"gamma": -1}, "must hold a margin calibrator, got wrong settings: gamma must be finite and >= 0, got -1"),
            ({"colour": 1}, "got wrong settings: .*colour"),
            ({"counts": [1, 2]}, "names must have one entry per class"),
            ({"counts": [1, 2], "names": None}, r"must hold 'omega' of 2 classes, got shape \(3,\)"),
        ],
    )
    def test_another_content(self, tmp_path, change, message):
        fitted().save(tmp_path)
        path = tmp_path / "calibrator.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(DataError, match=message):
            MarginCalibration.load(tmp_path)

    def test_no_counts(self, tmp_path):
        fitted().save(tmp_path)
        path = tmp_path / "calibrator.json"
        path.write_text('{"method": "margin"}')
        with pytest.raises(DataError, match="got wrong settings: 'counts'"):
            MarginCalibration.load(tmp_path)
        path.write_text("[]")
        with pytest.raises(DataError, match="must hold a JSON object, got list"):
            MarginCalibration.load(tmp_path)

    def test_tensors_that_lack_or_break(self, tmp_path):
        from safetensors.torch import load_file, save_file

        fitted().save(tmp_path)
        path = tmp_path / "calibrator.safetensors"
        tensors = load_file(path)
        save_file({**tensors, "beta": torch.full((3,), math.nan)}, path)
        with pytest.raises(DataError, match="must hold finite numbers, got NaN or infinity in 'beta'"):
            MarginCalibration.load(tmp_path)
        save_file({"omega": tensors["omega"]}, path)
        with pytest.raises(DataError, match="must hold omega, beta, weight_norm, got no 'beta'"):
            MarginCalibration.load(tmp_path)


class TestRefusals:
    @pytest.mark.parametrize(
        ("kwargs", "kind", "message"),
        [
            ({"gamma": -0.1}, ValueError, "gamma must be finite and >= 0, got -0.1"),
            ({"gamma": math.nan}, ValueError, "gamma must be finite and >= 0, got nan"),
            ({"gamma": "1"}, TypeError, "gamma must be a number, got '1'"),
            ({"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
            ({"epochs": 2.5}, TypeError, "epochs must be an integer, got 2.5"),
            ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
            ({"lr": 0}, ValueError, "lr must be finite and > 0, got 0"),
            ({"peak_lr": -1.0}, ValueError, "peak_lr must be finite and > 0, got -1.0"),
            ({"scale": 0.0}, ValueError, "scale must be finite and > 0, got 0.0"),
            ({"warmup_epochs": 10}, ValueError, r"warmup_epochs must be < epochs \(10\), got 10"),
            ({"momentum": 1.0}, ValueError, r"momentum must lie in \[0, 1\), got 1.0"),
            ({"weight_decay": math.inf}, ValueError, "weight_decay must be finite and >= 0, got inf"),
            ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
            ({"seed": 2**64}, ValueError, r"seed must lie in \[0, 2\*\*64\), got 18446744073709551616"),
            ({"seed": True}, TypeError, r"seed must be an integer, got True"),
            ({"epochs": 10**18}, ValueError, "epochs must be <= 1000000, got 1000000000000000000"),
            ({"gamma": 1e6}, ValueError, r"gamma must leave every class a weight"),
            ({"normalization": "weight"}, ValueError, "one of weights, batch, got 'weight'; did you mean 'weights'"),
            ({"empty": "drop"}, ValueError, "empty must be one of error, ignore, got 'drop'"),
        ],
    )
    def test_settings(self, kwargs, kind, message):
        with pytest.raises(kind, match=message):
            MarginCalibration(COUNTS, **kwargs)

    def test_an_empty_class(self):
        with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
            MarginCalibration([3, 0])

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            (
                lambda z, y: (z.fill_diagonal_(math.nan), y),
                DataError,
                r"must be finite, got NaN .* in row 0 \(3 of 56",
            ),
            (lambda z, y: (z.long(), y), TypeError, "logits must be floats, got dtype torch.int64"),
            (lambda z, y: (z[0], y), ValueError, r"logits must have shape \(N, columns\) with N >= 1, got \(3,\)"),
            (lambda z, y: (z[:0], y[:0]), ValueError, r"with N >= 1, got \(0, 3\)"),
            (lambda z, y: (z[:, :2], y), ValueError, r"logits must have one column a class \(3\), got 2"),
            (
                lambda z, y: (z, y[1:]),
                ValueError,
                r"labels must have shape \(56,\), one per row .*, got \(55,\)",
            ),
            (lambda z, y: (z, y.double()), TypeError, "labels must be integers, got dtype torch.float64"),
            (lambda z, y: (z, y > 0), TypeError, "labels must be integers, got dtype torch.bool"),
            (lambda z, y: (z, [*y.tolist()[1:], None]), ValueError, "no missing entry, got one at position 55"),
            (
                lambda z, y: (z, y.double().where(y < 2, math.nan)),
                ValueError,
                "no missing entry, got 4, the first at position 52",
            ),
            (
                lambda z, y: (z, ["a"] * len(y)),
                TypeError,
                "labels must be integers, got 'a' at position 0; map the classes",
            ),
            (lambda z, y: (z, y[:, None]), ValueError, r"got \(56, 1\); pass labels\.reshape\(-1\)$"),
            (
                lambda z, y: (z, torch.nn.functional.one_hot(y)),
                ValueError,
                r"pass labels.argmax\(dim=1\) where they are",
            ),
            (lambda z, y: (z.softmax(1), y), ValueError, r"which are probabilities; pass the logits, or log\(prob"),
            (
                lambda z, y: (z.index_fill(1, torch.tensor([1]), -math.inf), y),
                DataError,
                r"got -inf in row 0 \(56 of 56 rows\) for class 1; .* calibrate the logits before they are masked",
            ),
            (lambda z, y: (z, y - 1), ValueError, r"labels must lie in \[0, 3\), got -1 at position 0"),
            (lambda z, y: (z, y + 1), ValueError, r"labels must lie in \[0, 3\), got 3 at position 52"),
            (
                lambda z, y: (z, y.clamp(max=1)),
                ValueError,
                r"got none of class '2' \(index 2\); calibrate on",
            ),
            (lambda z, y: (z, y * 0), ValueError, r"got none of class '1' \(index 1\) and 1 more"),
        ],
    )
    def test_input(self, change, kind, message):
        with pytest.raises(kind, match=message):
            MarginCalibration(COUNTS).fit(*change(*problem()))

    def test_labels_of_a_class_that_counts_calls_empty(self):
        with pytest.raises(ValueError, match=r"no class that counts calls empty, got class '2' \(index 2\); count"):
            MarginCalibration([40, 12, 0], empty="ignore").fit(*problem())

    @pytest.mark.parametrize(
        ("norm", "message"),
        [
            ([1.0, 2.0], r"weight_norm must have shape \(3,\), got \(2,\)"),
            ([1.0, 2.0, math.nan], "weight_norm must be finite and >= 0, got"),
            ([1.0, 2.0, -1.0], "weight_norm must be finite and >= 0, got"),
        ],
    )
    def test_row_lengths(self, norm, message):
        with pytest.raises(ValueError, match=message):
            MarginCalibration(COUNTS).fit(*problem(), weight_norm=norm)

    def test_heads(self):
        features, labels = torch.zeros(56, 5), problem()[1]
        with pytest.raises(ValueError, match="features must have 4 columns, as head takes, got 5"):
            MarginCalibration(COUNTS).fit(features, labels, head=linear(4, 3))
        with pytest.raises(ValueError, match=r"logits must have one column a class \(3\), got 7"):
            MarginCalibration(COUNTS).fit(features, labels, head=linear(5, 7))
        with pytest.raises(ValueError, match="head and weight_norm must not both be given"):
            MarginCalibration(COUNTS).fit(features, labels, head=linear(5, 3), weight_norm=[1.0] * 3)
        with pytest.raises(ValueError, match=r"weight of shape \(C, D\) or a method weight_norm\(\), got Identity"):
            MarginCalibration(COUNTS).fit(features, labels, head=nn.Identity())
        with pytest.raises(DataError, match="features must be finite"):
            MarginCalibration(COUNTS).fit(features / 0, labels, head=linear(5, 3))

    @pytest.mark.parametrize("order", [lambda _, n: np.zeros(n, dtype=int), lambda _, n: np.arange(n - 1)])
    def test_an_order_that_is_no_permutation(self, order):
        with pytest.raises(ValueError, match=r"must return a permutation of range\(56\), got \d+ entries in epoch 0"):
            fitted(order=order)

    def test_divergence_is_said(self):
        with pytest.raises(ValueError, match=r"calibration diverged: the loss of epoch \d+ is (nan|inf); lower lr"):
            fitted(lr=1e300)

    def test_divergence_is_a_failed_run(self):
        with pytest.raises(FloatingPointError, match="lower lr or weight_decay"):
            fitted(weight_decay=1e300)

    def test_features_without_a_head_and_logits_with_one(self):
        features, labels = torch.zeros(56, 5), problem()[1]
        with pytest.raises(ValueError, match=r"one column a class \(3\), got 5; features need head=model.head"):
            MarginCalibration(COUNTS).fit(features, labels)
        with pytest.raises(ValueError, match="got 3; leave head out to fit logits"):
            MarginCalibration(COUNTS).fit(problem()[0], labels, head=linear(5, 3))

    def test_a_masked_class_stays_masked(self):
        logits = problem()[0].index_fill(1, torch.tensor([1]), -math.inf)
        calibrator = fitted()
        calibrator.omega = torch.tensor([1.0, -1.0, 0.0])
        calibrated = calibrator.transform(logits)
        assert (calibrated[:, 1] == -math.inf).all()
        assert calibrated[:, [0, 2]].isfinite().all()

    def test_probabilities_are_not_transformed(self):
        with pytest.raises(ValueError, match="which are probabilities"):
            fitted().transform(problem()[0].softmax(1))

    def test_a_batch_size_beyond_the_rows_is_one_batch(self):
        assert torch.equal(fitted(batch_size=10**30).omega, fitted(batch_size=56).omega)

    def test_not_fitted(self, tmp_path):
        new = MarginCalibration(COUNTS)
        for name, argument in (("transform", torch.zeros(1, 3)), ("apply", linear(1, 3)), ("save", tmp_path)):
            with pytest.raises(RuntimeError, match=rf"must be fitted before {name}; call fit\(...\) or load\(folder\)"):
                getattr(new, name)(argument)
        assert repr(new) == "MarginCalibration(num_classes=3, gamma=1.2, epochs=10, not fitted)"
        assert "fitted)" in repr(fitted())

    @pytest.mark.parametrize(
        ("logits", "kind", "message"),
        [
            (torch.zeros(2, 4), ValueError, r"logits must have shape \(N, 3\), got \(2, 4\)"),
            (torch.zeros(3), ValueError, r"logits must have shape \(N, 3\), got \(3,\)"),
            (torch.zeros(2, 3).long(), TypeError, "logits must be floats, got dtype torch.int64"),
        ],
    )
    def test_transform(self, logits, kind, message):
        with pytest.raises(kind, match=message):
            fitted().transform(logits)
