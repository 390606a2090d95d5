"""Properties of every entry of ``MIXERS``: its line in the registry is enough for a new mixer to be tested."""

import copy
import inspect
import math
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

import lt_fast.mixing
import reference
from lt_fast._text import shown
from lt_fast.batch import BatchPlan
from lt_fast.data import ArraySource, CropFlip, FileSource, Loader
from lt_fast.errors import UsageError
from lt_fast.mixing import MIXERS, Mix
from mixing.plans import plan_of

COUNTS = [500, 120, 40, 9, 1]
TARGET = torch.tensor([0, 4, 2, 2, 1, 3, 0, 0, 1])
every_mixer = pytest.mark.parametrize("name", sorted(MIXERS))
# Mixers of a batch with itself; those that take partners from the whole data set are in tests/mixing/test_partners.py.
within_a_batch = pytest.mark.parametrize(
    "name", [name for name in sorted(MIXERS) if "labels" not in inspect.signature(MIXERS[name]).parameters]
)


# An image so large that no two rectangles of a test have the same area.
GIVEN = {
    "counts": COUNTS, "class_counts": COUNTS, "labels": TARGET, "epochs": 20, "image_size": (4001, 3001),
}  # fmt: skip


def needs_counts(name):
    return "counts" in inspect.signature(MIXERS[name]).parameters


def given(function):
    return {key: GIVEN[key] for key in inspect.signature(function).parameters if key in GIVEN}


def build(name, **settings):
    return MIXERS[name](**{**given(MIXERS[name]), **settings})


def mix(name, target=TARGET, **settings):
    function = getattr(lt_fast.mixing, name)
    return function(target, **{**given(function), **settings})


@within_a_batch
@pytest.mark.parametrize("per_sample", [False, True])
def test_function_and_object_give_the_same_batch(name, per_sample):
    mixer = build(name, per_sample=per_sample, seed=7)
    made = mix(name, per_sample=per_sample, seed=7, epoch=3, step=12)
    assert isinstance(made, Mix)
    for labels in (TARGET, TARGET.numpy()):
        plan = plan_of(mixer, labels, 3, 12)
        np.testing.assert_array_equal(plan.partner, made.partner)
        np.testing.assert_array_equal(plan.lam, made.lam_input)
    label = mixer.label_weight(made.lam_input, TARGET, TARGET[made.partner])
    assert torch.equal(label, made.lam_label)


@within_a_batch
def test_shapes_dtypes_and_ranges(name):
    for size in (0, 1, 2, 33):
        made = mix(name, torch.arange(size) % 5, seed=1)
        assert [part.shape for part in made[:3]] == [(size,)] * 3
        assert [part.dtype for part in made[:3]] == [torch.int64, torch.float32, torch.float32]
        assert ((made.lam_label >= 0) & (made.lam_label <= 1)).all()
        assert made.boxes is None or made.boxes.shape == (size, 4)


@within_a_batch
def test_partners_are_rows_of_the_data_set_with_their_own_augmentation(name):
    batch = BatchPlan(2, 5, np.arange(9) * 10 + 7, np.arange(9) + 45)
    plan, inner = build(name, seed=3).plan(batch, TARGET.numpy()), plan_of(build(name, seed=3), TARGET, 2, 5)
    np.testing.assert_array_equal(plan.partner, batch.index[inner.partner])
    np.testing.assert_array_equal(plan.position, batch.position[inner.partner])
    np.testing.assert_array_equal(plan.lam, inner.lam)
    assert (plan.partner.dtype, plan.position.dtype, plan.lam.dtype) == (np.int64, np.int64, np.float32)


@every_mixer
def test_a_plan_of_no_images(name):
    plan = plan_of(build(name, per_sample=True), TARGET[:0])
    assert [len(part) for part in plan[:3]] == [0, 0, 0]


