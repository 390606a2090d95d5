import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.training import cosine, epoch_at, multistep


def test_multistep_is_ldams_schedule_at_200_epochs():
    rate = multistep(0.1, epochs=200)
    for epoch in range(200):
        assert rate(epoch, 17, 97) == pytest.approx(reference.ldam_drw_learning_rate(epoch), rel=1e-12), epoch


def test_multistep_golden_values():
    rate = multistep(0.1, epochs=200)
    golden = {0: 0.02, 1: 0.04, 3: 0.08, 4: 0.1, 5: 0.1, 159: 0.1, 160: 1e-3, 179: 1e-3, 180: 1e-5, 199: 1e-5}
    assert {epoch: rate(epoch, 0, 1) for epoch in golden} == pytest.approx(golden, rel=1e-12)


def test_multistep_keeps_its_shape_at_20_epochs():
    rates = [multistep(0.1, epochs=20, warmup=0.1)(epoch, 0, 1) for epoch in range(20)]
    assert rates == pytest.approx([0.05] + [0.1] * 15 + [1e-3] * 2 + [1e-5] * 2, rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_training_of_few_epochs_starts_at_the_base_rate(epochs):
    assert multistep(0.1, epochs=epochs)(0, 0, 1) == 0.1


def test_multistep_without_milestones_is_constant():
    rate = multistep(0.3, epochs=7, milestones=(), warmup=0)
    assert {rate(epoch, step, 5) for epoch in range(7) for step in range(5)} == {0.3}


def test_multistep_takes_any_milestones():
    rate = multistep(1.0, epochs=10, milestones=(0.3, 0.5, 0.7), factor=0.1, warmup=0)
    wanted = [1] * 3 + [0.1] * 2 + [0.01] * 2 + [0.001] * 3
    assert [rate(epoch, 0, 1) for epoch in range(10)] == pytest.approx(wanted, rel=1e-12)


@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.floats(0, 0.9),
    st.floats(0, 0.1),
    st.floats(0, 0.1),
)
def test_cosine_equals_the_reference_at_every_step(epochs, steps, warmup, final, start):
    rate = cosine(0.1, epochs=epochs, final=final, warmup=warmup, warmup_start=start)
    total = epochs * steps
    for done in range(total):
        wanted = reference.cosine_learning_rate(
            done,
            total,
            base=0.1,
            final=final,
            warm_steps=warmup * total,
            warmup_start=start,
        )
        assert rate(done // steps, done % steps, steps) == pytest.approx(min(0.1, wanted), rel=1e-9, abs=1e-15)


def test_cosine_golden_values():
    rate = cosine(0.05, epochs=10)
    assert [rate(epoch, 0, 4) for epoch in (0, 5)] == pytest.approx([0.05, 0.025], rel=1e-12)
    assert 0 < rate(9, 3, 4) < 1e-4
    warm = cosine(0.1, epochs=10, warmup=0.2, warmup_start=0.05)
    assert [warm(0, 0, 1), warm(1, 0, 1), warm(2, 0, 1), warm(6, 0, 1)] == pytest.approx([0.075, 0.1, 0.1, 0.05])


def test_epoch_at_is_the_nearest_boundary():
    assert [epoch_at(0.8, epochs) for epochs in (200, 20, 5, 3, 2, 1)] == [160, 16, 4, 2, 2, 1]
    assert [epoch_at(0.7, 10), epoch_at(0.5, 3), epoch_at(0.0, 9), epoch_at(1.0, 9)] == [7, 2, 0, 9]


@pytest.mark.parametrize("schedule", [multistep, cosine])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": 0}, r"base must be finite and > 0, got 0"),
        ({"base": math.nan}, r"base must be finite and > 0, got nan"),
        ({"base": math.inf}, r"base must be finite and > 0, got inf"),
        ({"epochs": 0}, r"epochs must be >= 1, got 0"),
        ({"warmup": 5}, r"warmup must lie in \[0, 1\), got 5.*; a fraction of the training: 5 of 200 epochs is 0.025"),
        ({"warmup": -0.1}, r"warmup must lie in \[0, 1\), got -0.1"),
        ({"warmup": math.nan}, r"warmup must lie in \[0, 1\), got nan"),
    ],
)
def test_shared_errors(schedule, arguments, message):
    arguments = {"base": 0.1, "epochs": 10} | arguments
    with pytest.raises(ValueError, match=message):
        schedule(arguments.pop("base"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"milestones": (160, 180)}, r"milestones must be fractions .* in \(0, 1\], got 160; epoch 160 of 200 is 0.8"),
        ({"milestones": (0.0,)}, r"milestones must be fractions of the training in \(0, 1\], got 0.0"),
        ({"milestones": (0.9, 0.8)}, r"milestones must increase, got \(0.9, 0.8\)"),
        ({"milestones": (0.5, 0.5)}, r"milestones must increase, got \(0.5, 0.5\)"),
        ({"factor": 0}, r"factor must lie in \(0, 1\], got 0; LDAM-DRW uses 0.01"),
        ({"factor": 10}, r"factor must lie in \(0, 1\], got 10"),
    ],
)
def test_multistep_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        multistep(0.1, epochs=10, **arguments)


@pytest.mark.parametrize("name", ["final", "warmup_start"])
def test_cosine_errors(name):
    with pytest.raises(ValueError, match=rf"{name} must lie in \[0, base = 0.1\], got 0.2"):
        cosine(0.1, epochs=10, **{name: 0.2})


@pytest.mark.parametrize("schedule", [multistep, cosine])
def test_schedules_of_extreme_lengths(schedule):
    assert 0 <= schedule(0.1, epochs=2**53)(2**53 - 1, 0, 1) <= 0.1
    for epochs in (2**53 + 1, 10**400):
        with pytest.raises(ValueError, match=r"epochs must be <= 2\*\*53, got"):
            schedule(0.1, epochs=epochs)
    for epochs in (10.0, True, "10"):
        with pytest.raises(TypeError, match="epochs must be an integer, got"):
            schedule(0.1, epochs=epochs)
