"""``torch.compile`` for the networks of a method: names, checkpoints and results stay, and what fails is told."""

import copy

import pytest
import torch
from torch import nn

from lt_fast.errors import Interrupted
from lt_fast.methods import Classification, WeightAveraging
from lt_fast.training import RunDirectory
from lt_fast.training.compiling import compiled, networks_of
from training.test_resume import signalling
from training.tiny import CLASSES, SIZE, TinyBatches, TinyLoss, all_state, same_bits, tiny_fit, tiny_model

BACKEND = "aot_eager"


def failing(graph, inputs):
    raise RuntimeError("no compiler on this machine.\nlook for one")


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def broken():
    torch._dynamo.register_backend(failing, name="broken")
    yield "broken"
    for known in (torch._dynamo.backends.registry._COMPILER_FNS, torch._dynamo.backends.registry._BACKENDS):
        known.pop("broken", None)


def close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_compiled_network_trains_to_the_same_weights_under_the_same_names():
    calls = []

    class Counting(nn.Sequential):
        def forward(self, x):
            calls.append(torch.compiler.is_compiling())
            return super().forward(x)

    model = Counting(*tiny_model())
    method, _ = tiny_fit(
        model, compiler=BACKEND, evaluate=lambda m: {"a": float(m.model(torch.zeros(1, 1, 5, 5)).sum())}
    )
    assert True in calls
    close(all_state(method), all_state(tiny_fit()[0]))
    assert type(method.model) is Counting
    assert method.model._compiled_call_impl is None
    copy.deepcopy(method)
    before = len(calls)
    method.model(torch.zeros(1, 1, 5, 5))
    assert calls[before:] == [False]


@pytest.mark.parametrize("first", [None, BACKEND])
def test_a_stopped_training_goes_on_with_and_without(first, tmp_path):
    second = BACKEND if first is None else None
    with RunDirectory(tmp_path / "a", {}) as run, pytest.raises(Interrupted):
        tiny_fit(batches=TinyBatches(before=signalling((1, 2))), run=run, compiler=first)
    with RunDirectory(tmp_path / "a", {}, resume=True) as run:
        method, _ = tiny_fit(run=run, resume=True, compiler=second)
        assert not any("_orig_mod" in name for name in run.checkpoints.newest().tensors["model"])
    close(all_state(method), all_state(tiny_fit()[0]))


def test_layers_draw_what_they_draw_without_it():
    def network():
        return nn.Sequential(*tiny_model()[:-1], nn.Dropout(0.5), tiny_model()[-1])

    same_bits(all_state(tiny_fit(network(), compiler="eager")[0]), all_state(tiny_fit(network())[0]))


def test_what_cannot_be_compiled_runs_as_it_is(broken):
    with pytest.warns(UserWarning, match=r"^the network is not compiled: no compiler on this machine$") as told:
        method, _ = tiny_fit(compiler=broken)
    assert len(told) == 1
    same_bits(all_state(method), all_state(tiny_fit()[0]))


def test_a_backward_pass_that_cannot_be_compiled_is_found_before_anything_changes(monkeypatch):
    from torch._dynamo.backends.common import aot_autograd

    def backward(graph, inputs):
        raise RuntimeError("no backward")

    late = aot_autograd(fw_compiler=lambda graph, _: graph, bw_compiler=backward)
    torch._dynamo.register_backend(late, name="late")
    with pytest.warns(UserWarning, match="the network is not compiled: no backward"):
        method, _ = tiny_fit(compiler="late")
    same_bits(all_state(method), all_state(tiny_fit()[0]))


def test_a_fault_of_the_method_is_told_as_it_is():
    class Faulty(TinyLoss):
        def forward(self, *_):
            raise ValueError("three is not two")

    with pytest.warns(UserWarning, match="three is not two"), pytest.raises(ValueError, match="three is not two"):
        tiny_fit(criterion=Faulty(), compiler=BACKEND)


def test_the_networks_of_a_method_are_found_once():
    inner = nn.Sequential()
    inner.add_module("model", nn.Linear(2, 2))
    method = Classification(inner, TinyLoss())
    assert networks_of(method) == [inner]
    averaged = WeightAveraging(method, 0.9)
    assert networks_of(averaged) == [averaged.model, inner]
    with compiled(averaged, BACKEND) as networks:
        assert all(network._compiled_call_impl is not None for network in networks.compiled)
        with networks.as_they_are():
            assert inner._compiled_call_impl is None
    assert inner._compiled_call_impl is None


def test_an_unknown_compiler_is_refused():
    with pytest.raises(ValueError, match=r"compiler must be one of .*, got 'inductr'; did you mean 'inductor'\?"):
        tiny_fit(compiler="inductr")


def small():
    """Matrix products alone, for which nothing is written in C++."""
    layer = nn.Linear(SIZE * SIZE, CLASSES, bias=False, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(0))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Skipping serialization of:UserWarning")  # of torch 2.6's own settings
def test_the_compiler_of_the_cpu_and_what_is_said_without_one(tmp_path, monkeypatch):
    import torch._inductor.config as settings

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with settings.patch({"compile_threads": 1, "cpp.cxx": (None, "no-such-compiler")}):
        with pytest.warns(UserWarning, match="the network is not compiled: .*C\\+\\+ compiler.*no-such-compiler"):
            method, _ = tiny_fit(compiler="inductor", epochs=1)
        same_bits(all_state(method), all_state(tiny_fit(epochs=1)[0]))
    torch._dynamo.reset()
    with settings.patch({"compile_threads": 1}):
        method, _ = tiny_fit(small(), compiler="inductor", epochs=1)
    close(all_state(method), all_state(tiny_fit(small(), epochs=1)[0]))