@every_mixer
def test_label_weight_equals_the_reference(name):
    mixer = build(name)
    rule = getattr(reference, f"{mixer.label_rule}_label_factor")  # unimix: the label weight is lam
    settings = {key: getattr(mixer, key) for key in inspect.signature(rule).parameters if hasattr(mixer, key)}
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    for lam in (0.0, 0.1, 0.5, 0.77, 1.0):
        expected = [rule(lam, COUNTS[a], COUNTS[b], **settings) for a, b in pairs.tolist()]
        weight = mixer.label_weight(torch.full((25,), lam, dtype=torch.float64), pairs[:, 0], pairs[:, 1])
        np.testing.assert_allclose(weight, expected, atol=1e-12)


@within_a_batch
def test_one_coefficient_per_batch_by_default(name):
    one_class = torch.full((9,), 2)  # unimix: classes of different size have different coefficients
    for per_sample, distinct in ((False, 1), (True, len(TARGET))):
        assert len(set(mix(name, one_class, per_sample=per_sample).lam_input.tolist())) == distinct
    default = inspect.signature(MIXERS[name]).parameters["per_sample"].default
    assert default == inspect.signature(getattr(lt_fast.mixing, name)).parameters["per_sample"].default
    assert default == (name == "unimix")  # as in its authors' code


@within_a_batch
def test_every_key_counts_and_nothing_else(name):
    def first(**key):
        return mix(name, per_sample=True, **key).lam_input.tolist()

    keys = [{"seed": s, "epoch": e, "step": t} for s in (0, 1) for e in (0, 1) for t in (0, 1)]
    assert len({tuple(first(**key)) for key in keys}) == len(keys)
    assert first(seed=1, epoch=2, step=3) == first(seed=1, epoch=2, step=3)


