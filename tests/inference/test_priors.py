"""Which class prior probabilities stand for, and re-weighting to another one."""

import json

import numpy as np
import pytest
import torch

import lt_fast as lt
from lt_fast import experiment, losses
from lt_fast.errors import DataError, UsageError
from lt_fast.inference import reweighted, scored_prior, target_prior, threshold_for

COUNTS = lt.ClassCounts([800, 150, 50], names=["peat", "loess", "marl"])
MEANS = torch.tensor([-1.0, 0.0, 1.0])


def _posterior(x, prior):
    """Bayes' rule for three unit normals on a line."""
    likelihood = torch.exp(-((x[:, None] - MEANS) ** 2) / 2)
    joint = likelihood * torch.as_tensor(prior)
    return (joint / joint.sum(1, keepdim=True)).numpy()


def test_reweighting_is_bayes_rule():
    x, uniform = torch.linspace(-4, 4, 50, dtype=torch.float64), np.full(3, 1 / 3)
    np.testing.assert_allclose(
        reweighted(_posterior(x, uniform), scored=uniform, target=COUNTS.prior), _posterior(x, COUNTS.prior)
    )
    back = reweighted(_posterior(x, COUNTS.prior), scored=COUNTS.prior, target=[1, 1, 1])
    np.testing.assert_allclose(back, _posterior(x, uniform))
    gone = reweighted(_posterior(x, uniform), scored=uniform, target=[1, 0, 1])
    assert (gone[:, 1] == 0).all()
    np.testing.assert_allclose(gone.sum(1), 1)
    with pytest.raises(ValueError, match=r"target must be 0 for a class without training images, got .* for class 2"):
        reweighted(_posterior(x, uniform), scored=[1, 1, 0], target=uniform)


