"""Collecting: the numbers of a forward pass in eval mode, and the model as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lt_fast import models
from lt_fast.calibration import ClassifierRetraining, MarginCalibration, collect, weight_norm
from lt_fast.models.initialization import build


def batches(sizes=(5, 3), *, mixed=False):
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        x = torch.randn(size, 1, 8, 8, generator=generator)
        yield (x, torch.arange(size) % 3, None, None) if mixed else (x, torch.arange(size) % 3)


@pytest.mark.parametrize("mixed", [False, True])
def test_is_the_forward_pass_in_eval_mode(mixed):
    model = models.digits_net(3).train()
    before = copy.deepcopy(model.state_dict())
    features, logits, labels = collect(model, batches(mixed=mixed))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model.eval()
    x = torch.cat([batch[0] for batch in batches()])
    with torch.no_grad():
        torch.testing.assert_close(features, model.features(x))
        torch.testing.assert_close(logits, model(x))
    assert labels.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert labels.dtype == torch.int64
    assert not logits.requires_grad


def test_features_alone():
    model = models.digits_net(3)
    features, logits, labels = collect(model, batches(), keep_logits=False)
    whole = collect(model, batches())
    assert logits.shape == (0, 3)
    assert torch.equal(features, whole.features)
    assert torch.equal(labels, whole.labels)


def test_modes_are_restored_one_by_one():
    model = models.digits_net(3).train()
    model.trunk[1].eval()
    collect(model, batches())
    assert (model.training, model.trunk[1].training, model.trunk[4].training) == (True, False, True)


def test_the_model_is_restored_after_an_error():
    model = models.digits_net(3).train()
    with pytest.raises(RuntimeError):
        collect(model, [(torch.zeros(2, 7, 8, 8), torch.zeros(2, dtype=torch.int64))])
    assert model.training
    assert not model.head._forward_hooks


def test_amp_computes_in_bfloat16_and_returns_float32():
    model = models.digits_net(3)
    exact, rounded = collect(model, batches()), collect(model, batches(), amp=True)
    assert rounded.features.dtype == rounded.logits.dtype == torch.float32
    assert not torch.equal(exact.logits, rounded.logits)
    torch.testing.assert_close(exact.logits, rounded.logits, rtol=0.1, atol=0.1)


def test_any_model_by_the_name_of_its_head():
    model = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), seed=0)
    features, logits, _ = collect(model, batches(), head="1", device="cpu")
    assert features.shape == (8, 64)
    torch.testing.assert_close(logits, model[1](features).detach())


def test_progress_shows_a_bar(capsys):
    collect(models.digits_net(3), batches(), progress=True)
    assert "collect" in capsys.readouterr().err


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(x.flatten(1)) + self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("model", "given", "kwargs", "message"),
    [
        (models.digits_net(3), [], {}, "batches must yield at least one batch, got none"),
        (models.digits_net(3), batches(), {"head": "fc"}, "head must name a module of DigitsNet, got 'fc'"),
        (
            models.digits_net(3),
            batches(),
            {"head": "trunk"},
            r"'trunk' must be given features \(N, D\) with N = 5",
        ),
        (build(Twice, seed=0), batches(), {}, "the forward pass must call 'head' exactly once, got 2 calls"),
        (
            models.digits_net(3),
            [(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), torch.zeros(2), torch.ones(2))],
            {},
            "batches must not be mixed, got a second label or a factor in batch 0; leave partner out",
        ),
        (
            models.digits_net(3),
            [(torch.zeros(2, 1, 8, 8), torch.zeros(3, dtype=torch.int64))],
            {},
            r"labels must have shape \(2,\) in batch 0, got \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(model, given, kwargs, message):
    with pytest.raises(ValueError, match=message):
        collect(model, given, **kwargs)


X, Y = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 3


class Shaped(nn.Module):
    """A body, two heads and a function that makes the output of them."""

    def __init__(self, output):
        super().__init__()
        self.body, self.head, self.aux, self.output = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 3), output

    def forward(self, x):
        return self.output(self, self.body(x).relu())


def shaped(output):
    return build(lambda: Shaped(output), seed=3)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda m, h: (m.head(h) + m.aux(h)) / 2, r"got values that differ by up to .*; name another module"),
        (lambda m, h: 30 * m.head(h), r"got 30 times that in batch 0; .* give the calibrator scale=30"),
        (lambda m, h: m.head(h).mul_(30), r"got 30 times that in batch 0"),
        (lambda m, h: m.head(h) + torch.arange(3), r"got a constant for each class added to that"),
        (lambda m, h: m.head(h).softmax(1), r"got its softmax in batch 0; calibration needs logits: wrap the model"),
        (lambda m, h: m.head(h).log_softmax(1), r"got its log_softmax"),
        (lambda m, h: (m.head(h), m.aux(h))[1], r"got values .*head='aux' names the module whose output the"),
        (lambda m, h: m.aux(h), r"exactly once, got 0 calls in eval mode; head='aux' names the module"),
        (lambda m, h: (m.aux(h), m.head(h)), r"got values that differ .*; head='aux' names the module"),
        (lambda m, h: {"output": m.aux(h) / 2, "parts": m.head(h)}, "got values that differ"),
        (lambda m, h: {"logits": m.head(h)[:, None]}, r"got shape \(20, 1, 3\) instead of \(20, 3\)"),
        (lambda m, h: (m.head(h), h)[1], r"got shape \(20, 5\) instead of \(20, 3\)"),
        (lambda m, h: {"loss": m.head(h).sum()}, r"got dict without a tensor of shape \(20, 3\)"),
        (lambda m, h: m.head(h[:, None]), r"features \(N, D\) with N = 20, got \(20, 1, 5\); a head over positions"),
        (lambda m, h: m.head(torch.cat([h, h])), r"given features \(N, D\) with N = 20, got \(40, 5\)"),
    ],
)  # fmt: skip
def test_an_output_that_is_not_the_heads_is_refused(output, message):
    model = shaped(output)
    with pytest.raises(ValueError, match=message):
        collect(model, [(X, Y)])
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "output",
    [
        lambda m, h: (m.head(h), h),
        lambda m, h: [m.head(h), m.aux(h)],
        lambda m, h: {"features": h, "logits": m.head(h)},
        lambda m, h: {"prediction": m.head(h)},
        lambda m, h: m.head(input=h).double(),
    ],
)
def test_the_heads_output_may_come_in_a_structure(output):
    model = shaped(output)
    features, logits, _ = collect(model, [(X, Y)])
    torch.testing.assert_close(logits, model.head(features).detach())


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(1, 3, 1)

    def forward(self, x):
        return self.head(x.mean((1, 2, 3), keepdim=True)).flatten(1)


def test_a_convolution_as_head_is_answered_with_what_to_do():
    images = [(torch.zeros(5, 1, 8, 8), torch.zeros(5, dtype=torch.int64))]
    with pytest.raises(ValueError, match=r"got \(5, 1, 1, 1\); flatten them before the head, .* nn.Linear"):
        collect(build(Convolutional, seed=0), images)


WRAPPERS = {
    "parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize(
    ("wrapper", "head"),
    [
        ("parallel", "head"),
        ("parallel", "module.head"),
        ("compiled", "head"),
        ("compiled", "_orig_mod.head"),
        ("both", "head"),
    ],
)
def test_wrappers_are_seen_through(wrapper, head):
    model = shaped(lambda m, h: m.head(h))
    expected = collect(model, [(X, Y)])
    wrapped = WRAPPERS[wrapper](model)
    before = wrapped(X).detach()  # so that a compiled model has been compiled before the hook is there
    found = collect(wrapped, [(X, Y)], head=head)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    margin = MarginCalibration([7, 7, 6]).fit(found.features, Y, head=model.head)
    torch.testing.assert_close(margin.apply(wrapped, head=head)(X), margin.transform(found.logits))
    retrained = ClassifierRetraining([7, 7, 6], scale=2).fit(found.features, Y, head=model.head)
    torch.testing.assert_close(retrained.apply(wrapped, head=head)(X), retrained.transform(found.features))
    assert torch.equal(wrapped(X), before)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Shaped(lambda m, h: m.head(h))

    def forward(self, x):
        return self.model(x)


def test_a_head_inside_another_module_is_suggested():
    with pytest.raises(ValueError, match=r"head must name a module of Nested, got 'head'; did you mean 'model.head'\?"):
        collect(build(Nested, seed=0), [(X, Y)])
    head = nn.Sequential(nn.Dropout(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match=r"got Sequential; name the module inside it that has one, '1'"):
        weight_norm(head)


INDEX = torch.arange(20) + 100
ONE_HOT = nn.functional.one_hot(Y, 3)


@pytest.mark.parametrize(
    ("batch", "kind", "message"),
    [
        (
            {"pixel_values": X, "labels": Y},
            TypeError,
            r"got dict .* keys 'pixel_values', 'labels'; pass \(\(batch\['pixel_values'\], batch\['labels'\]\) for",
        ),
        ({"a": X}, TypeError, r"with the keys 'a'; pass pairs of the images and the integer labels,"),
        ({"a": X, "b": Y}, TypeError, r"keys 'a', 'b'; pass \(\(batch\['a'\], batch\['b'\]\) for batch in loader\)"),
        ({"b": Y, "a": X}, TypeError, r"keys 'b', 'a'; pass \(\(batch\['a'\], batch\['b'\]\) for batch in loader\)"),
        ({"n": INDEX, "a": X, "label": Y}, TypeError, r"pass \(\(batch\['a'\], batch\['label'\]\) for"),
        ({"n": INDEX, "a": X, "b": Y}, TypeError, r"; pass pairs of the images and the integer labels,"),
        ({"a": X, "b": X, "y": Y}, TypeError, r"; pass pairs of the images and the integer labels,"),
        ((INDEX, X, Y), TypeError, r"got 3 parts in batch 0; pass \(\(batch\[1\], batch\[2\]\) for batch in loader\)$"),
        ((INDEX, Y, X), TypeError, r"got 3 parts in batch 0; pass \(\(batch\[2\], batch\[1\]\) for batch in loader\)$"),
        ((INDEX, X, Y, Y), TypeError, r"4 parts in batch 0; pass pairs of the images and the labels,"),
        ((X, Y, INDEX, torch.ones(20)), TypeError, r"got 4 parts in batch 0; .* or a weight, pass"),
        ((X, Y, Y, torch.full((20,), 2.0)), TypeError, "got 4 parts in batch 0; .* or a weight, pass"),
        ((X, Y, Y.flip(0), torch.full((20,), 0.3)), ValueError, "batches must not be mixed"),
        ((X, Y[:, None]), ValueError, r"got \(20, 1\); pass labels\.reshape\(-1\)$"),
        ((X, Y[None]), ValueError, r"got \(1, 20\); pass labels\.reshape\(-1\)$"),
        ((X, Y, torch.arange(20)), TypeError, r"got 3 parts in batch 0; .* pass \(\(x, labels\) for x, labels, \*_ in"),
        ((X, Y, torch.arange(20), ["path"] * 20), TypeError, "got 4 parts in batch 0"),
        ((X, Y, Y, 0.3), ValueError, "batches must not be mixed"),
        (([X, X], Y), TypeError, r"a list of 2 \(several views of each image\?\); pass \(\(x\[0\], y\) for"),
        ((X.numpy(), Y), TypeError, r"got a NumPy array; pass torch.from_numpy\(x\)"),
        (X, TypeError, "got Tensor in batch 0; give the labels, too"),
        ((X,), TypeError, "got 1 part in batch 0; give the labels, too"),
        ((X, ONE_HOT), ValueError, r"got \(20, 3\); pass labels.argmax\(dim=1\) where they are one-hot"),
        ((X, ["a"] * 20), TypeError, "labels must be integers in batch 0, got a list of strings; map the classes"),
        ((X, Y.float()), TypeError, r"got dtype torch.float32; pass labels.long\(\)"),
        ((X, Y * 0.3), TypeError, "got dtype torch.float32$"),
        ((X, Y.bool()), TypeError, "got dtype torch.bool"),
        ((X, None), TypeError, "labels must be integers in batch 0, got NoneType"),
        ((X[0], 1), TypeError, r"got a single one; where batches is a data set, pass DataLoader\(dataset"),
        ((X, Y - 1), ValueError, r"labels must lie in \[0, 3\), got -1 at position 0; leave samples without"),
        ((X, Y + 1), ValueError, r"labels must lie in \[0, 3\), got 3 at position 2, the model.s classes"),
    ],
)  # fmt: skip
def test_batches_of_another_form_are_named_with_the_way_to_convert_them(batch, kind, message):
    with pytest.raises(kind, match=message):
        collect(shaped(lambda m, h: m.head(h)), [batch])


def test_what_the_messages_advise_works():
    model = shaped(lambda m, h: m.head(h))
    expected = collect(model, [(X, Y)])
    loaders = {
        "dict": ((batch["pixel_values"], batch["labels"]) for batch in [{"pixel_values": X, "labels": Y}]),
        "index": ((x, labels) for x, labels, *_ in [(X, Y, torch.arange(20))]),
        "views": ((x[0], y) for x, y in [([X, X], Y)]),
        "one-hot": [(X, ONE_HOT.argmax(dim=1))],
        "a column": [(X, Y[:, None].reshape(-1))],
        "index first": ((batch[1], batch[2]) for batch in [(INDEX, X, Y)]),
        "a list": [(X, Y.tolist())],
        "a data set": DataLoader(TensorDataset(X, Y), batch_size=7),
    }
    for loader in loaders.values():
        assert all(torch.equal(one, other) for one, other in zip(collect(model, loader)[1:], expected[1:], strict=True))


def test_the_outputs_of_several_heads_are_calibrated_as_advised():
    model = shaped(lambda m, h: (m.head(h) + m.aux(h)) / 2)
    outputs = model(X).detach()
    assert MarginCalibration([7, 7, 6]).fit(outputs, Y).transform(outputs).shape == (20, 3)


def test_a_position_counts_over_all_batches():
    with pytest.raises(ValueError, match=r"got 3 at position 22"):
        collect(shaped(lambda m, h: m.head(h)), [(X, Y), (X, Y + 1)])
    with pytest.raises(TypeError, match=r"batches must yield \(x, labels\), got int; pass a DataLoader"):
        collect(shaped(lambda m, h: m.head(h)), 5)


class Normed(nn.Module):
    """A head whose output goes through another module."""

    def __init__(self):
        super().__init__()
        self.head, self.bn = nn.Linear(4, 3), nn.Identity()

    def forward(self, x):
        return self.bn(self.head(x))


@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm1d(3), lambda: nn.LayerNorm(3), lambda: nn.PReLU(3)])
def test_a_module_without_a_matrix_is_not_advised_as_the_head(norm):
    model = build(Normed, seed=0)
    model.bn = norm()
    with pytest.raises(ValueError, match="the model must return what its head 'head' returns") as caught:
        collect(model, [(X - 1, Y)])
    assert "head='bn'" not in str(caught.value)
