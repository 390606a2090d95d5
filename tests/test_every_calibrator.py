"""What every calibrator of the registry keeps, whatever it learns."""

import copy

import numpy as np
import pytest
import torch

from lt_fast import ClassCounts, models
from lt_fast.calibration import CALIBRATORS, collect, load_calibrator
from lt_fast.errors import DataError, UsageError

COUNTS = ClassCounts([24, 10, 6], names=["peat", "loess", "marl"])
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS.counts))

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

# Of several experts: tests/calibration/test_of_experts.py.
every = pytest.mark.parametrize(
    "name", sorted(name for name in CALIBRATORS if not getattr(CALIBRATORS[name], "of_experts", False))
)


def images():
    return torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(5)) + LABELS.view(-1, 1, 1, 1)


def transformed_by(name, features, logits):
    """What the calibrator's ``transform`` takes."""
    return {"features": features, "logits": logits}[CALIBRATORS[name].transforms]


def fitted(name):
    model = models.digits_net(3)
    features, logits, labels = collect(model, [(images(), LABELS)])
    given = transformed_by(name, features, logits)
    return CALIBRATORS[name](COUNTS).fit(features, labels, head=model.head), model, given


@every
def test_fit_returns_the_calibrator_and_transform_keeps_the_shape(name):
    calibrator, _, given = fitted(name)
    assert isinstance(calibrator, CALIBRATORS[name])
    calibrated = calibrator.transform(given)
    assert calibrated.shape == (40, 3)
    assert torch.isfinite(calibrated).all()
    torch.testing.assert_close(calibrator.transform(given[3:4]), calibrated[3:4])
    assert calibrator.transform(given[:0]).shape == (0, 3)


@every
def test_fits_logits_alone(name):
    model = models.digits_net(3)
    _, logits, _ = collect(model, [(images(), LABELS)])
    known = {"weight": model.head.weight, "bias": model.head.bias} if name == "tau_norm" else {}
    calibrated = CALIBRATORS[name](COUNTS).fit(logits, LABELS, **known).transform(logits)
    assert torch.isfinite(calibrated).all()


@every
def test_is_deterministic_and_leaves_the_global_generators(name):
    before, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, _, given = fitted(name)
    second, _, _ = fitted(name)
    assert torch.equal(first.transform(given), second.transform(given))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


