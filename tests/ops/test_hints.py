"""What the errors about logits and labels advise, and that the advice works when it is followed."""

import re
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lt_fast import ClassCounts, ops
from lt_fast.losses import CrossEntropyLoss, LADELoss, SeesawLoss, two_labels
from lt_fast.ops import reference

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 1, 2, 0])
TARGET_B = TARGET.flip(0)
PLAIN = F.cross_entropy(LOGITS, TARGET)
COUNTS = [50, 5, 1]
SOFT = 0.7 * F.one_hot(TARGET, 3) + 0.3 * F.one_hot(TARGET_B, 3)
TWO_LABELS = "as target_b and lam: one label per row for each of the two images, and the factor of the first image"
InceptionOutputs = namedtuple("InceptionOutputs", ["logits", "aux_logits"])  # noqa: PYI024  (as torchvision's)


class ModelOutput(OrderedDict):
    """As transformers': a dictionary whose entries are attributes, too."""

    def __getattr__(self, name):
        return self[name]


@pytest.fixture(
    params=[ops.mixed_margin_loss, reference.mixed_margin_loss, CrossEntropyLoss(COUNTS), SeesawLoss(COUNTS)]
)
def loss(request):
    return request.param


@pytest.fixture(params=[ops.mixed_margin_loss, reference.mixed_margin_loss])
def function(request):
    """The loss as a function, which has one row per label: the modules take soft targets and positions."""
    return request.param


def error_of(loss, *arguments, **keywords):
    with pytest.raises((TypeError, ValueError)) as raised:
        loss(*arguments, **keywords)
    return str(raised.value)


def follow(message, pattern, **names):
    """The value of the Python expression that ``pattern`` finds in the message."""
    found = re.search(pattern, message)
    assert found, message
    return eval(found.group(1), {"torch": torch, **names})


@pytest.mark.parametrize(
    "labels",
    [
        TARGET.int(), TARGET.to(torch.uint8), TARGET.to(torch.int8), TARGET.short(), TARGET.float(), TARGET.double(),
        TARGET.half(), TARGET.to(torch.uint16),
    ],
    ids=lambda labels: str(labels.dtype),
)  # fmt: skip
def test_labels_of_another_dtype(labels):
    plain, mixed = CrossEntropyLoss(COUNTS), ops.mixed_margin_loss
    message = error_of(plain, LOGITS, labels)
    assert message == f"target must be int64 class indices, got {labels.dtype}; use target.long()"
    assert plain(LOGITS, follow(message, r"use (target\S+)$", target=labels)) == PLAIN
    message = error_of(mixed, LOGITS, TARGET, target_b=labels, lam=0.5)
    assert message == f"target_b must be int64 class indices, got {labels.dtype}; use target_b.long()"


def test_soft_labels_name_two_labels_and_their_factor(function):
    for soft in (SOFT, SOFT.double(), SOFT.half()):
        message = error_of(function, LOGITS, soft)
        assert f"got {soft.dtype}; pass soft labels of mixed images {TWO_LABELS}" in message
        assert ".long()" not in message
        assert torch.equal(follow(message, r"for one label per row use (target\S+)$", target=soft), TARGET)
        assert "which lt_fast.losses.two_labels makes of them" in message
    target, target_b, lam = two_labels(SOFT)
    torch.testing.assert_close(function(LOGITS, target, target_b=target_b, lam=lam), F.cross_entropy(LOGITS, SOFT))


def test_soft_labels_that_were_converted_are_recognised(loss):
    for converted in (SOFT.long(), (10 * SOFT).long(), SOFT.int(), SOFT.bool()):
        message = error_of(loss, LOGITS, converted)
        assert f"pass soft labels of mixed images {TWO_LABELS}" in message
        assert "use target.long()" not in message
        assert "argmax" not in message


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int32, torch.bool])
def test_one_hot_labels(loss, dtype):
    target = F.one_hot(TARGET, 3).to(dtype)
    if dtype == torch.float32 and isinstance(loss, torch.nn.Module):  # soft targets
        torch.testing.assert_close(loss(LOGITS, target), loss(LOGITS, TARGET))
        return
    message = error_of(loss, LOGITS, target)
    torch.testing.assert_close(
        loss(LOGITS, follow(message, r"one-hot labels: use (.*)$", target=target)), loss(LOGITS, TARGET)
    )


@pytest.mark.parametrize("labels", [torch.tensor([0.7, 0, 1, 0]), torch.tensor([0.0, torch.nan, 1, 1])])
def test_broken_labels_are_not_advised_to_be_rounded(loss, labels):
    message = error_of(loss, LOGITS, labels)
    assert re.search(r"got torch.float32 with values such as (0\.7|nan), which is no class index", message)
    assert ".long()" not in message


