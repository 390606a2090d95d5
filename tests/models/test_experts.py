"""Networks of several experts: what they share, where they differ, their mean, and every refusal."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lt_fast import models
from lt_fast.calibration import weight_norm
from lt_fast.errors import UsageError
from lt_fast.models import ExpertHeads, MultiExpert, adapt, digits_net, resnet32
from lt_fast.models.splitting import split_at

HEADS = pytest.mark.parametrize("head", ["linear", "cosine"])


def images(rows=4, channels=1, size=8):
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(0))


@HEADS
def test_the_logits_are_the_mean_of_the_experts(head):
    model, x = digits_net(5, head=head, experts=3, expert_width=0.75).eval(), images()
    each, features = model(x, each=True), model.features(x)
    assert isinstance(model, MultiExpert)
    assert model.num_experts == 3
    assert each.shape == (4, 3, 5)
    assert features.shape == (4, 3 * 48)
    torch.testing.assert_close(model(x), each.mean(1))
    assert torch.equal(model(x), model.head(features))
    alone = [model.head.experts[e](model.experts[e](model.shared(x))) for e in range(3)]
    torch.testing.assert_close(each, torch.stack(alone, 1))
    torch.testing.assert_close(model.head.flattened()(features), model(x))
    assert model.head.weight.shape == (5, 144)
    assert weight_norm(model.head).shape == (5,)
    if head == "cosine":
        torch.testing.assert_close(features.unflatten(1, (3, 48)).norm(dim=2), torch.ones(4, 3))


def test_one_expert_is_the_usual_network():
    plain, x = digits_net(5, seed=3).eval(), images()
    assert isinstance(digits_net(5, seed=3, experts=1), models.DigitsNet)
    assert plain.num_experts == 1
    assert torch.equal(plain(x, each=True), plain(x)[:, None])


def test_a_resnet_has_the_widths_of_the_authors():
    model = resnet32(100, head="cosine", experts=3, expert_width=0.75)
    widths = [[part.out_channels for part in body.modules() if isinstance(part, nn.Conv2d)] for body in model.experts]
    assert widths == [[24] * 10 + [48] * 10] * 3
    shared = [part.out_channels for part in model.shared.modules() if isinstance(part, nn.Conv2d)]
    assert shared == [16] * 11
    assert model(images(2, 3, 16)).shape == (2, 100)


@HEADS
def test_weights_are_a_function_of_the_seed_and_differ_between_experts(head):
    first, again, other = (digits_net(4, head=head, experts=2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["shared.0.weight"], other["shared.0.weight"])
    for part in ("experts.{}.0.weight", "head.experts.{}.weight"):
        assert not torch.equal(first[part.format(0)], first[part.format(1)])


def test_the_global_generator_is_not_moved():
    before = torch.random.get_rng_state()
    adapt("torchvision:resnet18", 3, experts=2, expert_width=0.5, input_size=(3, 32, 32))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_shares_of_the_experts():
    heads = ExpertHeads(3, "linear", 4, 2)
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    heads.set_share(torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 3.0]]))
    expected = (heads.each(x) * torch.tensor([[0.25, 0.0], [0.25, 0.0], [0.5, 1.0]])[None]).sum(1)
    torch.testing.assert_close(heads(x), expected)
    torch.testing.assert_close(heads.flattened()(x), heads(x))
    heads.set_share(torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(heads(x), heads.experts[1](x[:, 4:8]))
    other = ExpertHeads(3, "linear", 4, 2)
    other.load_state_dict(heads.state_dict())
    assert torch.equal(other(x), heads(x))
    with pytest.raises(ValueError, match=r"share must have shape \(3,\) or \(3, 2\), got \(2,\)"):
        heads.set_share(torch.ones(2))
    for wrong in ([1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [torch.nan, 1.0, 1.0]):
        with pytest.raises(ValueError, match="share must be finite, >= 0, and > 0 for one expert of each class"):
            heads.set_share(torch.tensor(wrong))


@pytest.mark.parametrize(("name", "head"), [("torchvision:resnet18", "cosine"), ("timm:resnet18", "linear")])
def test_resnets_of_the_libraries_are_split(name, head):
    size = (3, 32, 32)
    plain = adapt(name, 3, head=head, input_size=size, seed=4).eval()
    model = adapt(name, 3, head=head, input_size=size, seed=4, experts=2).eval()
    x = images(2, 3, 32)
    own = plain.features(x)
    own = F.normalize(own, dim=1) if head == "cosine" else own
    torch.testing.assert_close(model.features(x)[:, :512], own, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(x, each=True)[:, 0], model(x, each=True)[:, 1])
    assert model.preset == plain.preset
    F.cross_entropy(model.train()(x), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_given_weights_are_every_experts_and_narrower_stages_are_new():
    size = (3, 32, 32)
    weights = adapt("torchvision:resnet18", 3, seed=9, input_size=size).backbone.state_dict()
    full = {**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    model = adapt("torchvision:resnet18", 3, weights=full, input_size=size, experts=2)
    state = model.state_dict()
    late = [name for name in state if name.startswith("experts.0.")]
    assert all(torch.equal(state[name], state[name.replace("experts.0", "experts.1")]) for name in late)
    assert torch.equal(state["shared.0.weight"], weights["conv1.weight"])
    narrow = adapt("torchvision:resnet18", 3, input_size=size, experts=2, expert_width=0.75)
    assert narrow.head.weight.shape == (3, 2 * 384)


def test_every_refusal():
    with pytest.raises(ValueError, match="experts must be >= 1, got 0"):
        digits_net(3, experts=0)
    with pytest.raises(ValueError, match=r"expert_width must be 1 for one expert, got 0.5; give experts=3"):
        resnet32(3, expert_width=0.5)
    with pytest.raises(ValueError, match=r"expert_width must .*, got 0"):
        resnet32(3, experts=2, expert_width=0.0)
    small = {"experts": 2, "input_size": (3, 32, 32)}
    with pytest.raises(UsageError, match=r"split must name a part of ResNet after its first, bn1, .*got 'layer9'"):
        adapt("torchvision:resnet18", 3, split="layer9", **small)
    with pytest.raises(UsageError, match="head must be linear or cosine for 2 experts, got 'own'"):
        adapt("torchvision:resnet18", 1000, head="own", **small)
    with pytest.raises(UsageError, match=r"experts must be 1 for a DigitsNet, which is made already, got 2"):
        adapt(digits_net(3), 3, experts=2)
    with pytest.raises(UsageError, match="expert_width must be 1 with weights"):
        adapt("torchvision:resnet18", 3, weights={}, expert_width=0.5, **small)
    with pytest.raises(UsageError, match=r"expert_width must be 1 for .*: only the ResNets of torchvision"):
        adapt("timm:resnet18", 3, expert_width=0.5, **small)

    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return x + self.b(self.a(x))

    with torch.random.fork_rng(), pytest.raises(UsageError, match="must call its parts one after the other"):
        split_at(Skips(), "b", torch.ones(2, 4))


def test_a_copy_is_a_network_of_its_own():
    model = digits_net(3, experts=2)
    assert torch.equal(copy.deepcopy(model).eval()(images()), model.eval()(images()))
