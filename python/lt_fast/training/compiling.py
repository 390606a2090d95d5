"""``torch.compile`` for the networks of a method, for the steps of a training."""

import copy
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.training.graphs import reason_of
from lt_fast.training.step_runner import BeforeBackward, StepRunner

_NETWORK = "model"


def check_compiler(compiler: str | None) -> None:
    """Raise unless ``torch.compile`` has such a backend.

    Raises:
        ValueError: naming those that it has.
    """
    if compiler is not None:
        import torch._dynamo  # noqa: PLC0415  (takes a second)

        _checks.choice("compiler", compiler, torch._dynamo.list_backends(exclude_tags=()))  # noqa: SLF001


def networks_of(method: nn.Module) -> list[nn.Module]:
    """Return the networks of a method: what it and the methods inside it call ``model``, not what is inside those."""
    found: list[nn.Module] = []
    for name, child in method.named_children():
        found += [child] if name == _NETWORK else networks_of(child)
    return found


@contextmanager
def compiled(method: nn.Module, compiler: str | None, *, amp: bool = False) -> Iterator["Networks"]:
    """Compile the networks of ``method`` inside; afterwards they are as before.

    A network compiles when it is called. Its state dict, its parts and ``type(network)`` stay what they are.
    """
    networks = Networks(method, networks_of(method) if compiler is not None else [], amp=amp)
    try:
        if compiler is not None:
            networks.compile(compiler)
        yield networks
    finally:
        networks.give_up()


class Networks:
    """The compiled networks of a method.

    Args:
        method: whose first step is tried.
        compiled: its networks.
        amp: try the step under bfloat16 autocast.
    """

    def __init__(self, method: nn.Module, compiled: list[nn.Module], *, amp: bool = False) -> None:
        self.method, self.compiled, self._amp = method, compiled, amp

    def compile(self, compiler: str) -> None:
        """Compile each network when it is called; the full batch and the last short one are all shapes there are."""
        # `network.compile` compiles no network whose class is one of torch's own, such as a Sequential.
        self._set([torch.compile(_call_of(each), backend=compiler, dynamic=False) for each in self.compiled])

    def tried_first(self, runner: StepRunner) -> StepRunner:
        """Return ``runner``, which before its first step tries whether the networks can be compiled, if any are."""
        return _TriedFirst(self, runner) if self.compiled else runner

    @contextmanager
    def as_they_are(self) -> Iterator[None]:
        """Run the networks operation by operation inside."""
        calls = [network._compiled_call_impl for network in self.compiled]  # noqa: SLF001
        self._set([None] * len(calls))
        try:
            yield
        finally:
            self._set(calls)

    def give_up(self) -> None:
        """Run the networks operation by operation from now on."""
        self._set([None] * len(self.compiled))
        self.compiled = []

    def attempt(self, batches: Mapping[str, Batch]) -> None:
        """Compute forward and backward pass of a step, and leave the method as it was; give up if it fails.

        Part of the backward pass is compiled when it is first run, so that nothing less finds every failure.
        """
        state = copy.deepcopy(self.method.state_dict())
        device = next(iter(batches.values())).x.device
        drawn_on = [device] if device.type == "cuda" else []
        try:
            # What layers draw here is drawn again by the step itself.
            with torch.random.fork_rng(drawn_on), torch.autocast(device.type, torch.bfloat16, enabled=self._amp):
                loss = self.method(batches).loss
            loss.backward()
        except Exception as error:  # noqa: BLE001  (a compiler raises anything; a fault of the method comes again)
            self.give_up()
            warnings.warn(f"the network is not compiled: {_reason(error)}", stacklevel=5)
        finally:
            self.method.load_state_dict(state)
            self.method.zero_grad()

    def _set(self, calls: list[Any]) -> None:
        for network, call in zip(self.compiled, calls, strict=True):
            network._compiled_call_impl = call  # noqa: SLF001  (torch has no public way back)


class _TriedFirst:
    """A step runner whose first step is tried on the same batches."""

    def __init__(self, networks: Networks, runner: StepRunner) -> None:
        self._networks, self._runner = networks, runner
        self._tried = False
        self.moved = runner.moved

    def __call__(
        self, batches: Mapping[str, Batch], *, phase: Hashable, rate: float, weight: float, check: BeforeBackward
    ) -> Any:
        if not self._tried:
            self._tried = True
            self._networks.attempt(batches)
        return self._runner(batches, phase=phase, rate=rate, weight=weight, check=check)


def _call_of(network: nn.Module) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        # Not the network's call, which would begin here again.
        return network._call_impl(*arguments, **keywords)  # type: ignore[no-untyped-call]  # noqa: SLF001

    return call


def _reason(error: BaseException) -> str:
    """Return what went wrong first, not the layers of the compiler that tell it."""
    inner = getattr(error, "inner_exception", None) or error.__cause__
    return reason_of(error) if inner is None else _reason(inner)