@within_a_batch
def test_no_global_generator_is_read_or_written(name):
    before, drawn = torch.random.get_rng_state(), mix(name, seed=4)
    numpy_before = pickle.dumps(np.random.get_state())  # noqa: NPY002  (the global state is what is checked)
    torch.testing.assert_close(mix(name, seed=4), drawn, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert pickle.dumps(np.random.get_state()) == numpy_before  # noqa: NPY002


@every_mixer
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda mixer: pickle.loads(pickle.dumps(mixer))])
def test_copies_draw_the_same(name, copied):
    mixer = build(name, alpha=0.4, per_sample=True, seed=2**64 - 1)
    other = copied(mixer)
    for found, expected in zip(plan_of(other, TARGET, 1, 2), plan_of(mixer, TARGET, 1, 2), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert repr(other) == repr(mixer)


@every_mixer
def test_the_repr_shows_every_setting_exactly(name):
    """It tells the batches of a stopped training from those of another mixer."""
    other = {
        "image_size": (3001, 4001), "counts": [100, 30, 10, 9, 2], "seed": 2**64 - 1, "labels": TARGET.flip(0),
        "epochs": 21,
    }  # fmt: skip
    shown = repr(build(name))
    for setting, parameter in inspect.signature(MIXERS[name]).parameters.items():
        if setting == "empty":  # whether counts of 0 are refused
            continue
        value = other.get(setting, parameter.default)
        if setting == "per_sample":
            value = not parameter.default
        elif isinstance(value, float):
            value = math.nextafter(value, 0.5 if value != 0.5 else 1)
        assert repr(build(name, **{setting: value})) != shown, f"{setting}={value} makes no difference to {shown}"


@within_a_batch
def test_label_rule_is_one_that_the_losses_know(name):
    from lt_fast.losses import CrossEntropyLoss

    mixer = build(name, seed=3)
    made = mix(name, seed=3)
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixed_by_rule = CrossEntropyLoss(COUNTS, label_rule=mixer.label_rule, reduction="none")
    by_rule = mixed_by_rule(logits, TARGET, TARGET[made.partner], made.lam_input)
    by_factor = CrossEntropyLoss(COUNTS, reduction="none")(logits, TARGET, TARGET[made.partner], made.lam_label)
    torch.testing.assert_close(by_rule, by_factor, rtol=1e-6, atol=1e-6)


def unchanged_arrays(pixels):
    still = CropFlip(crop_padding=0, flip=False, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    return still, ArraySource(pixels, TARGET.numpy())


def unchanged_files(pixels, folder):
    for at, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{at}.png")
    return to_tensor, FileSource([f"{at}.png" for at in range(len(pixels))], TARGET.numpy(), root=folder)


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@within_a_batch
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("from_files", [False, True])
def test_loaders_mix_as_the_mixer_says(name, per_sample, from_files, tmp_path):
    pixels = torch.randint(256, (9, 4, 4, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8).numpy()
    order = [np.array([3, 1, 8, 0, 5]), np.array([2, 7, 6, 4])]
    still, source = unchanged_files(pixels, tmp_path) if from_files else unchanged_arrays(pixels)
    size = {"image_size": 4} if "image_size" in given(MIXERS[name]) else {}
    mixer = build(name, per_sample=per_sample, seed=6, **size)
    plain, mixed = (Loader(source, order, transform=still, mixer=each) for each in (None, mixer))
    for step, (batch, found) in enumerate(zip(plain, mixed, strict=True)):
        y = batch.target
        expected = mix(name, y, per_sample=per_sample, seed=6, epoch=0, step=step, **size)
        torch.testing.assert_close(found.x, expected.apply(batch.x), rtol=1e-5, atol=1e-5)
        assert torch.equal(found.target, y)
        assert torch.equal(found.target_b, y[expected.partner])
        assert torch.equal(found.lam, expected.lam_input)
        assert torch.equal(mixer.label_weight(found.lam, y, found.target_b), expected.lam_label)


@within_a_batch
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alpha": 0.0}, ValueError, r"alpha must be finite and > 0, got 0\.0; leave the mixer out"),
        ({"alpha": -1.0}, ValueError, r"alpha must be finite and > 0, got -1\.0"),
        ({"alpha": math.nan}, ValueError, r"alpha must be finite and > 0, got nan"),
        ({"alpha": math.inf}, ValueError, r"alpha must be finite and > 0, got inf"),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        ({"seed": 2**64}, ValueError, r"seed must lie in \[0, 2\*\*64\), got 18446744073709551616"),
        ({"seed": 0.5}, TypeError, r"seed must be an integer, got 0\.5"),
        ({"epoch": -1}, ValueError, r"epoch must lie in \[0, 2\*\*32\), got -1"),
        ({"step": 2**32}, ValueError, r"step must lie in \[0, 2\*\*32\), got 4294967296"),
        ({"step": True}, TypeError, r"step must be an integer, got True"),
    ],
)
def test_wrong_settings_are_named(name, settings, error, message):
    with pytest.raises(error, match=message):
        mix(name, **settings)


@within_a_batch
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (
            torch.rand(3, generator=torch.Generator().manual_seed(0)),
            TypeError,
            r"must hold class indices \(int64\), got torch\.float32",
        ),
        (torch.tensor([True, False]), TypeError, r"must hold class indices \(int64\), got torch\.bool"),
        (
            torch.zeros(2, 2, dtype=torch.int64),
            ValueError,
            r"must be one-dimensional, one class index a sample, got shape \(2, 2\)",
        ),
        ([0, 1], TypeError, r"target must be a tensor of class indices, got list"),
    ],
)
def test_wrong_targets_are_named(name, target, error, message):
    with pytest.raises(error, match=message):
        mix(name, target)


@every_mixer
def test_a_setting_cannot_be_assigned(name):
    mixer = build(name, seed=3)
    options = [*inspect.signature(MIXERS[name]).parameters, "label_rule", "plan"]
    for option in options:
        with pytest.raises(AttributeError, match=rf"{option} of \w+ cannot be set: .*; make a new one, \w+\("):
            setattr(mixer, option, 0.5)
    np.testing.assert_array_equal(plan_of(mixer, TARGET, 0, 1).lam, plan_of(build(name, seed=3), TARGET, 0, 1).lam)
    mixer.note = "mine"
    assert copy.deepcopy(mixer).note == "mine"
    with pytest.raises(AttributeError, match="alpha of"):
        copy.deepcopy(mixer).alpha = 2.0


