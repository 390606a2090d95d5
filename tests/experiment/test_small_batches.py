"""A last batch that is too small for batch norm: refused where torch refuses it, named where numbers overflow."""

import pytest
from PIL import Image

from experiment.photographs import COUNTS, write_photographs
from lt_fast import ClassCounts, experiment
from lt_fast.errors import UsageError
from lt_fast.experiment.small_batches import last_batch_named

SHORT = {"transform.size": 8, "transform.augment": "light", "model.weights": None, "epochs": 2}


def trained(photographs, folder, **settings):
    """Train on the 18 training images of 28 photographs."""
    config = experiment.resolve(
        "ce",
        "photographs",
        {**SHORT, **settings},
        data_options={"path": str(photographs)},
        mode="scratch",
        model="experiment.photographs:DeepNorms",
    )
    return experiment.run(config, folder, progress=False, workers=0)


def test_a_batch_of_one_image_is_refused_in_words(tmp_path):
    photographs = write_photographs(tmp_path / "photos")
    with pytest.raises(UsageError) as caught:
        trained(photographs, tmp_path / "run", batch_size=17)
    assert str(caught.value) == (
        "batch_size must leave more than 1 image for the last batch of an epoch, got 17 with 18 training images: batch "
        "norm has one value per channel there; leave it out with --set drop_last=true, or give another --set batch_size"
    )
    assert not (tmp_path / "run").exists()
    result = trained(photographs, tmp_path / "run", batch_size=17, drop_last=True)  # as it was told
    assert result["config"]["batch_size"] == 17


def test_numbers_that_overflow_in_a_batch_of_two_name_it(tmp_path):
    """Images that are all alike have no variance, and their gradient is multiplied by 316 in each batch norm."""
    for name, count in COUNTS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (20, 20 + number), (120, 120, 200)).save(tmp_path / "photos" / name / f"{number}.png")
    with pytest.raises(
        FloatingPointError,
        match=r"must stay finite, got .*\. The last batch of an epoch has 2 images: batch norm over few or equal "
        r"values can make gradients overflow; leave it out with --set drop_last=true, or give another --set batch",
    ):
        trained(tmp_path / "photos", tmp_path / "run", batch_size=16)


@pytest.mark.parametrize(
    ("batch_size", "sampler"),
    [
        (9, {"drop_last": False}),
        (10, {"drop_last": False}),
        (16, {"drop_last": True}),
        (16, {}),
        (18, {"drop_last": False}),
        (64, {"drop_last": False}),
    ],
)
@pytest.mark.parametrize("error", [FloatingPointError("loss"), ValueError("Expected more than 1 value per channel")])
def test_other_errors_stay_as_they_are(batch_size, sampler, error):
    with (
        pytest.raises(type(error)) as caught,
        last_batch_named({"batch_size": batch_size, "sampler": sampler}, ClassCounts([10, 8])),
    ):
        raise error
    assert caught.value is error
