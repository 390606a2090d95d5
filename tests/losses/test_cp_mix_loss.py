"""CP-Mix's loss: equation by equation against the plain reference, stage 1, every part left out, every refusal."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import reference
from lt_fast.losses import CPMixLoss, CrossEntropyLoss

COUNTS = [50, 20, 9, 3]
PLAIN, PAIRS = 6, 4


def problem(rows=2 * PLAIN + PAIRS, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 4, dtype=dtype, generator=draw).requires_grad_()
    first, second = (torch.randint(4, (rows,), generator=draw) for _ in range(2))
    return logits, first, second, torch.rand(rows, generator=draw)


def criterion(**options):
    return CPMixLoss(COUNTS, **{"num_pairs": PAIRS, **options})


def expected(logits, first, second, lam, **options):
    return reference.cp_mix_loss(logits, first, second, lam.double(), COUNTS, **{"num_pairs": PAIRS, **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eta": 0.3, "tau": 0.2},
        {"tau": 0.0},
        {"tau": 1.0, "eta": 2.0},
        {"eta": 0.0},
        {"num_pairs": 0},
        {"num_pairs": 2 * PLAIN},
    ],
)
def test_equals_the_equations(options):
    logits, first, second, lam = problem()
    loss = criterion(**options)(logits, first, second, lam)
    torch.testing.assert_close(loss, expected(logits, first, second, lam, **options), rtol=1e-6, atol=1e-6)


def test_without_regularisation_the_last_rows_are_missing():
    logits, first, second, lam = problem(PLAIN + PAIRS)
    loss = criterion(regularize=False)(logits, first, second, lam)
    wanted = expected(logits, first, second, lam, regularize=False)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-6)


def test_over_cross_entropy():
    logits, first, second, lam = problem()
    loss = criterion(plain=CrossEntropyLoss(COUNTS))(logits, first, second, lam)
    wanted = expected(logits, first, second, lam, plain=reference.cross_entropy_loss)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-6)


def test_without_second_labels_all_rows_are_plain():
    logits, first, _, _ = problem(7)
    wanted = reference.balanced_softmax_loss(logits, first, COUNTS)
    torch.testing.assert_close(criterion()(logits, first, None, None), wanted, rtol=1e-6, atol=1e-6)


def test_what_a_plain_row_is_mixed_with_does_not_matter():
    logits, first, second, lam = problem()
    other_second, other_lam = second.clone(), lam.clone()
    other_second[:PLAIN], other_lam[:PLAIN] = first[:PLAIN], 1.0
    one, two = criterion()(logits, first, second, lam), criterion()(logits, first, other_second, other_lam)
    assert torch.equal(one, two)


def test_every_part_reaches_its_own_rows():
    logits, first, second, lam = problem()
    (gradient,) = torch.autograd.grad(criterion()(logits, first, second, lam), logits)
    assert (gradient.abs().sum(1) > 0).all()
    (alone,) = torch.autograd.grad(criterion(eta=0.0)(logits, first, second, lam), logits)
    assert (alone[:PLAIN] != 0).any()
    assert (alone[PLAIN:] == 0).all()


def test_gradient():
    logits, first, second, lam = problem()
    assert torch.autograd.gradcheck(lambda z: criterion()(z, first, second, lam), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype):
    logits, first, second, lam = problem()
    given = logits.detach().to(dtype)
    loss = criterion()(given, first, second, lam)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected(given.double(), first, second, lam), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "plain"), [(16, 6), (4, 0), (6, 1)])
def test_rows_divide_into_parts(rows, plain):
    assert criterion().plain_rows(rows) == plain
    assert criterion(regularize=False).plain_rows(rows) == rows - PAIRS


def test_it_moves_with_its_parts():
    moved = criterion().to(torch.bfloat16)
    logits, first, second, lam = problem(dtype=torch.float32)
    assert torch.equal(moved(logits, first, second, lam), criterion()(logits, first, second, lam))
    assert "num_pairs=4, eta=1, tau=0.5, regularize=True" in repr(moved)
    assert not moved.state_dict()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_pairs": -1}, "num_pairs must be >= 0, got -1"),
        (
            {"num_pairs": 0, "regularize": False},
            "num_pairs must be > 0 with regularize=False, got 0: no mixture is left",
        ),
        ({"eta": -0.1}, r"eta must be finite and >= 0, got -0\.1"),
        ({"eta": math.nan}, "eta must be finite and >= 0, got nan"),
        ({"tau": 1.5}, r"tau must lie in \[0, 1\], got 1\.5"),
        ({"tau": math.nan}, r"tau must lie in \[0, 1\], got nan"),
    ],
)
def test_wrong_settings(options, text):
    with pytest.raises(ValueError, match=text):
        criterion(**options)


@pytest.mark.parametrize("value", [2.0, True])
def test_a_number_of_pairs_is_an_integer(value):
    with pytest.raises(TypeError, match=f"num_pairs must be an integer, got {value}"):
        criterion(num_pairs=value)


def test_wrong_rows():
    logits, first, second, lam = problem(15)
    with pytest.raises(ValueError, match=r"logits must have 2 n \+ 4 rows \(plain, pairs, mixed\), got 15"):
        criterion()(logits, first, second, lam)
    with pytest.raises(ValueError, match=r"logits must have n \+ 4 rows .*, got 3"):
        criterion(regularize=False)(*(part[:3] for part in (logits, first, second, lam)))
    with pytest.raises(ValueError, match=r"target must lie in \[0, 4\), got 4 at position 0"):
        criterion()(*problem()[:1], torch.full((16,), 4), *problem()[2:])
    with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
        CPMixLoss([5, 0, 2], num_pairs=1)


def test_classes_without_samples():
    logits, _, _, lam = problem()
    labels = torch.tensor([0, 2, 3, 0] * 4)
    loss = CPMixLoss([50, 0, 9, 3], num_pairs=PAIRS, empty="ignore")(logits, labels, labels.flip(0), lam)
    assert math.isfinite(loss.item())
    assert isinstance(CPMixLoss([5, 0, 2], num_pairs=1, empty="ignore").plain, nn.Module)


LAMS = {
    "float": 0.3,
    "integer": 1,
    "np.float32": np.float32(0.3),
    "np.float64": np.float64(0.3),
    "np.int64": np.int64(1),
    "0-d array": np.array(0.3),
    "0-d tensor": torch.tensor(0.3),
    "tensor": torch.full((2 * PLAIN + PAIRS,), 0.3),
    "array": np.full(2 * PLAIN + PAIRS, 0.3),
    "list": [0.3] * (2 * PLAIN + PAIRS),
    "tuple": (0.3,) * (2 * PLAIN + PAIRS),
}


@pytest.mark.parametrize("lam", LAMS.values(), ids=LAMS)
@pytest.mark.parametrize("compiled", [False, True])
def test_every_form_of_the_factor_is_taken(lam, compiled):
    logits, first, second, _ = problem()
    per_row = torch.as_tensor(lam, dtype=torch.float64).expand(len(logits))
    loss = criterion()
    torch._dynamo.reset()
    call = torch.compile(loss, fullgraph=True, backend="eager") if compiled else loss
    assert call(logits, first, second, lam).item() == pytest.approx(
        loss(logits, first, second, per_row).item(), rel=1e-6
    )


@pytest.mark.parametrize("name", ["target", "target_b", "lam"])
@pytest.mark.parametrize("rows", [2 * PLAIN + PAIRS - 1, 2 * PLAIN + PAIRS + 1, 1])
def test_another_number_of_entries_is_named(name, rows):
    logits, first, second, lam = problem()
    given = {"target": first, "target_b": second, "lam": lam}
    given[name] = given[name][:1].expand(rows)
    with pytest.raises(ValueError, match=rf"^{name} must have one entry per row of the logits \(16\), got {rows}$"):
        criterion(regularize=True)(logits, *given.values())


@pytest.mark.parametrize("lam", [1.5, "0.3", {"a": 1}, True])
def test_factors_that_are_none_are_refused_by_the_op(lam):
    logits, first, second, _ = problem()
    with pytest.raises((TypeError, ValueError), match=r"^lam must "):
        criterion()(logits, first, second, lam)