@within_a_batch
def test_the_advice_for_labels_works(name):
    one_hot = torch.nn.functional.one_hot(TARGET, 5)
    for target in (one_hot, one_hot.float(), one_hot.bool()):
        with pytest.raises((TypeError, ValueError), match=r"for one-hot labels pass target\.long\(\)\.argmax\(1\)$"):
            mix(name, target)
        assert torch.equal(target.long().argmax(1), TARGET)
    for target in (TARGET.float(), TARGET.bool()):
        with pytest.raises(TypeError, match=r"; use target\.long\(\)$"):
            mix(name, target)
    with pytest.raises(TypeError, match=r"with values such as 0\.5, which is no class index$"):
        mix(name, TARGET + 0.5)
    with pytest.raises(ValueError, match=r"; use target\.reshape\(-1\)$"):
        mix(name, TARGET[0])
    with pytest.raises(TypeError, match=r"got list; use torch\.as_tensor\(target\)$"):
        mix(name, TARGET.tolist())
    if needs_counts(name):
        target = torch.tensor([0, 4, -100, 1])
        keep = r"leave rows without a label out: keep = (\w+) >= 0, then x\[keep\] and \1\[keep\]$"
        with pytest.raises(ValueError, match=rf"must lie in \[0, 5\), got -100 at position 2; {keep}"):
            mix(name, target)
        assert len(mix(name, target[target >= 0]).partner) == 3


@every_mixer
def test_the_docstrings_say_what_they_must(name):
    function = [getattr(lt_fast.mixing, name)] if "labels" not in inspect.signature(MIXERS[name]).parameters else []
    for documented in (MIXERS[name], *function):
        text = inspect.getdoc(documented)
        assert "Source:" in text
        assert "Shape:" in text
        assert "Raises:" in text
        assert "Formula:" in text or "lam" in text
        assert not re.search(r"\bfactor\b", text)
        for parameter in inspect.signature(documented).parameters:
            assert f"{parameter}:" in text, f"{documented.__name__} does not document {parameter}"


def test_an_unknown_mixer_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"mixer must be one of .*mam, mixup.*, got 'mixpu'; did you mean 'mixup'\?"):
        MIXERS["mixpu"]


PAIR_RULES = ["mam_label_weight", "remix_label_weight", "unimix_coefficient", "cp_mix_label_weight"]


@pytest.mark.parametrize("rule", PAIR_RULES)
@pytest.mark.parametrize("lam", [torch.tensor([0.1, 0.6, 1.0]), torch.tensor(0.3), 0.3], ids=["rows", "0-d", "number"])
def test_label_weights_compile_in_one_graph(rule, lam):
    function = getattr(lt_fast.mixing, rule)
    n_a, n_b = torch.tensor([500, 9, 40]), torch.tensor([1, 120, 40])
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    assert torch.equal(compiled(lam, n_a, n_b), function(lam, n_a, n_b))
    with pytest.raises(ValueError, match=r"lam must be in \[0, 1\]"):
        function(torch.tensor([1.5]), n_a[:1], n_b[:1])


@every_mixer
def test_the_label_weight_of_an_object_compiles_in_one_graph(name):
    mixer = build(name)
    lam, partner = torch.full((len(TARGET),), 0.3), TARGET.flip(0)
    torch._dynamo.reset()
    compiled = torch.compile(mixer.label_weight, fullgraph=True, backend="eager")
    assert torch.equal(compiled(lam, TARGET, partner), mixer.label_weight(lam, TARGET, partner))


@every_mixer
@pytest.mark.parametrize("value", ["a", "0.5", None, True, [0.5], torch.ones(2)])
def test_settings_that_are_no_numbers_are_named(name, value):
    for setting in {"alpha", "omega", "kappa", "tau", "probability", "q", "start_at", "stop_at"} & set(
        inspect.signature(MIXERS[name]).parameters
    ):
        got = re.escape(f"{setting} must be a number, got {shown(value)}")
        with pytest.raises(TypeError, match=f"^{got}"):
            build(name, **{setting: value})


@within_a_batch
def test_a_column_of_labels_is_told_how_to_be_flattened(name):
    with pytest.raises(ValueError, match=r"; use target\.reshape\(-1\)$"):
        mix(name, TARGET[:, None])
