"""Losses with one sigmoid per class: the reference, torch's own, values worked out by hand, and refusals."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

import reference
from lt_fast.losses import (
    AsymmetricLoss,
    DistributionBalancedLoss,
    MultiLabelBCELoss,
    MultiLabelFocalLoss,
    MultiLabelLDAMLoss,
    MultiLabelLoss,
    effective_number_weights,
    ldam_margins,
    multi_hot,
    positive_weights,
)
from lt_fast.sampling import MultilabelBalancedSampler

COUNTS = [500, 120, 40, 9, 1]
WEIGHT = [0.2, 0.5, 1.0, 1.4, 2.0]
MADE = {
    "multi_label_bce": (MultiLabelBCELoss, {}),
    "multi_label_bce, weighted": (MultiLabelBCELoss, {"positive_weight": [1.0, 5.0, 0, 70.0, 599.0], "weight": WEIGHT}),
    "multi_label_focal": (MultiLabelFocalLoss, {}),
    "multi_label_focal, balanced": (MultiLabelFocalLoss, {"gamma": 0.5, "alpha": 0.25, "weight": WEIGHT}),
    "asymmetric": (AsymmetricLoss, {}),
    "asymmetric, unclipped": (AsymmetricLoss, {"clip": 0.0, "gamma_negative": 0.5, "gamma_positive": 0.0}),
    "multi_label_ldam": (MultiLabelLDAMLoss, {"scale": 3.0, "weight": WEIGHT}),
    "distribution_balanced": (DistributionBalancedLoss, {"num_samples": 600}),
    "distribution_balanced, VOC": (
        DistributionBalancedLoss,
        {"num_samples": 600, "mu": 0.3, "negative_scale": 5.0, "kappa": 0.05, "gamma": 0.0, "balance": 1.0},
    ),
}  # fmt: skip
every_loss = pytest.mark.parametrize("name", MADE)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}


def batch(rows=6, seed=0, scale=3.0):
    """Logits and targets; the first row has no label, the second all of them."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, len(COUNTS), generator=generator, dtype=torch.float64)
    target = (torch.rand(rows, len(COUNTS), generator=generator) < 0.4).double()
    target[0], target[1] = 0, 1
    return logits, target


def made(name, **more):
    kind, options = MADE[name]
    return kind(COUNTS, **{**options, **more})


def oracle(name, logits, target):
    exact = logits.detach().double().requires_grad_()
    entries = getattr(reference, name.partition(",")[0] + "_loss")(exact, target.double(), COUNTS, **MADE[name][1])
    (gradient,) = torch.autograd.grad(entries.mean(), exact)
    return entries.detach(), gradient


@every_loss
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_value_and_gradient_equal_the_reference(name, dtype):
    logits, target = batch()
    logits = logits.to(dtype).requires_grad_()
    entries, gradient = oracle(name, logits, target)
    loss = made(name)(logits, target.to(dtype))
    loss.backward()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = TOLERANCE[dtype] if dtype in (torch.float64, torch.float32) else 3e-6
    torch.testing.assert_close(loss.double(), entries.mean(), rtol=tolerance, atol=tolerance)
    assert logits.grad.dtype == dtype
    assert (logits.grad.double() - gradient).abs().max() <= TOLERANCE[dtype] * gradient.abs().max() * 4


@every_loss
def test_reductions_and_kinds_of_targets(name):
    logits, target = batch()
    entries = made(name, reduction="none")(logits, target)
    torch.testing.assert_close(entries, oracle(name, logits, target)[0])
    assert torch.equal(made(name, reduction="sum")(logits, target), entries.sum())
    for converted in (target.bool(), target.long(), target.half()):
        assert torch.equal(made(name, reduction="none")(logits, converted), entries)


@every_loss
def test_soft_targets_weigh_both_sides(name):
    """In a loss that is linear in the targets, 0.25 is a quarter of the positive side."""
    logits, target = batch()
    soft = 0.25 * target if "distribution" not in name else target  # whose weights depend on the targets, too
    torch.testing.assert_close(made(name, reduction="none")(logits, soft), oracle(name, logits, soft)[0])


