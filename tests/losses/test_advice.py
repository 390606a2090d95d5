"""What a user could assign to a made loss takes effect, or is an error that says what does."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lt_fast.losses import LOSSES, CrossEntropyLoss, EqualizationLoss, LDAMLoss, Loss
from lt_fast.methods import DeferredReweighting

COUNTS = [50, 5, 1]
WEIGHT = torch.tensor([1.0, 5.0, 50.0])
LOGITS = torch.tensor([[0.2, -0.5, 0.1], [0.9, 0.3, -0.7]])
TARGET = torch.tensor([0, 2])
OF_EXPERTS = {"ace", "sade"}  # of logits (N, E, C)
every_loss = pytest.mark.parametrize("name", sorted(set(LOSSES) - OF_EXPERTS))

OF_TORCH = ["weight", "ignore_index", "reduction", "label_smoothing", "pos_weight", "size_average", "reduce"]
OTHER_NAMES = ["class_counts", "counts", "cls_num_list", "scale", "margin", "bias", "options", "vectors", "s", "tau"]


CHANGES = [
    lambda held, name: held[name].add_(2),
    lambda held, name: held[name].__setitem__(-1, 7.0),
    lambda held, name: held.pop(name),
    lambda held, name: held.update({name: WEIGHT}),
]


def options_of(name):
    return list(inspect.signature(LOSSES[name]).parameters)


@every_loss
@pytest.mark.parametrize("value", [WEIGHT, nn.Parameter(WEIGHT), 2.0, "sum", None, [1, 2, 3]])
def test_an_option_cannot_be_assigned(name, value):
    criterion = LOSSES[name](COUNTS)
    before = copy.deepcopy(criterion)(LOGITS, TARGET)
    for option in (*OF_TORCH, *OTHER_NAMES, *options_of(name)):
        with pytest.raises(AttributeError, match=f"^{option} of {type(criterion).__name__} cannot be set: "):
            setattr(criterion, option, value)
    assert torch.equal(criterion(LOGITS, TARGET), before)


@every_loss
def test_an_option_cannot_be_registered_or_deleted(name):
    criterion = LOSSES[name](COUNTS)
    for option in ("weight", "pos_weight", "reduction", "class_counts"):
        for register in (criterion.register_buffer, criterion.register_parameter):
            with pytest.raises(AttributeError, match=f"{option} of {type(criterion).__name__} cannot be set"):
                register(option, nn.Parameter(WEIGHT))
    with pytest.raises(AttributeError, match=r"vectors of \w+ cannot be set"):
        del criterion.vectors


def test_the_advice_works():
    criterion = CrossEntropyLoss(COUNTS)
    with pytest.raises(AttributeError) as raised:
        criterion.weight = WEIGHT
    assert "make a new one, CrossEntropyLoss(counts, weight=...)" in str(raised.value)
    assert "lt_fast.methods.DeferredReweighting(plain, reweighted)" in str(raised.value)
    reweighted = CrossEntropyLoss(COUNTS, weight=WEIGHT)
    assert reweighted(LOGITS, TARGET) != criterion(LOGITS, TARGET)
    deferred = DeferredReweighting(criterion, reweighted, defer_until=0.5)
    assert (deferred.at(0, 2), deferred.at(1, 2)) == (criterion, reweighted)
    with pytest.raises(AttributeError, match=r"make a new one, CrossEntropyLoss\(counts, ignore_index=...\)"):
        criterion.ignore_index = 255
    target = torch.tensor([0, 255])
    assert CrossEntropyLoss(COUNTS, ignore_index=255)(LOGITS, target) == criterion(LOGITS[:1], target[:1])
    with pytest.raises(AttributeError, match="this loss has no such option; its options are max_margin, scale, weight"):
        LDAMLoss(COUNTS).label_smoothing = 0.1


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_vector_cannot_be_changed(name, dtype):
    logits = LOGITS.to(dtype)
    criterion = LOSSES[name](COUNTS)
    for vector in ("class_counts", "weight", *criterion.vectors._buffers):
        for value in (WEIGHT, WEIGHT.double(), nn.Parameter(WEIGHT), None, np.ones(3), [1, 2, 3]):
            with pytest.raises(
                AttributeError, match=f"vectors.{vector} cannot be set: the vectors of a loss are fixed"
            ):
                setattr(criterion.vectors, vector, value)
        with pytest.raises(AttributeError, match=f"vectors.{vector} cannot be set"):
            criterion.vectors.register_buffer(vector, WEIGHT)
    for vector in criterion.vectors._buffers:
        for change in CHANGES:
            changed = copy.deepcopy(criterion)
            changed(logits, TARGET)
            change(changed.vectors._buffers, vector)
            for call in (changed, changed.loss_and_gradient):
                with pytest.raises(
                    RuntimeError, match=rf"vectors.{vector} was changed, and .*; make a new loss, with w"
                ):
                    call(logits, TARGET)
            with pytest.raises(RuntimeError, match="was changed"):
                changed.double()


def test_a_vector_that_is_not_there_cannot_be_added():
    criterion = CrossEntropyLoss(COUNTS)
    for assign in (setattr, lambda vectors, name, value: vectors.register_buffer(name, value)):
        with pytest.raises(AttributeError, match=r"vectors\.weight cannot be set"):
            assign(criterion.vectors, "weight", WEIGHT)


def test_equal_values_are_accepted():
    """As ``DistributedDataParallel`` writes them, in place, and ``DataParallel`` sets them."""
    criterion = LDAMLoss(COUNTS, weight=WEIGHT)
    before = criterion(LOGITS, TARGET)
    for name, buffer in criterion.vectors.named_buffers():
        buffer.copy_(buffer.clone())
        setattr(criterion.vectors, name, buffer.clone())
    with torch.inference_mode():
        criterion.vectors.rows = criterion.vectors.rows.clone()
        assert torch.equal(criterion(LOGITS, TARGET), before)
    assert torch.equal(criterion(LOGITS, TARGET), before)


@pytest.mark.parametrize("option", ["scale", "reduction"])
def test_options_are_read_only(option):
    criterion = LDAMLoss(COUNTS)
    with pytest.raises(AttributeError, match=f"cannot assign to field '{option}'"):
        setattr(criterion.options, option, 1.0)
    assert copy.deepcopy(criterion).options == pickle.loads(pickle.dumps(criterion)).options == criterion.options
    assert criterion.options.scale == 30.0


@every_loss
@pytest.mark.parametrize(
    ("option", "value"),
    [("reduction", "avg"), ("normalization", "none"), ("label_rule", "mix"), ("omega", float("nan"))],
)
def test_a_wrong_option_is_found_by_the_constructor(name, option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        LOSSES[name](COUNTS, **{option: value})


def test_what_takes_effect_may_be_assigned():
    criterion = CrossEntropyLoss(COUNTS)
    with pytest.raises(AttributeError, match="vectors of CrossEntropyLoss cannot be set"):
        criterion.vectors = CrossEntropyLoss(COUNTS, weight=WEIGHT).vectors
    drawing = EqualizationLoss(COUNTS, threshold=1.0)
    drawing.step = torch.tensor(7)
    assert drawing(LOGITS, TARGET) == EqualizationLoss(COUNTS, threshold=1.0, step=7)(LOGITS, TARGET)
    with pytest.raises(AttributeError, match=r"EqualizationLoss\(counts, step=...\)"):
        drawing.step = 7
    criterion.note = "mine"
    assert criterion.eval().train(mode=True).note == "mine"


def test_a_users_subclass_has_attributes_of_its_own():
    class Mine(CrossEntropyLoss):
        def __init__(self, counts, margin):
            super().__init__(counts)
            self.margin = margin

    class Other(Loss):
        def __init__(self):
            super().__init__(COUNTS)
            self.weight = nn.Parameter(WEIGHT)

    assert Mine(COUNTS, 0.5).margin == 0.5
    assert Other().weight.requires_grad
    with pytest.raises(AttributeError, match="weight of Mine cannot be set"):
        Mine(COUNTS, 0.5).weight = WEIGHT


UNCOUNTED = [
    lambda values: values.data.__setitem__(0, 9.0),
    lambda values: values.numpy().__setitem__(0, 9.0),
    lambda values: values.detach().numpy().fill(2.5),
    lambda values: setattr(values, "data", values + 9),
    lambda values: setattr(values, "data", torch.ones(2)),
]


@every_loss
@pytest.mark.parametrize("change", UNCOUNTED)
@pytest.mark.parametrize("calls", [0, 1, 3, 7])
def test_a_change_that_torch_does_not_count_is_noticed_at_a_look(name, change, calls):
    for vector in LOSSES[name](COUNTS).vectors._buffers:
        criterion = LOSSES[name](COUNTS)
        for _ in range(calls):
            criterion(LOGITS.double(), TARGET)
        change(criterion.vectors._buffers[vector])
        with pytest.raises(RuntimeError, match=rf"vectors.{vector} was changed|must have shape"):
            criterion(LOGITS.double(), TARGET)


def test_such_a_change_is_noticed_after_a_warning_too():
    criterion = CrossEntropyLoss(COUNTS, weight=WEIGHT)
    with pytest.warns(UserWarning, match="look like probabilities"):
        criterion(LOGITS.softmax(1), TARGET)
    criterion.vectors.rows.data[-1] = 9
    with pytest.raises(RuntimeError, match=r"vectors\.rows was changed"):
        criterion(LOGITS, TARGET)


@every_loss
@pytest.mark.parametrize(
    "alias",
    [
        "weights",
        "class_weight",
        "class_weights",
        "cls_weights",
        "loss_weight",
        "temperature",
        "alpha",
        "samples_per_class",
    ],
)
def test_other_names_of_options_cannot_be_assigned(name, alias):
    criterion = LOSSES[name](COUNTS)
    with pytest.raises(AttributeError, match=f"^{alias} of {type(criterion).__name__} cannot be set: "):
        setattr(criterion, alias, WEIGHT)


def test_a_subclass_may_have_such_names():
    class Own(CrossEntropyLoss):
        pass

    criterion = Own(COUNTS)
    criterion.weights = WEIGHT
    assert criterion.weights is WEIGHT
