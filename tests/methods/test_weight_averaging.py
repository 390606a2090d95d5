"""``WeightAveraging``: the average by hand, what is saved and what is trained."""

import copy

import pytest
import torch
from torch import nn

from lt_fast.batch import Batch
from lt_fast.methods import Classification, WeightAveraging


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"train": Batch(views=(torch.randn(6, 3, generator=generator),), target=torch.tensor([0, 1, 0, 1, 1, 0]))}


def test_the_average_follows_the_weights_by_the_formula():
    method = WeightAveraging(Classification(network(), PlainLoss()), 0.9)
    wanted = copy.deepcopy(method.model.state_dict())
    optimizer = torch.optim.SGD([each for each in method.parameters() if each.requires_grad], lr=0.5)
    for step in range(12):
        keep = min(0.9, (1 + step) / (10 + step))
        for name, tensor in method.trained.model.state_dict().items():
            if tensor.is_floating_point():
                wanted[name] = keep * wanted[name] + (1 - keep) * tensor
        optimizer.zero_grad()
        method.train().training_step(batch(step)).loss.backward()
        optimizer.step()
    for name, tensor in wanted.items():
        if tensor.is_floating_point():
            assert torch.allclose(method.model.state_dict()[name], tensor, atol=1e-6), name
    x = batch(0)["train"].x
    assert torch.equal(method.eval().predict(x), method.model(x))
    assert not torch.equal(method.model[0].weight, method.trained.model[0].weight)


class PlainLoss(nn.Module):
    def forward(self, logits, target, target_b=None, lam=None):
        return nn.functional.cross_entropy(logits, target)


def test_a_state_dict_brings_everything_back():
    made = [WeightAveraging(Classification(network(), PlainLoss()), 0.5) for _ in range(2)]
    for step in range(3):
        made[0].train().training_step(batch(step))
    made[1].train().training_step(batch(7))  # counted, and to be forgotten
    made[1].load_state_dict(made[0].state_dict())
    assert int(made[1].steps) == 3
    with torch.no_grad():
        for each in made:
            each.trained.model[0].weight.add_(1)
    for each in made:
        each.train().training_step(batch(4))
    assert [int(each.steps) for each in made] == [4, 4]
    assert torch.equal(made[0].model[0].weight, made[1].model[0].weight)
    x = batch(1)["train"].x
    assert torch.equal(made[0].eval().predict(x), made[1].eval().predict(x))


def test_only_what_is_trained_requires_a_gradient():
    method = WeightAveraging(Classification(network(), PlainLoss()), 0.5)
    assert {name.partition(".")[0] for name, each in method.named_parameters() if each.requires_grad} == {"trained"}
    method.train()
    assert not method.model.training
    assert method.trained.model.training


def test_first_weights_are_those_of_both_networks():
    method = WeightAveraging(Classification(network(), PlainLoss()), 0.5)
    other = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    method.begin_with(other)
    for model in (method.model, method.trained.model):
        assert all(torch.equal(tensor, other[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_wrong_decay_is_named(decay):
    with pytest.raises(ValueError, match="averaging must lie in"):
        WeightAveraging(Classification(network(), PlainLoss()), decay)
