"""Methods of several experts: sums of losses, distillation from a run, ACE's shares and rates."""

import json

import pytest
import torch
from torch import nn

import reference
from lt_fast import experiment, models
from lt_fast.batch import Batch
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.experiment.teacher import teacher_config
from lt_fast.losses import ACELoss, BalancedSoftmaxLoss, LDAMLoss, RIDELoss, SADELoss
from lt_fast.methods import AllyComplementaryExperts, Classification, ConfusionPairing, Distillation, distillation_loss

COUNTS = [50, 20, 5, 2]
SHORT = {"epochs": 1, "batch_size": 64}


class Given(nn.Module):
    """A network that answers with the logits of its experts."""

    num_experts = 3

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, _, *, each=False):
        return self.logits if each else self.logits.mean(1)


def drawn(seed=0, rows=6):
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.rand((rows, 3, 4), generator=draw) - 1
    target, target_b = torch.randint(4, (2, rows), generator=draw)
    return logits, target, target_b, torch.rand(rows, generator=draw)


def step(method, logits, target, target_b=None, lam=None):
    batch = Batch(views=(torch.zeros(len(logits), 1),), target=target, target_b=target_b, lam=lam)
    method.on_epoch_start(0, 1)
    return method.training_step({"train": batch})


@pytest.mark.parametrize("mixed", [False, True])
def test_any_loss_is_summed_over_the_experts(mixed):
    logits, target, target_b, lam = drawn()
    labels = (target, target_b, lam) if mixed else (target,)
    criterion = BalancedSoftmaxLoss(COUNTS)
    loss = step(Classification(Given(logits), criterion), logits, *labels).loss
    torch.testing.assert_close(loss, sum(criterion(logits[:, e], *labels) for e in range(3)))
    of_all = step(Classification(Given(logits), SADELoss(COUNTS)), logits, *labels).loss
    torch.testing.assert_close(of_all, SADELoss(COUNTS)(logits, *labels))


def test_predictions_are_of_the_mean():
    logits, *_ = drawn()
    method = Classification(Given(logits), RIDELoss(COUNTS), logit_scale=30.0)
    torch.testing.assert_close(method.predict(torch.zeros(6, 1)), 30 * logits.mean(1))


def test_cp_mix_sums_every_part_over_the_experts():
    logits, target, target_b, lam = drawn(rows=12)
    batches = {
        "train": Batch(views=(torch.zeros(4, 1),), target=target[:4]),
        "pairs": Batch(views=(torch.zeros(4, 1),), target=target[4:8], target_b=target_b[4:8], lam=lam[4:8]),
        "mixed": Batch(views=(torch.zeros(4, 1),), target=target[8:], target_b=target_b[8:], lam=lam[8:]),
    }
    method = ConfusionPairing(
        Given(logits), COUNTS, RIDELoss(COUNTS), pairs_per_batch=4, stage_2_from=0.0, eta=0.7, logit_scale=30.0
    )
    method.on_epoch_start(0, 1)
    loss = method.training_step(batches).loss
    plain = reference.ride_loss(logits[:4].double(), target[:4], COUNTS)
    mixtures = sum(
        reference.cp_mix_loss(
            30 * logits[:, e].double(), target, target_b, lam.double(), COUNTS, num_pairs=4, eta=0.7,
            plain=lambda *_: 0.0,
        )
        for e in range(3)
    )  # fmt: skip
    torch.testing.assert_close(loss.double(), plain + mixtures, rtol=1e-5, atol=1e-5)
    assert method.record.up_to_date().total == 4


def test_distillation_is_the_authors():
    logits, target, *_ = drawn(seed=2)
    taught = torch.randn((6, 4), generator=torch.Generator().manual_seed(1))

    class Teacher(nn.Module):
        def forward(self, _):
            return taught

    criterion = LDAMLoss(COUNTS)
    method = Distillation(Given(logits), criterion, teacher=Teacher(), weight=0.5, logit_scale=30.0)
    out = step(method, logits, target)
    student = 30 * logits.mean(1)
    distance = reference.distillation_loss(student, taught, 1.5)
    torch.testing.assert_close(distillation_loss(student, taught, temperature=1.5), distance)
    expected = 3 * (sum(criterion(logits[:, e], target) for e in range(3)) + 0.5 * distance)
    torch.testing.assert_close(out.loss, expected)
    assert not any("teacher" in name for name in method.state_dict())
    once = Distillation(Given(logits), criterion, teacher=Teacher(), weight=0.5, times_experts=False, logit_scale=30.0)
    torch.testing.assert_close(3 * step(once, logits, target).loss, expected)
    assert torch.autograd.gradcheck(
        lambda z: distillation_loss(z, taught.double(), temperature=1.5), student.double().requires_grad_()
    )


def test_a_run_is_taught_by_another_and_used_without_it(tmp_path):
    import shutil

    import lt_fast

    teacher = experiment.resolve("ride", "digits-lt", {**SHORT, "model.experts": 4}, seed=5)
    experiment.run(teacher, tmp_path / "teacher", progress=False)
    settings = {**SHORT, "method": "distillation", "method.teacher": str(tmp_path / "teacher")}
    config = experiment.resolve("ride", "digits-lt", settings, seed=5)
    result = experiment.run(config, tmp_path / "student", progress=False)
    assert result["method"]["teacher"]["run"] == "teacher"
    assert "distillation" in (tmp_path / "student" / "metrics.csv").read_text().splitlines()[0]
    shutil.rmtree(tmp_path / "teacher")
    images = load_data(config).test.images
    assert lt_fast.load(tmp_path / "student").predict(images).probabilities.shape == (len(images), 10)
    assert experiment.evaluate_run(tmp_path / "student")["metrics"] == result["metrics"]
    with pytest.raises(Exception, match="teacher"):
        experiment.run({**config, "seed": 5}, tmp_path / "again", progress=False)


