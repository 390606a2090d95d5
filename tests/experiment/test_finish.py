"""A method's second stage is part of what is measured, when the run ends and when it is evaluated again."""

import pytest
import torch
from safetensors.torch import load_file

from lt_fast import experiment, registry
from lt_fast.methods import Classification


class Shifted(Classification):
    """Makes the rarest class more likely after the training."""

    def finish(self, data):
        with torch.no_grad():
            self.model.head.bias[data.class_counts.counts.argmin()] += 100


@pytest.fixture
def shifted():
    registry.register("method", "shifted")(Shifted)
    yield "shifted"
    registry.METHODS.forget("shifted")


def test_an_evaluation_repeats_the_second_stage(shifted, tmp_path):
    config = experiment.resolve("ce", "digits-lt", {"method": shifted, "epochs": 1}, seed=0)
    result = experiment.run(config, tmp_path / "run", progress=False)
    predictions = load_file(tmp_path / "run" / "predictions.safetensors")
    assert set(predictions["logits"].argmax(1).tolist()) == {9}
    assert experiment.evaluate_run(tmp_path / "run")["metrics"] == result["metrics"]