def test_a_factor_in_the_place_of_the_second_labels():
    criterion = CrossEntropyLoss(COUNTS)
    message = error_of(criterion, LOGITS, TARGET, torch.rand(4, generator=torch.Generator().manual_seed(0)), TARGET_B)
    assert message.endswith("which is no class index; the factor of the first image is lam, which follows target_b")
    message = error_of(criterion, LOGITS, TARGET, 0.3, TARGET_B)
    assert message == (
        "target_b must be a tensor, got float; the labels of the second images come before their factor: target, "
        "target_b, lam"
    )


@pytest.mark.parametrize("labels", [TARGET[:, None], TARGET[None]])
def test_labels_in_a_column(loss, labels):
    message = error_of(loss, LOGITS, labels)
    assert torch.equal(follow(message, r"; use (target\S+)$", target=labels), TARGET)
    assert error_of(loss, LOGITS, TARGET[:3]).endswith("got (3,); logits have 4 rows and target has 3 labels")


@pytest.mark.parametrize(
    ("logits", "target", "classes"),
    [
        ((2, 3, 4, 5), (2, 4, 5), 1),
        ((2, 4, 5, 3), (2, 4, 5), -1),
        ((2, 7, 3), (2, 7), -1),
        ((2, 3, 7), (2, 7), 1),
        ((2, 3, 4, 5, 6), (2, 4, 5, 6), 1),
        ((2, 3, 3), (2, 3), 1),
    ],
)
def test_a_label_per_position(function, logits, target, classes):
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(logits, generator=generator), torch.randint(3, target, generator=generator)
    message = error_of(function, logits, target)
    rows, labels = follow(message, r"for one label per position pass (.*?)( where.*)?$", logits=logits, target=target)
    expected = logits.movedim(classes, 1)
    torch.testing.assert_close(CrossEntropyLoss(COUNTS)(rows, labels), F.cross_entropy(expected, target))
    assert function(rows, labels).isfinite()
    if logits.shape[1:] == (3, 3):
        assert message.endswith("logits.flatten(0, -2), target.flatten() where they are the last")


@pytest.mark.parametrize("shape", [(4, 3, 1, 1), (4, 1, 3), (4, 3, 1)])
def test_logits_with_dimensions_of_one(loss, shape):
    logits = LOGITS.reshape(shape)
    message = error_of(loss, logits, TARGET)
    assert torch.equal(follow(message, r"; use (.*)$", logits=logits), LOGITS)


def test_logits_of_one_sample(loss):
    message = error_of(loss, LOGITS[0], TARGET[0])
    rows = follow(message, r"for one sample use (\S+) and", logits=LOGITS[0])
    labels = follow(message, r" and (target.*)$", target=TARGET[0])
    torch.testing.assert_close(loss(rows, labels), loss(LOGITS[:1], TARGET[:1]))


@pytest.mark.parametrize("shape", [(4, 1), (4,)])
def test_a_binary_model_with_one_output(shape):
    logits, target = LOGITS[:, 0].reshape(shape), torch.tensor([0, 1, 1, 0])
    message = error_of(CrossEntropyLoss([9, 1]), logits, target)
    rows = follow(message, r"with one output pass (.*), and counts of two classes$", logits=logits)
    expected = F.binary_cross_entropy_with_logits(logits.flatten(), target.float())
    torch.testing.assert_close(CrossEntropyLoss([9, 1])(rows, target), expected)


@pytest.mark.parametrize("ignored", [-100, -1, 255, 3])
@pytest.mark.parametrize("name", ["target", "target_b"])
def test_ignored_labels_are_to_be_left_out(loss, name, ignored):
    labels = torch.tensor([0, ignored, 2, ignored])
    mixed = {"target_b": TARGET, "lam": torch.full((4,), 0.3)}
    module = isinstance(loss, torch.nn.Module)
    if module:
        loss = lambda logits, target, target_b, lam, module=loss: module(logits, target, target_b, lam)  # noqa: E731
    given = {"target": TARGET, **mixed, name: labels}
    if ignored == -100 and module:
        assert loss(LOGITS, **given).isfinite()
        return
    message = error_of(loss, LOGITS, **given)
    assert ignored > 0 or message.endswith(f"; a loss of logits does it with ignore_index={ignored}")
    assert message.startswith(f"{name} must lie in [0, 3), got {ignored} at position 1; ")
    keep = follow(message, r"leave .* out: keep = (.*?), then logits\[keep\] and", **given)
    assert keep.tolist() == [True, False, True, False]
    assert loss(LOGITS[keep], **{key: value[keep] for key, value in given.items()}).isfinite()


