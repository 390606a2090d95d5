"""Every refusal: which argument, which rule, which value, and what to do; the op and its reference say the same."""

import re

import numpy as np
import pytest
import torch
from cases import REFUSAL, needs_library

from lt_fast import ClassCounts, ops
from lt_fast import _libraries as libraries
from lt_fast.ops import reference


@pytest.fixture(params=[ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
def loss(request):
    return request.param


LOGITS, TARGET = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
MIXED = {"target_b": torch.tensor([1, 1, 0, 2]), "lam": torch.full((4,), 0.5)}
MAXIMUM = {"margin_rule": "maximum", "max_margin": 1.0, "gamma": 1.0}


def refuses(loss, error, message, *, logits=LOGITS, target=TARGET, **options):
    for z in (
        (logits, logits.clone().requires_grad_())
        if torch.is_tensor(logits) and logits.is_floating_point()
        else [logits]
    ):
        with pytest.raises(error, match=re.escape(message)):
            loss(z, target, **options)


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        ([[0.0, 1.0]], TypeError, "logits must be a tensor, got list"),
        (
            torch.zeros(4, 3, dtype=torch.int64),
            TypeError,
            "must be float32, float64, float16 or bfloat16, got torch.int64",
        ),
        (
            torch.eye(4).to_sparse(),
            TypeError,
            "logits must be a dense tensor, got layout torch.sparse_coo; use logits.to_dense()",
        ),
        (torch.zeros(3), ValueError, "logits must have shape (N, C), got (3,)"),
        (torch.zeros(4, 3, 2), ValueError, "logits must have shape (N, C), got (4, 3, 2)"),
        (torch.zeros(4, 1), ValueError, "logits must have at least 2 classes, got shape (4, 1)"),
        (torch.zeros(4, 0), ValueError, "logits must have at least 2 classes, got shape (4, 0)"),
    ],
)
def test_logits(loss, logits, error, message):
    refuses(loss, error, message, logits=logits)


@pytest.mark.parametrize("name", ["target", "target_b"])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 2, 0], TypeError, "{} must be a tensor, got list"),
        (torch.zeros(4), TypeError, "{0} must be int64 class indices, got torch.float32; use {0}.long()"),
        (
            torch.zeros(4, dtype=torch.int32),
            TypeError,
            "{0} must be int64 class indices, got torch.int32; use {0}.long()",
        ),
        (torch.zeros(3, dtype=torch.int64), ValueError, "{} must have shape (N,) = (4,), got (3,)"),
        (torch.zeros(4, 3, dtype=torch.int64), ValueError, "{} must have shape (N,) = (4,), got (4, 3)"),
        (
            torch.zeros(4, dtype=torch.int64, device="meta"),
            ValueError,
            "{} must be on the logits' device cpu, got meta",
        ),
        (torch.tensor([0, -1, 0, 0]), ValueError, "{} must lie in [0, 3), got -1 at position 1"),
        (torch.tensor([0, 0, 0, 3]), ValueError, "{} must lie in [0, 3), got 3 at position 3"),
        (torch.tensor([-100, 0, 0, 0]), ValueError, "{} must lie in [0, 3), got -100 at position 0"),
    ],
)
def test_labels(loss, name, labels, error, message):
    refuses(loss, error, message.format(name), **{**MIXED, name: labels})


@pytest.mark.parametrize("name", ["lam", "sample_weight"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("0.5", TypeError, "{} must be a number or a tensor of shape (N,), got str"),
        (True, TypeError, "{} must be a number or a tensor of shape (N,), got bool"),
        (["a"] * 4, TypeError, "{} must be a number or N numbers, got ['a', 'a', 'a', 'a']"),
        (torch.ones(4, dtype=torch.complex64), TypeError, "{} must hold real numbers, got torch.complex64"),
        (torch.full((3,), 0.5), ValueError, "{} must be a number or have shape (N,) = (4,), got (3,)"),
        (torch.full((4, 1), 0.5), ValueError, "{} must be a number or have shape (N,) = (4,), got (4, 1)"),
        (torch.full((4,), 0.5, device="meta"), ValueError, "{} must be on the logits' device cpu, got meta"),
        (
            torch.full((4,), 0.5, requires_grad=True),
            ValueError,
            "{0} must not require a gradient: only the logits have one; pass {0}.detach()",
        ),
        (
            [torch.tensor(0.5, requires_grad=True)] * 4,
            ValueError,
            "{0}[0] must not require a gradient: only the logits have one; pass {0}[0].detach()",
        ),
    ],
)
def test_factors_of_rows(loss, name, value, error, message):
    refuses(loss, error, message.format(name), **{**MIXED, name: value})


