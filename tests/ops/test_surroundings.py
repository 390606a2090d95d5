"""What lies round a call changes nothing in it, and nothing of it stays: default devices, modes, NumPy's layouts."""

import warnings

import numpy as np
import pytest
import torch
from cases import needs_library
from torch._subclasses.fake_tensor import FakeTensorMode

from lt_fast import ops

TARGET = torch.tensor([0, 1, 2, 3, 4, 0])
COUNTS = torch.tensor([50.0, 20.0, 10.0, 5.0, 1.0], dtype=torch.float64)


def leaf(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize("vectors", [{}, {"class_counts": COUNTS, "weight": COUNTS}, {"margin": [0.1] * 5}])
def test_a_default_device_is_not_taken_for_the_logits(vectors):
    logits = leaf()
    with torch.device("meta"):
        found = ops.mixed_margin_loss(logits, TARGET, scale=2.5, **vectors)
    assert found.device.type == "cpu"
    assert torch.equal(found, ops.mixed_margin_loss(logits, TARGET, scale=2.5, **vectors))
    exact = ops.reference.mixed_margin_loss(logits, TARGET, scale=2.5, **vectors)
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_vector_first_seen_in_inference_mode_can_be_trained_with(dtype):
    bias, logits = COUNTS.log(), leaf(dtype)
    with torch.inference_mode():
        ops.mixed_margin_loss(logits, TARGET, bias=bias)
    ops.mixed_margin_loss(logits, TARGET, bias=bias, reduction="none").sum().backward()
    assert torch.isfinite(logits.grad).all()


@needs_library  # the reference reads values
def test_nothing_of_fake_tensors_stays():
    logits = leaf()
    with FakeTensorMode(allow_non_fake_inputs=True):
        ops.mixed_margin_loss(logits, TARGET, scale=3.75)
    found = ops.mixed_margin_loss(logits, TARGET, scale=3.75)
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, ops.reference.mixed_margin_loss(logits, TARGET, scale=3.75))


@pytest.mark.parametrize("at", ["lam", "sample_weight", "target", "target_b"])
def test_tensors_without_data_are_named(at):
    tensors = {
        "target": TARGET,
        "target_b": TARGET,
        "lam": torch.full((6,), 0.5),
        "sample_weight": torch.ones(6),
    }
    tensors[at] = tensors[at].to("meta")
    with pytest.raises(ValueError, match=f"{at} must be on the logits' device cpu, got meta"):
        ops.mixed_margin_loss(leaf(), **tensors)


@pytest.mark.parametrize("layout", ["reversed", "strided", "read-only", "big-endian"])
def test_numpy_arrays_of_any_layout(layout):
    numbers = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    forms = {
        "reversed": numbers[::-1].copy()[::-1],
        "strided": np.repeat(numbers, 2)[::2],
        "read-only": numbers.copy(),
        "big-endian": numbers.astype(">f8"),
    }
    forms["read-only"].setflags(write=False)
    given, plain = forms[layout], numbers.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ops.mixed_margin_loss(
            leaf(), TARGET, target_b=TARGET.flip(0), lam=given, sample_weight=given, margin=given[:5]
        )
    exact = ops.mixed_margin_loss(
        leaf(), TARGET, target_b=TARGET.flip(0), lam=plain, sample_weight=plain, margin=plain[:5]
    )
    assert torch.equal(found, exact)


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ({"scale": 10**400}, ValueError, "scale must be finite and > 0, got inf"),
        ({"omega": -(10**400)}, ValueError, "omega must be finite, got -inf"),
        ({"lam": 10**400, "target_b": TARGET}, ValueError, r"lam must lie in \[0, 1\], got inf"),
        ({"sample_weight": 10**400}, ValueError, "sample_weight must be finite and >= 0, got inf"),
        ({"margin": [10**400] * 5}, TypeError, "margin must be a vector of C numbers, got list"),
        ({"margin": np.array([1j] * 5)}, TypeError, "margin must be a vector of C numbers, got ndarray"),
    ],
    ids=["scale", "omega", "lam", "sample_weight", "margin", "complex"],
)
def test_numbers_beyond_floats_are_named(argument, error, message):
    with pytest.raises(error, match=message):
        ops.mixed_margin_loss(leaf(), TARGET, **argument)