def test_the_recipe_of_four_experts_trains_six_first_and_takes_them_again(tmp_path):
    settings = {"epochs": 1, "batch_size": 64}
    config = experiment.resolve("ride_4_distilled", "digits-lt", settings, seed=5)
    result = experiment.run(config, tmp_path / "student", progress=False)
    teacher = tmp_path / "ride-digits-lt-50-5-epochs=1-model.experts=6"
    expected = experiment.resolve("ride", "digits-lt", {**settings, "model.experts": 6}, seed=5)
    assert json.loads((teacher / "config.json").read_text()) == expected
    assert result["method"]["teacher"]["run"] == teacher.name
    assert result["data"] == json.loads((teacher / "result.json").read_text())["data"]
    written = (teacher / "result.json").stat().st_mtime_ns
    by_folder = {**config, "method": {**config["method"], "teacher": str(teacher)}}
    again = experiment.run(by_folder, tmp_path / "again", progress=False)
    assert again["metrics"] == result["metrics"]
    assert (teacher / "result.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("data", "warmups"), [("cifar100-lt", (0.1, 0.025)), ("cifar10-lt", (0.1, 0.025)), ("imagenet-lt", (0.05, 0.05))]
)
def test_pupil_and_teacher_have_the_settings_of_the_authors(data, warmups):
    pupil = experiment.resolve("ride_4_distilled", data, {"calibrator": "expert_assignment"})
    teacher = teacher_config(pupil["method"]["teacher"], pupil)
    assert (pupil["schedule"]["warmup"], teacher["schedule"]["warmup"]) == warmups
    assert (pupil["model"].pop("experts"), teacher["model"].pop("experts")) == (4, 6)
    assert pupil["method"] == {
        "name": "distillation", "teacher": "ride:model.experts=6", "temperature": 1.5, "weight": 1.0,
        "times_experts": True,
    }  # fmt: skip
    assert (teacher["method"]["name"], teacher["calibrator"]) == ("classification", None)
    own = ("recipe", "method", "schedule", "calibrator")
    assert {name: value for name, value in pupil.items() if name not in own} == {
        name: value for name, value in teacher.items() if name not in own
    }


def test_a_teacher_with_settings_that_it_does_not_have_is_refused():
    pupil = experiment.resolve("ride_4_distilled", "digits-lt")
    with pytest.raises(UsageError, match=r"--set must be name=value, got 'six'"):
        teacher_config("ride:six", pupil)
    with pytest.raises(UsageError, match=r"setting must be one of this run's, got 'model\.expert'; did you mean"):
        teacher_config("ride:model.expert=6", pupil)
    assert teacher_config("no-such-recipe:model.experts=6", pupil) is None


def test_a_teacher_of_other_images_is_refused(tmp_path):
    experiment.run(experiment.resolve("ce", "digits-lt", SHORT, seed=5), tmp_path / "teacher", progress=False)
    settings = {**SHORT, "method": "distillation", "method.teacher": str(tmp_path / "teacher")}
    config = experiment.resolve("ride", "digits-lt", settings, seed=6)
    with pytest.raises(UsageError, match=r"method\.teacher must be a run on the same images, but"):
        experiment.run(config, tmp_path / "student", progress=False)
    assert not (tmp_path / "student").exists()
    config = experiment.resolve("ride", "digits-lt", {**SHORT, "method": "distillation"}, seed=6)
    with pytest.raises(UsageError, match=r"method distillation needs teacher; give it with --set method\.teacher"):
        build(config, load_data(config))


def test_ace_averages_over_the_experts_that_know_a_class_at_their_own_pace():
    model = models.digits_net(4, head="cosine", experts=2).eval()
    method = AllyComplementaryExperts(model, ACELoss(COUNTS, experts=2), COUNTS, logit_scale=30.0)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    each = model(x, each=True)
    torch.testing.assert_close(model(x)[:, :2], each[:, 0, :2])
    torch.testing.assert_close(model(x)[:, 2:], each[:, :, 2:].mean(1))
    rates = method.learning_rates()
    assert rates[id(model.head.experts[1].weight)] == pytest.approx(7 / 77)
    assert rates[id(next(model.experts[0].parameters()))] == 1
    assert id(next(model.shared.parameters())) not in rates
    with pytest.raises(ValueError, match="model must have several experts for the method ace, got 1"):
        AllyComplementaryExperts(models.digits_net(4), BalancedSoftmaxLoss(COUNTS), COUNTS)


def test_a_run_trains_experts_at_their_pace_and_keeps_their_shares(tmp_path):
    config = experiment.resolve("ace", "digits-lt", SHORT, seed=5)
    parts = build(config, load_data(config))
    optimizer = parts.optimizer(parts.method.parameters())
    scales = sorted({group["lr_scale"] for group in optimizer.param_groups})
    assert len(scales) == 3
    assert scales[-1] == 1
    experiment.run(config, tmp_path / "run", progress=False)
    import lt_fast

    share = lt_fast.load(tmp_path / "run").network.model.head.share
    assert torch.equal(share, parts.method.model.head.share)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["method"]["name"] == "ace"