def test_labels_from_1_and_labels_beyond_the_classes(loss):
    target = TARGET + 1
    message = error_of(loss, LOGITS, target)
    assert message == "target must lie in [0, 3), got 3 at position 2; labels are numbered from 0: use target - 1"
    assert torch.equal(follow(message, r"use (.*)$", target=target), TARGET)
    assert "got 1000003 at position 0; there are 3 classes" in error_of(loss, LOGITS, TARGET + 1000003)


@pytest.mark.parametrize(
    "output",
    [
        ModelOutput(loss=torch.tensor(1.0), logits=LOGITS),
        InceptionOutputs(LOGITS, LOGITS),
        {"logits": LOGITS, "features": LOGITS},
        {"out": LOGITS},
        {"scores": LOGITS},
        (LOGITS, LOGITS),
        [None, LOGITS],
        LOGITS.numpy(),
        LOGITS.tolist(),
    ],
    ids=lambda output: type(output).__name__,
)
def test_outputs_that_are_no_tensor(loss, output):
    message = error_of(loss, output, TARGET)
    assert error_of(LADELoss(COUNTS), output, TARGET) == message
    assert error_of(SeesawLoss(COUNTS).loss_and_gradient, output, TARGET) == message
    assert message.startswith(f"logits must be a tensor, got {type(output).__name__}; ")
    found = re.search(r"(\.logits|\['?\w+'?\]|(?<=: )'\w+'|torch\.as_tensor)\W*(logits\))?$", message).group(1)
    if found == "torch.as_tensor":
        logits = torch.as_tensor(output)
    else:
        logits = eval(f"output{found if found[0] in '.[' else f'[{found}]'}", {"output": output})
    torch.testing.assert_close(logits, LOGITS)


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (TARGET.tolist(), "; use torch.as_tensor(target)"),
        (TARGET.numpy(), "; use torch.as_tensor(target)"),
        ({"labels": TARGET, "size": 3}, "; pass its entry ['labels']"),
        ({"a": TARGET, "b": TARGET}, "; pass one of its entries: 'a', 'b'"),
        ((TARGET, TARGET_B, 0.5), f"; pass the parts of a mixed batch one by one, as target, {TWO_LABELS[3:]}"),
        (ClassCounts(COUNTS), "; the counts belong to the constructor of a loss, and logits and labels to its call"),
        (None, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_labels_that_are_no_tensor(loss, labels, hint):
    assert error_of(loss, LOGITS, labels) == f"target must be a tensor, got {type(labels).__name__}{hint}"


def test_arguments_in_another_order(loss):
    message = error_of(loss, TARGET, LOGITS)
    assert message.endswith("got torch.int64; did you swap logits and target? The logits come first")
    assert "counts belong to the constructor" in error_of(loss, ClassCounts(COUNTS), TARGET)
    assert error_of(loss, LOGITS.long(), TARGET).endswith("got torch.int64; use logits.float()")
    assert error_of(loss, LOGITS.bool(), TARGET).endswith("got torch.bool; use logits.float()")


def test_labels_elsewhere(loss):
    message = error_of(loss, LOGITS, TARGET.to("meta"))
    assert message == "target must be on the logits' device cpu, got meta; use target.to(logits.device)"


@pytest.mark.parametrize(
    ("lam", "message"),
    [
        ([0.5, 0.5], "lam must be a number or have shape (N,) = (4,), got (2,)"),
        (np.full(5, 0.5), "lam must be a number or have shape (N,) = (4,), got (5,)"),
        ([0.5, 0.5, 1.5, 0.5], "lam must lie in [0, 1], got 1.5 at position 2"),
        (np.array([0.5, -0.5, 0.5, 0.5]), "lam must lie in [0, 1], got -0.5 at position 1"),
        (torch.full((4, 1), 0.5), "lam must be a number or have shape (N,) = (4,), got (4, 1); use lam.reshape(-1)"),
        (70, "lam must lie in [0, 1], got 70"),
    ],
    ids=str,
)
def test_factors(lam, message):
    assert error_of(CrossEntropyLoss(COUNTS), LOGITS, TARGET, TARGET_B, lam) == message


def test_in_a_transform_shapes_alone_are_looked_at():
    with pytest.raises(TypeError, match=r"got torch.float32; use target.long\(\).argmax\(1\) for one-hot labels; pass"):
        torch.vmap(lambda soft: ops.mixed_margin_loss(LOGITS, soft))(torch.stack([SOFT, SOFT]))