@every_loss
def test_gradcheck(name):
    logits, target = batch(rows=3, scale=1.0)
    assert torch.autograd.gradcheck(lambda z: made(name)(z, target), logits.requires_grad_())


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_extreme_logits_stay_finite(name, dtype):
    largest = 6e4 if dtype == torch.float16 else 1e30
    logits = torch.tensor([[largest, -largest, 0.0, 120.0, -120.0]] * 2, dtype=dtype, requires_grad=True)
    target = torch.tensor([[1.0, 0, 1, 1, 0], [0, 1, 0, 0, 1]])
    loss = made(name, reduction="none")(logits, target)
    assert torch.isfinite(loss).all()
    (0 * loss).sum().backward()
    logits.grad = None
    made(name)(logits, target).backward()
    assert torch.isfinite(logits.grad).all()


@every_loss
@pytest.mark.parametrize("convert", ["bfloat16", "double"])
def test_converted_copied_and_pickled_modules_give_the_same(name, convert):
    logits, target = batch()
    expected = made(name)(logits.float(), target)
    criterion = getattr(made(name), convert)()
    for same in (criterion, copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(same(logits.float(), target), expected)
    assert not criterion.state_dict()


@pytest.mark.parametrize("name", ["multi_label_bce, weighted", "asymmetric", "distribution_balanced"])
def test_compiles_without_a_graph_break(name):
    logits, target = batch()
    torch._dynamo.reset()
    values, gradients = [], []
    criterion = made(name)
    for call in (criterion, torch.compile(criterion, fullgraph=True, backend="aot_eager")):
        leaf = logits.float().requires_grad_()
        value = call(leaf, target)
        value.backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


# --- other code -------------------------------------------------------------------------------------------------------


def test_binary_cross_entropy_is_that_of_torch():
    logits, target = batch()
    weight, positive = torch.tensor(WEIGHT).double(), torch.from_numpy(positive_weights(COUNTS, 600))
    expected = F.binary_cross_entropy_with_logits(logits, target, weight=weight, pos_weight=positive)
    loss = MultiLabelBCELoss(COUNTS, weight=WEIGHT, positive_weight=positive)
    torch.testing.assert_close(loss(logits, target), expected)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_loss_is_that_of_torchvision(alpha):
    logits, target = batch()
    expected = sigmoid_focal_loss(logits, target, alpha=-1 if alpha is None else alpha, gamma=2, reduction="mean")
    torch.testing.assert_close(MultiLabelFocalLoss(COUNTS, alpha=alpha)(logits, target), expected)


def test_margins_are_those_of_the_softmax_loss():
    logits, target = batch()
    margin = torch.from_numpy(ldam_margins(COUNTS, max_margin=0.7))
    expected = F.binary_cross_entropy_with_logits(logits - target * margin, target)
    torch.testing.assert_close(MultiLabelLDAMLoss(COUNTS, max_margin=0.7)(logits, target), expected)


def test_the_class_balanced_forms():
    logits, target = batch()
    weight = effective_number_weights(COUNTS, 0.999)
    entries = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = MultiLabelBCELoss(COUNTS, weight=weight)(logits, target)
    torch.testing.assert_close(loss, (entries * torch.from_numpy(weight)).mean())


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_asymmetric_loss_by_hand():
    """The formulas of Alibaba-MIIL/ASL, losses.py, at p = 0.8, 0.5, 0.03 with its defaults 4, 1, 0.05."""
    p = np.array([0.8, 0.5, 0.03])
    logits = torch.from_numpy(np.log(p / (1 - p)))[None]
    positive = AsymmetricLoss([3, 3, 3], reduction="none")(logits, torch.ones(1, 3))[0]
    np.testing.assert_allclose(positive, [0.2 * 0.22314355, 0.5 * 0.69314718, 0.97 * 3.50655790], rtol=1e-7)
    negative = AsymmetricLoss([3, 3, 3], reduction="none")(logits, torch.zeros(1, 3))[0]
    # q = 0.75 and 0.45, -log(1 - q) = 1.38629436 and 0.59783700; below 0.05 nothing is left.
    np.testing.assert_allclose(negative, [0.75**4 * 1.38629436, 0.45**4 * 0.59783700, 0.0], rtol=1e-7)


def test_distribution_balanced_loss_by_hand():
    """The formulas of wutong16/DistributionBalancedLoss, resample_loss.py, with the settings of its COCO file.

    Classes of 40, 10 and 4 samples of 50; a sample with labels 0 and 2. Its repeat rate is 1/40 + 1/4 = 0.275, the
    shares are 0.09090909, 0.36363636 and 0.90909091, and the weights sigmoid(10 (share - 0.2)) + 0.1. The code adds
    ``init_bias = -log(50 / n - 1) * 0.05 / 2`` to the logits: 0.03465736, -0.03465736, -0.06105868.
    """
    loss = DistributionBalancedLoss([40, 10, 4], num_samples=50, reduction="none")
    target = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    weights = loss.rebalanced_weights(target, torch.tensor([1 / 40, 1 / 10, 1 / 4], dtype=torch.float64))
    np.testing.assert_allclose(weights[0], [0.3514471, 0.9370395, 1.0991681], rtol=1e-6)
    # Logits (0.5, 0.2, -1): 0.53465736, 0.16534264, -1.06105868. The negative one is doubled, its weight halved, and
    # all are 2 * weight * (1 - p)**2 * -log p with the p of being right: 0.63056871, 0.41807389, 0.25710719.
    found = loss(torch.tensor([[0.5, 0.2, -1.0]], dtype=torch.float64), target)[0]
    np.testing.assert_allclose(found, [0.0442368, 0.2767314, 1.6478968], rtol=1e-6)


def test_a_row_without_labels_has_the_largest_weight():
    loss = DistributionBalancedLoss(COUNTS, 600, alpha=0.3)
    weights = loss.rebalanced_weights(torch.zeros(1, 5), loss.vectors.inverse_count)
    torch.testing.assert_close(weights, torch.full((1, 5), 1.3))
    flat = DistributionBalancedLoss(COUNTS, 600, beta=0.0)
    torch.testing.assert_close(
        flat.rebalanced_weights(torch.zeros(1, 5), loss.vectors.inverse_count), torch.full((1, 5), 0.6)
    )


def test_an_ignored_empty_class():
    logits, target = batch()
    target[:, 4] = 0
    for kind, options in (
        (MultiLabelLDAMLoss, {}),
        (DistributionBalancedLoss, {"num_samples": 600}),
        (MultiLabelBCELoss, {}),
    ):
        with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '4'"):
            kind([500, 120, 40, 9, 0], **options)
        assert torch.isfinite(kind([500, 120, 40, 9, 0], empty="ignore", **options)(logits, target))
    assert positive_weights([10, 0], 20, empty="ignore").tolist() == [1, 0]


# --- with the sampler -------------------------------------------------------------------------------------------------


def test_a_rare_class_is_learned_beside_the_sampler():
    """Four classes of 200 to 8 samples, each a direction of noise: the balanced batches find the rare ones, too."""
    generator = np.random.default_rng(0)
    has = generator.random((400, 4)) < np.array([0.5, 0.2, 0.06, 0.02])
    has[:5, 3] = True
    features = torch.from_numpy(2.0 * has + 0.3 * generator.standard_normal((400, 4))).float()
    rows, labels = np.nonzero(has)
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=400)))
    sampler = MultilabelBalancedSampler(indptr, labels, strategy="cycle", num_samples=128, seed=1)
    criterion = DistributionBalancedLoss(sampler.class_counts, num_samples=400)
    weight = torch.zeros(4, 4, requires_grad=True)
    bias = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=4.0)
    for _ in range(20):
        batch_rows = np.array(list(sampler))
        loss = criterion(features[batch_rows] @ weight.T + bias, multi_hot(indptr, labels, batch_rows, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = (features @ weight.T + bias > 0).numpy()
    recall = (predicted & has).sum(0) / has.sum(0)
    assert (recall > 0.9).all()


def test_targets_from_lists_of_labels():
    target = multi_hot([0, 2, 2, 3], [1, 3, 0], [2, 0, 1, 0], 4)
    assert target.tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]
    with pytest.raises(ValueError, match=r"rows must lie in \[0, 3\), got 3 at position 1"):
        multi_hot([0, 2, 2, 3], [1, 3, 0], [0, 3], 4)
    with pytest.raises(ValueError, match=r"indices must lie in \[0, 3\), got 3 at position 1"):
        multi_hot([0, 2, 2, 3], [1, 3, 0], [0], 3)
    with pytest.raises(ValueError, match=r"indptr must rise from 0 to the number of indices \(3\)"):
        multi_hot([0, 2, 1, 3], [1, 3, 0], [0], 4)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ((6, 5), (6,), r"target must have the shape of the logits, \(6, 5\), got \(6,\); multi_hot"),
        ((6, 4), (6, 4), r"logits must have one column per class \(5\), got \(6, 4\)"),
        ((6, 5, 2), (6, 5, 2), r"logits must have shape \(N, C\)"),
    ],
)
def test_shapes(logits, target, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelBCELoss(COUNTS)(torch.zeros(logits), torch.zeros(target))


def test_targets_that_are_none():
    logits = torch.zeros(2, 5)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 1\], got 2 in row 1, class 3; pass 1 for"):
        MultiLabelBCELoss(COUNTS)(logits, torch.tensor([[0, 1, 0, 1, 0], [0, 1, 0, 2, 0]]))
    with pytest.raises(ValueError, match=r"target must lie in \[0, 1\], got nan in row 0, class 0"):
        MultiLabelBCELoss(COUNTS)(logits, torch.full((2, 5), torch.nan))
    with pytest.raises(TypeError, match="target must be a tensor of numbers, got list"):
        MultiLabelBCELoss(COUNTS)(logits, [[0] * 5] * 2)
    with pytest.raises(TypeError, match="logits must be a tensor, got list"):
        MultiLabelBCELoss(COUNTS)([[0.0] * 5], torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MultiLabelBCELoss, {"weight": [1.0, 2.0]}, r"weight must have one number per class \(5\), got shape \(2,\)"),
        (MultiLabelBCELoss, {"weight": [1, 1, -1, 1, 1]}, "weight must be finite and >= 0, got -1.0 for class 2"),
        (MultiLabelBCELoss, {"positive_weight": ["a"] * 5}, "positive_weight must be numbers, one per class"),
        (MultiLabelBCELoss, {"reduction": "avg"}, "reduction must be one of mean, sum, none, got 'avg'"),
        (MultiLabelFocalLoss, {"gamma": -1}, "gamma must be finite and >= 0, got -1; 0 is binary cross entropy"),
        (MultiLabelFocalLoss, {"alpha": 2}, r"alpha must lie in \[0, 1\], got 2"),
        (AsymmetricLoss, {"clip": 1.0}, r"clip must lie in \[0, 1\), got 1.0"),
        (AsymmetricLoss, {"gamma_negative": 0.5}, "gamma_negative must be 0 or >= 1 with a clip, got 0.5"),
        (MultiLabelLDAMLoss, {"scale": 0}, "scale must be finite and > 0, got 0"),
        (DistributionBalancedLoss, {"num_samples": 500}, "num_samples must be > 500, the samples of class 0"),
        (
            DistributionBalancedLoss,
            {"num_samples": 499},
            "num_samples must be >= 500, got 499; it is the number of samples",
        ),
        (DistributionBalancedLoss, {"num_samples": 600, "negative_scale": 0}, "negative_scale must be finite and > 0"),
        (DistributionBalancedLoss, {"num_samples": 600, "kappa": -1}, "kappa must be finite and >= 0, got -1"),
    ],
)
def test_bad_options_are_refused(kind, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        kind(COUNTS, **options)


@every_loss
def test_an_empty_batch_has_no_loss(name):
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = made(name)(logits, torch.zeros(0, 5))
    loss.backward()
    assert loss == 0
    assert made(name, reduction="none")(logits, torch.zeros(0, 5)).shape == (0, 5)


@every_loss
def test_under_vmap(name):
    logits, target = batch()
    criterion = made(name)
    torch.testing.assert_close(torch.vmap(criterion)(logits[None], target[None])[0], criterion(logits, target))


@every_loss
@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (
            torch.zeros(2, 5),
            torch.ones(2, 5, device="meta"),
            r"target must be on the logits' device cpu, got meta; use",
        ),
        (torch.zeros(2, 5), torch.ones(2, 5).to_sparse(), r"target must be a dense tensor, .*use target.to_dense\(\)"),
        (torch.zeros(2, 5), torch.ones(2, 5, requires_grad=True), r"target must not require a gradient: .*detach\(\)"),
        (torch.zeros(2, 4), torch.ones(2, 4), r"one column per class \(5\), got \(2, 4\); make the network with 5 out"),
        (torch.zeros(2, 5, 3), torch.ones(2, 5, 3), r"\(N, C\), got \(2, 5, 3\); pass logits.movedim\(1, -1\).flatten"),
        (torch.zeros(5), torch.ones(5), r"shape \(N, C\), got \(5,\); pass logits\[None\] and target\[None\]"),
    ],
)
def test_other_forms_of_tensors_are_refused(name, logits, target, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made(name)(logits, target)


@every_loss
def test_options_are_fixed(name):
    criterion = made(name)
    options = [option for option in inspect.signature(type(criterion)).parameters if option != "counts"]
    assert {"reduction", "empty"} < set(options)
    for option in options:
        with pytest.raises(AttributeError, match=rf"^{option} of \w+ cannot be set: .*; make a new one, \w+\(counts, "):
            setattr(criterion, option, None)
    criterion.eval().my_own_note = 1


def test_weights_that_are_no_real_numbers():
    masked = np.ma.masked_less(WEIGHT, 0.5)
    with pytest.raises(ValueError, match=r"weight must have no masked entry, got 1, the first at position 0"):
        MultiLabelBCELoss(COUNTS, weight=masked)
    for values in (torch.ones(5) * 1j, np.ones(5) * 1j):
        with pytest.raises(TypeError, match="positive_weight must be real numbers, one per class"):
            MultiLabelBCELoss(COUNTS, positive_weight=values)
    with pytest.raises(ValueError, match=r"power must leave finite weights, got 1e\+06 for a ratio of 599; 1 is usual"):
        positive_weights(COUNTS, 600, power=1e6)


def test_one_class_alone():
    logits = torch.tensor([[0.5], [-1.0]])
    target = torch.tensor([[1.0], [0.0]])
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(MultiLabelBCELoss([7])(logits, target), expected)


@pytest.mark.parametrize("clip", [1e-9, 0.05, 0.7])
def test_a_clipped_negative_keeps_its_digits(clip):
    """A probability that rounds to 1 has a finite loss, and the slope of float64."""
    criterion = AsymmetricLoss(COUNTS, clip=clip, gamma_negative=1.0, reduction="sum")
    logits = torch.tensor([[30.0, 12.0, 1.0, -1.0, -30.0]], requires_grad=True)
    exact = logits.detach().double().requires_grad_()
    losses = [criterion(z, torch.zeros(1, 5)) for z in (logits, exact)]
    q = (torch.sigmoid(exact) - clip).clamp(min=0)
    formula = -q * torch.log((torch.sigmoid(-exact) + clip).clamp(max=1))
    torch.testing.assert_close(losses[1], formula.sum())
    torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-5, atol=1e-6)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


def test_a_loss_of_your_own():
    class SquaredHinge(MultiLabelLoss):
        """Squared hinge loss of one sign per class."""

        def entries(self, logits, target):
            return (1 - (2 * target - 1) * logits).clamp(min=0) ** 2

    logits, target = batch()
    loss = SquaredHinge(COUNTS, weight=WEIGHT)(logits, target)
    expected = (1 - (2 * target - 1) * logits).clamp(min=0) ** 2 * torch.tensor(WEIGHT)
    torch.testing.assert_close(loss, expected.mean())
    assert "num_classes=5, reduction='mean'" in repr(SquaredHinge(COUNTS))