@pytest.mark.parametrize(
    ("lam", "shown"),
    [
        (-0.1, "-0.1"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (torch.tensor([0.5, 0.5, 1.25, 0.5]), "1.25 at position 2"),
        (torch.tensor([0.5, torch.nan, 0.5, 0.5]), "nan at position 1"),
    ],
)
def test_lam_outside_0_and_1(loss, lam, shown):
    refuses(loss, ValueError, f"lam must lie in [0, 1], got {shown}", **{**MIXED, "lam": lam})


@pytest.mark.parametrize(("value", "shown"), [(-1.0, "-1"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_sample_weight_values(loss, value, shown):
    weights = torch.tensor([1.0, 1.0, value, 1.0])
    refuses(
        loss, ValueError, f"sample_weight must be finite and >= 0, got {shown} at position 2", sample_weight=weights
    )


def test_a_sample_weight_for_all_rows(loss):
    refuses(loss, ValueError, "sample_weight must be finite and >= 0, got -2", sample_weight=-2.0)
    refuses(loss, ValueError, "sample_weight must be finite and >= 0, got nan", sample_weight=float("nan"))


def test_two_labels_need_a_factor_and_the_other_way_round(loss):
    refuses(loss, ValueError, "lam must be given together with target_b, got None", target_b=TARGET)
    refuses(loss, ValueError, "target_b must be given together with lam, got None", lam=0.5)


@pytest.mark.parametrize("name", ["margin", "weight", "bias", "class_counts"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([0.1, 0.2], ValueError, "{} must have shape (C,) = (3,), got (2,)"),
        (0.5, ValueError, "{} must have shape (C,) = (3,), got ()"),
        (torch.ones(3, 1), ValueError, "{} must have shape (C,) = (3,), got (3, 1)"),
        (["a", "b", "c"], TypeError, "{} must be a vector of C numbers, got list"),
        (torch.ones(3, dtype=torch.bool), TypeError, "{} must be a vector of C numbers, got torch.bool"),
        (torch.ones(3, dtype=torch.complex64), TypeError, "{} must be a vector of C numbers, got torch.complex64"),
        ([1.0, float("nan"), 1.0], ValueError, "in every class, got nan for class 1"),
        (torch.ones(3, requires_grad=True), ValueError, "{0} must not require a gradient"),
        ([*torch.ones(3, requires_grad=True)], ValueError, "{0}[0] must not require a gradient"),
    ],
)
def test_class_vectors(loss, name, value, error, message):
    refuses(loss, error, message.format(name), **{name: value})


@pytest.mark.parametrize("as_tensor", [True, False])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("margin", [0.1, -0.1, 0], "margin must be finite and >= 0 in every class, got -0.1"),
        ("weight", [1, 1, -2], "weight must be finite and >= 0 in every class, got -2.0 for class 2"),
        ("weight", [1, float("inf"), 1], "weight must be finite and >= 0 in every class, got inf for class 1"),
        ("bias", [float("inf"), 0, 0], "bias must be finite or -inf in every class, got inf for class 0"),
        ("class_counts", [5, -1, 2], "class_counts must be finite and >= 0 in every class, got -1.0 for class 1"),
        ("class_counts", [0, 0, 0], "class_counts must have at least one sample, got 3 classes without any"),
    ],
)
def test_class_vector_values(loss, name, value, message, as_tensor):
    value = torch.tensor(value, dtype=torch.float64) if as_tensor else value
    refuses(loss, ValueError, message, **{name: value})


@pytest.mark.parametrize("rule", ["mam", "remix", "unimix", "cp_mix"])
def test_label_rules_need_the_counts_of_every_class(loss, rule):
    message = f"class_counts must be given for label_rule='{rule}', got None"
    refuses(loss, ValueError, message, label_rule=rule, **MIXED)
    message = f"class_counts must be >= 1 in every class for label_rule='{rule}', got 0 for class 1"
    refuses(loss, ValueError, message, label_rule=rule, class_counts=[5, 0, 2], **MIXED)


def test_an_empty_class_is_no_trouble_where_its_count_only_weighs(loss):
    value = loss(LOGITS, TARGET, weight=[1.0, 0.0, 2.0], class_counts=[5, 0, 2])
    assert bool(value.isfinite())


def test_the_expected_weight_needs_the_counts(loss):
    refuses(
        loss, ValueError,
        "class_counts must be given for normalization='expected' with a weight, got None: it divides by the training "
        "set's mean weight; pass class_counts, or normalization='batch' or 'weights'",
        weight=[1.0, 2.0, 3.0],
    )  # fmt: skip
    for reduction in ("sum", "none"):
        assert loss(LOGITS, TARGET, weight=[1.0, 2.0, 3.0], reduction=reduction).isfinite().all()


def test_a_mean_weight_of_nothing_is_refused(loss):
    logits, target = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 1])
    for weight, counts in (([0.0] * 3, [1, 1, 1]), ([0.0, 1.0, 0.0], [5, 0, 5])):
        given = {"weight": torch.tensor(weight), "class_counts": torch.tensor(counts)}
        with pytest.raises(ValueError, match="weight must be > 0 in a class with samples for normalization='expected'"):
            loss(logits, target, **given)
        assert loss(logits, target, **given, normalization="batch").isfinite()
        assert loss(logits, target, **given, reduction="sum").isfinite()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"label_rule": "mixap"}, ValueError,
            "label_rule must be one of mixup, mam, remix, unimix, cp_mix, got 'mixap'; did you mean 'mixup'?",
        ),
        (
            {"label_rule": 3}, TypeError,
            "label_rule must be a string, one of mixup, mam, remix, unimix, cp_mix, got 3",
        ),
        ({"margin_rule": "max"}, ValueError, "margin_rule must be one of fixed, maximum, got 'max'"),
        ({"normalization": "mean"}, ValueError, "normalization must be one of expected, weights, batch, got 'mean'"),
        ({"reduction": "average"}, ValueError, "reduction must be one of none, mean, sum, got 'average'"),
        ({"reduction": None}, TypeError, "reduction must be a string, one of none, mean, sum, got None"),
        ({"scale": 0}, ValueError, "scale must be finite and > 0, got 0.0"),
        ({"scale": -30.0}, ValueError, "scale must be finite and > 0, got -30.0"),
        ({"scale": float("nan")}, ValueError, "scale must be finite and > 0, got nan"),
        ({"scale": float("inf")}, ValueError, "scale must be finite and > 0, got inf"),
        ({"scale": 1e39}, ValueError, "scale must be at most 3.4e+38 in size, as float32 is, got 1e+39"),
        ({"omega": -1e39}, ValueError, "omega must be at most 3.4e+38 in size, as float32 is, got -1e+39"),
        ({"scale": "30"}, TypeError, "scale must be a number, got '30'"),
        ({"scale": [30.0]}, TypeError, "scale must be a number, got [30.0]"),
        ({"scale": True}, TypeError, "scale must be a number, got True"),
        ({"omega": float("nan")}, ValueError, "omega must be finite, got nan"),
        ({"kappa": 0.5}, ValueError, "kappa must be finite and >= 1, got 0.5"),
        ({"tau": 1.5}, ValueError, "tau must be within [0, 1], got 1.5"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing must be within [0, 1], got -0.1"),
        ({"label_smoothing": 1.1}, ValueError, "label_smoothing must be within [0, 1], got 1.1"),
        ({"focal_gamma": -1.0}, ValueError, "focal_gamma must be finite and >= 0, got -1.0"),
        (
            {"margin_rule": "maximum", "gamma": 1.0}, ValueError,
            "max_margin must be given for margin_rule='maximum', got None",
        ),
        (
            {"margin_rule": "maximum", "max_margin": 1.0}, ValueError,
            "gamma must be given for margin_rule='maximum', got None",
        ),
        ({**MAXIMUM, "max_margin": -1.0}, ValueError, "max_margin must be finite and >= 0, got -1.0"),
        ({**MAXIMUM, "gamma": float("inf")}, ValueError, "gamma must be finite and >= 0, got inf"),
        ({**MAXIMUM, "compat": "official"}, ValueError, "compat must be None or 'batch_first_label', got 'official'"),
        (
            {"max_margin": 0.5}, ValueError,
            ("max_margin must be left out for margin_rule='fixed', got 0.5; pass the margins themselves as "
            "margin, or set margin_rule='maximum'"),
        ),
        ({"gamma": 0.5}, ValueError, "gamma must be left out for margin_rule='fixed', got 0.5"),
        (
            {"compat": "batch_first_label"}, ValueError,
            "compat must be left out for margin_rule='fixed', got 'batch_first_label'",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_settings(loss, options, error, message):
    refuses(loss, error, message, **options)


def test_arguments_after_the_labels_are_named(loss):
    with pytest.raises(TypeError, match="takes 2 positional arguments"):
        loss(LOGITS, TARGET, TARGET, 0.5)


def test_vectors_of_every_kind_mean_the_same(loss):
    values = [3.0, 1.0, 2.0]
    exact = loss(LOGITS, TARGET, weight=torch.tensor(values), class_counts=[3, 1, 2])
    for weight in (values, tuple(values), np.array(values), np.array([3, 1, 2]), torch.tensor(values).double()):
        for counts in ([3, 1, 2], ClassCounts([3, 1, 2]), np.array([3, 1, 2]), torch.tensor([3, 1, 2])):
            assert loss(LOGITS, TARGET, weight=weight, class_counts=counts) == exact


def test_a_vector_that_changed_is_read_again(loss):
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    target = torch.tensor([0])
    margin = torch.zeros(3)
    before = loss(logits, target, margin=margin)
    margin.fill_(1.0)
    assert loss(logits, target, margin=margin) > before
    margin[1] = torch.nan
    with pytest.raises(ValueError, match="margin must be finite and >= 0 in every class, got nan for class 1"):
        loss(logits, target, margin=margin)
    array = np.zeros(3)
    assert loss(logits, target, margin=array) == before
    array[:] = 1.0
    assert loss(logits, target, margin=array) > before


def test_a_vector_that_came_to_want_a_gradient_is_refused(loss):
    margin, logits = torch.ones(3), LOGITS.clone().requires_grad_()
    loss(logits, TARGET, margin=margin)
    margin.requires_grad_()
    with pytest.raises(ValueError, match="margin must not require a gradient"):
        loss(logits, TARGET, margin=margin)


@needs_library
def test_the_op_itself_refuses_what_would_read_outside():
    op, numbers = torch.ops.lt_fast.mixed_margin_loss, (0.5, 0.25, 3.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0)

    def call(*, logits=LOGITS, target=TARGET, margin=None, lam=None, target_b=None, label_rule=0):
        vectors = [] if margin is None else [margin]
        return op(logits, target, target_b, lam, None, vectors, numbers, label_rule | 1 << 7 | len(vectors) << 10)

    for options, error, message in [
        ({"target": torch.tensor([0, 1, 2, 3])}, REFUSAL, "target must lie in [0, 3), got 3 at position 3"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, RuntimeError, "target must be an int64 tensor of shape (N,)"),
        ({"target": torch.zeros(4)}, RuntimeError, "target must be an int64 tensor of shape (N,)"),
        ({"margin": torch.zeros(2)}, RuntimeError, "margin must have 3 elements, got 2"),
        (
            {"margin": torch.zeros(3).double()}, RuntimeError,
            "margin must be contiguous, on the logits' device, and float64 for float64 logits",
        ),
        ({"logits": torch.zeros(4, 1)}, RuntimeError, "logits must have at least 2 classes, got 1"),
        (
            {"logits": torch.zeros(4, 3, dtype=torch.int64)}, RuntimeError,
            "logits must be float32, float64, float16 or bfloat16",
        ),
        ({"lam": torch.ones(())}, RuntimeError, "target_b and lam must be given together"),
        (
            {"lam": torch.ones(()), "target_b": TARGET, "label_rule": 1}, RuntimeError,
            "class_counts must be given for a label rule",
        ),
    ]:  # fmt: skip
        with pytest.raises(error, match=re.escape(message)):
            call(**options)


def test_a_device_without_a_kernel_gets_the_reference_and_one_warning(monkeypatch):
    monkeypatch.setattr(libraries, "BACKEND", "reference")
    monkeypatch.setattr(libraries, "FORCED", None)
    monkeypatch.setattr(libraries, "MISSING", {"cpu": "it was not built"})
    monkeypatch.setattr(libraries, "_warned", set())
    with pytest.warns(
        RuntimeWarning, match=r"plain torch computes it, several times slower: it was not built"
    ) as caught:
        first = ops.mixed_margin_loss(LOGITS, TARGET)
    assert len(caught) == 1
    second, prediction = ops.mixed_margin_loss(LOGITS, TARGET, return_prediction=True)  # a second warning is an error
    assert first == second == reference.mixed_margin_loss(LOGITS, TARGET)
    assert prediction.tolist() == [0, 0, 0, 0]


def test_a_forced_backend_does_not_fall_back(monkeypatch):
    monkeypatch.setattr(libraries, "BACKEND", "cpu")
    monkeypatch.setattr(libraries, "FORCED", "cpu")
    with pytest.raises(ValueError, match=r"logits must be on a device that LT_FAST_BACKEND=cpu serves, got 'meta'"):
        ops.mixed_margin_loss(LOGITS.to("meta"), TARGET.to("meta"))


VECTORS = {"class_counts": [50, 5, 1], "weight": [1.0, 2.0, 4.0], "margin": [0.1, 0.2, 0.5], "bias": [0.3, -0.5, 0.1]}
every_vector = pytest.mark.parametrize("name", list(VECTORS))


@every_vector
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_vectors_that_name_their_classes_are_put_in_their_order(loss, name, order):
    pandas = pytest.importorskip("pandas")
    values = VECTORS[name]
    expected = loss(LOGITS, TARGET, **VECTORS)
    named = {at: values[at] for at in order}
    for logits in (LOGITS, LOGITS.clone().requires_grad_()):
        for given in (named, pandas.Series(named), pandas.Series(named).astype(object)):
            assert torch.equal(loss(logits, TARGET, **{**VECTORS, name: given}).detach(), expected)


@every_vector
def test_vectors_that_name_other_classes_are_refused(loss, name):
    pandas = pytest.importorskip("pandas")
    sort, shift = ".sort_index().to_numpy()", "the labels start at 1: subtract 1"
    for index, hint in (([0, 1, 3], sort), ([1, 2, 3], shift), ([0, 0, 1], sort), (["a", "b", "c"], sort)):
        series = pandas.Series(VECTORS[name], index=index)
        refuses(loss, ValueError, f"{name} must be in the order of the classes", **{**VECTORS, name: series})
        refuses(loss, ValueError, hint, **{**VECTORS, name: series})
    named = dict(zip("abc", VECTORS[name], strict=True))
    refuses(loss, ValueError, f"{name} must be in the order of the classes", **{**VECTORS, name: named})


@every_vector
def test_masked_vectors_are_refused(loss, name):
    masked = np.ma.masked_array(VECTORS[name], mask=[False, False, True])
    refuses(loss, ValueError, f"{name} must have no masked entry, got 1, the first at position 2", **{name: masked})
    whole = np.ma.masked_array(VECTORS[name])
    assert torch.equal(loss(LOGITS, TARGET, **{**VECTORS, name: whole}), loss(LOGITS, TARGET, **VECTORS))


@pytest.mark.parametrize("name", ["lam", "sample_weight"])
def test_masked_factors_are_refused(loss, name):
    masked = np.ma.masked_array([0.5, 0.5, 0.5, 0.5], mask=[True, False, False, True])
    message = f"{name} must have no masked entry, got 2, the first at position 0"
    refuses(loss, ValueError, message, **{**MIXED, name: masked})
    assert loss(LOGITS, TARGET, **{**MIXED, name: masked.filled(0.5)}).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_lists_of_tensors_of_every_dtype_are_taken(loss, dtype):
    values = torch.tensor([1.25, 2.5, 4.0]).to(dtype)
    for name in ("weight", "margin", "bias"):
        expected = loss(LOGITS, TARGET, **{**VECTORS, name: values})
        assert torch.equal(loss(LOGITS, TARGET, **{**VECTORS, name: list(values)}), expected)


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda values: {at: values[at] for at in (2, 0, 1)}])
def test_vectors_of_every_form_compile_in_one_graph(loss, form):
    vectors = {name: form(values) for name, values in VECTORS.items()}
    torch._dynamo.reset()
    compiled = torch.compile(lambda logits: loss(logits, TARGET, **vectors), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(LOGITS), loss(LOGITS, TARGET, **VECTORS))


@pytest.mark.parametrize("name", ["weight", "lam"])
def test_masked_arrays_are_refused_where_a_graph_is_compiled_too(loss, name):
    size = 4 if name == "lam" else 3
    masked = np.ma.masked_array([0.5] * size, mask=[True] + [False] * (size - 1))
    options = {**MIXED, "class_counts": [3, 2, 1], name: masked}
    torch._dynamo.reset()
    compiled = torch.compile(lambda logits: loss(logits, TARGET, **options), backend="eager")
    with pytest.raises(ValueError, match=f"{name} must have no masked entry"):
        compiled(LOGITS)