@pytest.mark.parametrize("counts", [[800, 150, 50], np.array([800, 150, 50]), {0: 800, 1: 150, 2: 50}])
def test_counts_are_taken_in_every_form(counts):
    np.testing.assert_array_equal(target_prior("train", counts), COUNTS.prior)
    config = experiment.resolve("ce", "digits-lt")
    np.testing.assert_array_equal(scored_prior(config, counts, None).prior, COUNTS.prior)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("ce", {}),
        ("balanced_softmax", {}),
        ("logit_adjustment", {}),
        ("regmixup", {}),
        ("ce", {"loss": "bayias"}),
        ("ce", {"loss": "bayias", "loss.test_prior": [0.2, 0.3, 0.5]}),
        ("ce", {"reweight": "inverse_frequency"}),
    ],
)
def test_the_stated_prior_is_the_one_that_the_loss_trains_for(method, changes):
    """Minimise the recipe's loss over the three normals: the scores are the posterior under the stated prior."""
    config = experiment.resolve(method, "digits-lt", changes)
    options = {name: value for name, value in config["loss"].items() if name not in ("name", "normalization")}
    if "reweight" in changes:
        options["weight"] = losses.inverse_frequency_weights(COUNTS)
    criterion = lt.registry.LOSSES[config["loss"]["name"]](COUNTS, normalization="batch", **options)
    generator = torch.Generator().manual_seed(0)
    target = torch.repeat_interleave(torch.arange(3), torch.tensor(20 * COUNTS.counts))
    x = MEANS[target] + torch.randn(len(target), generator=generator)
    features = torch.stack([x, torch.ones_like(x)], 1)
    weight = torch.zeros(2, 3, requires_grad=True)  # linear in x: the model that normals of one width have
    optimizer = torch.optim.LBFGS([weight], max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = criterion(features @ weight, target)
        loss.backward()
        return loss

    optimizer.step(closure)
    stated = scored_prior(config, COUNTS, None)
    grid = torch.linspace(-3, 3, 30)
    with torch.no_grad():
        learned = (torch.stack([grid, torch.ones_like(grid)], 1) @ weight).softmax(1).numpy()
    np.testing.assert_allclose(learned, _posterior(grid.double(), stated.prior), atol=0.03)


@pytest.mark.parametrize("loss", ["cross_entropy", "balanced_softmax"])
@pytest.mark.parametrize("rule", [{}, {"q": 0.5}, {"q": 1.0}, {"q": -1.0}, {"class_probs": [2.0, 1.0, 1.0]}])
def test_the_frequencies_of_a_class_balanced_sampler_are_those_that_it_draws_by(rule, loss):
    labels = np.repeat(np.arange(3), COUNTS.counts)
    drawn = lt.sampling.ClassBalancedBatchSampler(labels, batch_size=10, **rule).class_probs
    config = experiment.resolve("ce", "digits-lt", {"loss": loss})
    config = {**config, "sampler": {"name": "class_balanced", **rule}}
    wanted = drawn if loss == "cross_entropy" else drawn / COUNTS.prior / (drawn / COUNTS.prior).sum()
    found = scored_prior(config, COUNTS, None)
    np.testing.assert_allclose(found.prior, wanted)
    assert "class_balanced sampling by" in found.reason
    empty = scored_prior(config, lt.ClassCounts([800, 0, 50]), None).prior
    assert empty[1] == 0
    assert empty.sum() == pytest.approx(1)


def test_a_schedule_of_the_sampler_stands_for_no_prior():
    config = experiment.resolve("ce", "digits-lt")
    config = {**config, "sampler": {"name": "class_balanced", "schedule": lt.sampling.ProgressiveSchedule(60)}}
    found = scored_prior(config, COUNTS, None)
    assert found.prior is None
    assert "the sampler class_balanced draws by frequencies that change" in found.reason


def test_what_stands_for_no_prior_says_why():
    for method, changes, words in (
        ("ldam", {}, "the loss ldam does not aim at class probabilities"),
        ("mam", {}, "the mixer mam moves label weight between the classes"),
        ("ce", {"sampler": "repeat_factor"}, "the sampler repeat_factor draws by frequencies"),
        ("focal", {}, "the loss focal does not aim"),
    ):
        found = scored_prior(experiment.resolve(method, "digits-lt", changes), COUNTS, None)
        assert found.prior is None
        assert words in found.reason
    config = experiment.resolve("mammc", "digits-lt")
    margin = scored_prior(config, COUNTS, {"name": "margin", "gamma": 1.0})
    np.testing.assert_allclose(margin.prior, 1 / 3)
    aligned = scored_prior(config, COUNTS, {"name": "disalign", "gamma": 1.2})
    np.testing.assert_allclose(aligned.prior, scored_prior(config, COUNTS, {"name": "margin"}).prior)
    assert aligned.reason.startswith("DisAlign weights the classes by n**-1.2")
    assert scored_prior(config, COUNTS, {"name": "lws"}).prior is None
    retrained = scored_prior(config, COUNTS, {"name": "retraining"})
    np.testing.assert_allclose(retrained.prior, 1 / 3)


def test_a_target_is_a_word_weights_names_or_a_file(tmp_path):
    wanted = [0.5, 0.25, 0.25]
    (tmp_path / "a.json").write_text(json.dumps({"peat": 2, "loess": 1, "marl": 1}))
    (tmp_path / "b.json").write_text(json.dumps([2, 1, 1]))
    (tmp_path / "c.csv").write_text("class,weight\nmarl,1\npeat,2\nloess,1\n")
    for given in ([2, 1, 1], {"peat": 2, "loess": 1, "marl": 1}, *map(str, tmp_path.iterdir())):
        np.testing.assert_allclose(target_prior(given, COUNTS), wanted)
    np.testing.assert_allclose(target_prior("train", COUNTS), COUNTS.prior)
    np.testing.assert_allclose(target_prior("uniform", COUNTS), 1 / 3)
    np.testing.assert_allclose(target_prior({"peat": 1}, COUNTS), [1, 0, 0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("unifrm", "target_prior must be train, uniform or a file, got 'unifrm'; did you mean 'uniform'"),
        ([1, 2], r"target_prior must have one weight per class \(3\), got shape \(2,\)"),
        ([1, -1, 1], "target_prior must have finite weights >= 0, got -1 for class 'loess'"),
        ([0, 0, 0], "target_prior must have a weight above 0"),
        ({"pat": 1}, "target_prior must name classes of the run, got 'pat'; did you mean 'peat'"),
        ({"peat": "x"}, "target_prior must be a number, got 'x'.*for class 'peat'"),
        ([float("nan")] * 3, "finite weights >= 0, got nan"),
    ],
)
def test_a_wrong_target_is_named(given, message):
    with pytest.raises(UsageError, match=message):
        target_prior(given, COUNTS)


def test_a_damaged_file_of_weights_is_named(tmp_path):
    (tmp_path / "a.json").write_text("3")
    (tmp_path / "b.csv").write_text("name,share\npeat,1\n")
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a.json must hold an object of classes and weights"):
        target_prior(str(tmp_path / "a.json"), COUNTS)
    for name in ("b.csv", "c.csv"):
        with pytest.raises(DataError, match=rf"{name} must be JSON, or CSV with the columns class and weight"):
            target_prior(str(tmp_path / name), COUNTS)
    with pytest.raises(UsageError, match="must be 0 for class 'c', which had no training image"):
        target_prior([1, 1, 1], lt.ClassCounts([1, 2, 0], names=["a", "b", "c"]))


def test_the_threshold_is_the_smallest_that_keeps_the_error():
    confidence, right = [0.95, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 0, 1, 1, 0, 0]
    chosen = threshold_for(confidence, right, 0.2)
    assert (chosen.value, chosen.images) == (0.7, 7)
    assert chosen.error == pytest.approx(1 / 5)
    assert chosen.coverage == pytest.approx(5 / 7)
    assert threshold_for(confidence, right, 0.0).value == 0.95
    assert threshold_for(confidence, right, 0.99).value == 0.5
    heavy = threshold_for(confidence, right, 0.2, weight=[1, 1, 9, 1, 1, 1, 1])
    assert heavy.value == 0.95
    with pytest.raises(UsageError, match=r"max_error 0.1 cannot be kept on the 2 validation images: .* is 0.500"):
        threshold_for([0.9, 0.8], [0, 1], 0.1)
    with pytest.raises(ValueError, match="max_error must lie"):
        threshold_for([0.9], [1], 1.0)


def test_brute_force_agrees_on_random_cases():
    generator = np.random.default_rng(0)
    for _ in range(50):
        confidence, right = generator.integers(1, 9, 20) / 10, generator.random(20) < 0.7
        kept = [t for t in sorted(set(confidence)) if (~right[confidence >= t]).mean() <= 0.25]
        if kept:
            assert threshold_for(confidence, right, 0.25).value == kept[0]


def test_a_classifier_reweights_and_chooses(balanced, margins):
    classifier, images = lt.load(balanced.folder), balanced.data.test.images[:60]
    plain, same = classifier.predict(images), classifier.predict(images, target_prior="uniform")
    np.testing.assert_allclose(plain.probabilities, same.probabilities, atol=1e-9)
    head = classifier.predict(images, target_prior="train")
    assert head.probabilities[:, 0].sum() > plain.probabilities[:, 0].sum()
    one = classifier.predict(images, target_prior={"3": 1.0})
    assert set(one.names) == {"3"}
    chosen = classifier.predict(images, max_error=0.5)
    assert 0 < chosen.threshold < 1
    assert classifier.question(max_error=0.5).chosen.error <= 0.5
    with pytest.raises(UsageError, match="threshold and max_error must not both be given"):
        classifier.predict(images, threshold=0.5, max_error=0.5)
    other = lt.load(margins.folder)
    with pytest.raises(UsageError, match="the loss ldam does not aim at class probabilities; name them with trained_p"):
        other.predict(images, target_prior="uniform")
    assert len(other.predict(images, target_prior="train", trained_prior="uniform")) == 60
    with pytest.raises(UsageError, match="trained_prior must be left out without target_prior"):
        other.predict(images, trained_prior="uniform")
    with pytest.raises(UsageError, match=r"max_error needs validation images, and .* has no validation.safetensors"):
        other.predict(images, max_error=0.1)
