"""SGD without weight decay on batch norm: one step by hand, groups, a training that resumes bit-identically."""

import copy

import pytest
import torch
from torch import nn

from lt_fast import experiment
from lt_fast.models import digits_net
from lt_fast.registry import OPTIMIZERS
from lt_fast.training.undecayed_norms import SGDNoNormDecay


def stepped(optimizer_of):
    model = digits_net(4, seed=0)
    model(torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))).square().mean().backward()
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer_of(model.parameters()).step()
    return before, dict(model.named_parameters())


def test_a_step_decays_weights_alone():
    before, after = stepped(lambda each: SGDNoNormDecay(each, lr=0.1, momentum=0.9, weight_decay=0.5))
    for name, weight in before.items():
        model = after[name]
        decay = 0.5 * weight.detach() if weight.ndim > 1 else 0.0
        torch.testing.assert_close(model.detach(), weight.detach() - 0.1 * (model.grad + decay))


def test_groups_keep_their_own_settings():
    weight, offset = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [weight], "lr_scale": 0.5}, {"params": [offset], "weight_decay": 0.3}]
    made = SGDNoNormDecay(groups, lr=0.1, weight_decay=0.2).param_groups
    assert [(group["weight_decay"], group.get("lr_scale")) for group in made] == [(0.2, 0.5), (0.0, None)]
    with pytest.raises(ValueError, match="empty parameter list"):
        SGDNoNormDecay([], lr=0.1)


def test_a_run_by_its_name_resumes_in_the_same_bits(tmp_path):
    assert OPTIMIZERS["sgd_no_norm_decay"] is SGDNoNormDecay
    settings = {"optimizer": "sgd_no_norm_decay", "momentum": 0.9, "weight_decay": 1e-3, "epochs": 2}
    config = experiment.resolve("ce", "digits-lt", settings, seed=1)
    whole = experiment.run(config, tmp_path / "a", progress=False)
    experiment.run(config, tmp_path / "b", progress=False)
    for path in [*(tmp_path / "b" / "checkpoints" / "epoch-0002").iterdir(), tmp_path / "b" / "result.json"]:
        path.unlink()
    (tmp_path / "b" / "checkpoints" / "epoch-0002").rmdir()
    assert experiment.run(config, tmp_path / "b", resume=True, progress=False)["metrics"] == whole["metrics"]
