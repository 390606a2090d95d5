"""What the last bits of a result depend on is recorded, and another environment is one warning."""

import pytest
import torch

from lt_fast import _processor as processor_module
from lt_fast.training import RunDirectory, cosine
from lt_fast.training import environment as module
from lt_fast.training.environment import environment
from training.tiny import tiny_fit

VARIABLES = [name for names in module._CHOSEN_BY_VARIABLES.values() for name in names]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def train(folder, epochs, *, resume):
    with RunDirectory(folder, {}, resume=resume) as run:
        tiny_fit(epochs=epochs, learning_rate=cosine(0.1, epochs=2), run=run, resume=resume)


def test_the_environment_names_processor_and_instructions():
    found = environment(torch.device("cpu"))
    assert found["torch CPU capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["threads"] == torch.get_num_threads()
    assert found["processor"]
    assert {found[name] for name in module._CHOSEN_BY_VARIABLES} == {None}
    assert "gpu" not in found


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_chooses_the_arithmetic_is_a_difference(tmp_path, monkeypatch, variable):
    train(tmp_path / "a", 1, resume=False)
    monkeypatch.setenv(variable, "avx2")
    with pytest.warns(UserWarning, match=r"^resumed elsewhere, the last bits may differ: .* was None and is 'AVX2'$"):
        train(tmp_path / "a", 1, resume=True)


@pytest.mark.parametrize("word", ["", "ALL", "default"])
def test_a_variable_that_asks_for_the_default_is_none(monkeypatch, word):
    before = environment(torch.device("cpu"))
    for variable in VARIABLES:
        monkeypatch.setenv(variable, word)
    assert environment(torch.device("cpu")) == before


def test_another_capability_processor_and_instruction_set_are_one_warning(tmp_path, monkeypatch):
    train(tmp_path / "a", 1, resume=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr(module, "processor", lambda: "another")
    monkeypatch.setattr(module.ops, "instruction_set", lambda: "portable")
    with pytest.warns(UserWarning, match="resumed elsewhere") as told:
        train(tmp_path / "a", 1, resume=True)
    (warning,) = told
    for words in ("op instruction set was", "processor was", "torch CPU capability was", "is 'DEFAULT'"):
        assert words in str(warning.message)


def test_the_same_environment_is_no_warning(tmp_path):
    train(tmp_path / "a", 1, resume=False)
    train(tmp_path / "a", 1, resume=True)


def test_two_processors_of_one_name_differ_in_their_instructions(tmp_path, monkeypatch):
    monkeypatch.setattr(processor_module, "Path", lambda _: tmp_path / "cpuinfo")
    for flags, words in (("fpu avx avx2", "EPYC avx avx2"), ("fpu avx", "EPYC avx")):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: EPYC\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
        assert processor_module.processor.__wrapped__() == words
    (tmp_path / "cpuinfo").unlink()
    assert processor_module.processor.__wrapped__() == "unknown"