@every
def test_apply_is_transform_after_the_model_and_changes_no_weight(name):
    calibrator, model, given = fitted(name)
    before = copy.deepcopy(model.state_dict())
    calibrated = calibrator.apply(model.eval())
    with torch.no_grad():
        torch.testing.assert_close(calibrated.eval()(images()), calibrator.transform(given), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@every
@pytest.mark.parametrize("device", DEVICES)
def test_works_where_the_model_is(name, device):
    model = models.digits_net(3).to(device)
    features, logits, labels = collect(model, [(images(), LABELS)])
    assert {features.device.type, logits.device.type, labels.device.type} == {"cpu"}
    calibrator = CALIBRATORS[name](COUNTS).fit(features.to(device), labels.to(device), head=model.head)
    given = transformed_by(name, features, logits)
    calibrated = calibrator.transform(given.to(device))
    assert calibrated.device.type == device
    with torch.no_grad():
        out = calibrator.apply(model).eval()(images().to(device))
    torch.testing.assert_close(out, calibrated, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(calibrated.cpu(), calibrator.transform(given.cpu()), rtol=1e-4, atol=1e-4)


@every
def test_survives_the_disk(name, tmp_path):
    calibrator, _, given = fitted(name)
    calibrator.save(tmp_path / "calibrator")
    loaded = CALIBRATORS[name].load(tmp_path / "calibrator")
    assert torch.equal(loaded.transform(given), calibrator.transform(given))
    assert {path.suffix for path in (tmp_path / "calibrator").iterdir()} == {".json", ".safetensors"}


@every
def test_its_tensors_are_a_state_dict_and_its_folder_says_what_it_is(name, tmp_path):
    calibrator, _, given = fitted(name)
    wanted, state = calibrator.transform(given), calibrator.state_dict()
    again = CALIBRATORS[name](COUNTS).load_state_dict({key: value.numpy() for key, value in state.items()})
    assert torch.equal(again(given), wanted)
    for tensor in state.values():
        tensor.zero_()
    assert torch.equal(calibrator(given), wanted)
    calibrator.save(tmp_path)
    assert torch.equal(load_calibrator(tmp_path)(given), wanted)
    with pytest.raises(DataError, match=r"state must hold .*, got no '"):
        again.load_state_dict({})
    first = next(iter(state))
    with pytest.raises(DataError, match="state must hold finite numbers, got NaN or infinity in"):
        again.load_state_dict({**state, first: torch.full_like(state[first], torch.nan)})
    with pytest.raises(RuntimeError, match="must be fitted before state_dict"):
        CALIBRATORS[name](COUNTS).state_dict()


@every
def test_a_wrong_state_changes_nothing(name):
    calibrator, _, given = fitted(name)
    wanted, state = calibrator.transform(given), calibrator.state_dict()
    names = calibrator._names()
    again = CALIBRATORS[name](COUNTS).load_state_dict(state)
    with pytest.raises(TypeError, match=r"state must be what state_dict\(\) returned, got None"):
        again.load_state_dict(None)
    for values in (state[names[0]].long(), state[names[0]] * 1j, state[names[0]].to("meta")):
        with pytest.raises(TypeError, match=f"state must hold floats in '{names[0]}', got .*; pass what"):
            again.load_state_dict({**state, names[0]: values})
    moved = {key: value + 1 if key in names else value for key, value in state.items()}
    with pytest.raises(DataError, match=r"state must hold .*, got shape \(7, 5, 3\)"):
        again.load_state_dict({**moved, names[-1]: torch.ones(7, 5, 3)})
    assert torch.equal(again(given), wanted)
    half = {key: value.half() if key in names else value for key, value in state.items()}
    assert all(again.load_state_dict(half).state_dict()[key].dtype == torch.float32 for key in names)


@pytest.mark.parametrize("name", ["retraining", "balms"])
def test_a_state_dict_says_that_the_head_is_a_cosine_head(name):
    model = models.digits_net(3, head="cosine")
    features, _, labels = collect(model, [(images(), LABELS)])
    calibrator = CALIBRATORS[name](COUNTS).fit(features, labels, head=model.head)
    assert calibrator.cosine
    again = CALIBRATORS[name](COUNTS).load_state_dict(calibrator.state_dict())
    assert torch.equal(again(features), calibrator(features))


@every
def test_takes_arrays_that_torch_cannot_share(name):
    calibrator, _, given = fitted(name)
    array, wanted = given.numpy(), calibrator.transform(given)
    locked = array.copy()
    locked.setflags(write=False)
    for other in (locked, array[::-1].copy()[::-1], array.astype(">f4"), array.tolist()):
        torch.testing.assert_close(calibrator(other), wanted)
    half = given.bfloat16()
    torch.testing.assert_close(calibrator(half), calibrator(half.float()))
    with pytest.raises(TypeError, match="must be floats, got dtype <U"):
        calibrator(array.astype(str))


@every
def test_refuses_what_no_calibrator_can_use(name):
    calibrator, _, given = fitted(name)
    make, kind = CALIBRATORS[name], CALIBRATORS[name].transforms
    broken = given.clone()
    broken[7, 1] = torch.nan
    with pytest.raises(DataError, match=f"{kind} must be finite, got NaN or infinity in row 7"):
        make(COUNTS).fit(broken, LABELS)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\), got 3 at position 0"):
        make(COUNTS).fit(given, LABELS.where(torch.arange(40) > 0, 3))
    if getattr(make, "fitted_on", "training") == "training":
        with pytest.raises(ValueError, match="got none of class 'marl'"):
            make(COUNTS).fit(given, LABELS.clamp(max=1))
    with pytest.raises(ValueError, match=rf"{kind} must have shape \(N, {given.shape[1]}\), got \(40, 2\)"):
        calibrator.transform(given[:, :2])
    with pytest.raises(TypeError, match=f"{kind} must be floats, got dtype torch.int64"):
        calibrator.transform(LABELS.view(-1, 1))
    with pytest.raises(RuntimeError, match="must be fitted before transform"):
        make(COUNTS).transform(given)
    with pytest.raises(DataError, match="must exist"):
        make.load("no/such/folder")


@every
def test_the_docstring_names_its_source(name):
    words = CALIBRATORS[name].__doc__
    assert all(section in words for section in ("Args:", "Raises:", "Source:", "Differs from"))


def test_an_unknown_calibrator_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"calibrator must be one of .*, got 'marginn'; did you mean 'margin'\?"):
        CALIBRATORS["marginn"]
