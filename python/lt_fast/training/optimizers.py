"""Optimizers of ``torch.optim``: what a checkpoint records of them, and back."""

import copy
import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MakeOptimizer: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]
"""``optimizer(parameters)``: a class of ``torch.optim``, or ``functools.partial`` of one with its options."""

_NOT_SETTINGS = frozenset({"params", "lr", "initial_lr", "lr_scale", "fused", "foreach", "capturable"})
"""Entries of a parameter group that change during a training, or that only choose between equal implementations."""


def make_optimizer(make: MakeOptimizer, method: nn.Module) -> Optimizer:
    """Return the optimizer of every parameter of ``method`` that requires a gradient.

    Raises:
        ValueError: if there is none, the optimizer needs a closure or sparse state, or refuses its options.
        TypeError: if ``make`` returns something else.
    """
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(
            "method must have a parameter that requires a gradient, got none; requires_grad_(True) sets it"
        )
    optimizer = make(parameters)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if inspect.signature(type(optimizer).step).parameters["closure"].default is inspect.Parameter.empty:
        raise ValueError(f"optimizer must step without a closure, got {type(optimizer).__name__}; use SGD or AdamW")
    return optimizer


def give_momentum(optimizer: Optimizer) -> None:
    """Give every parameter of a fused SGD its momentum, 0 before the first gradient: the same numbers from then on.

    torch's kernel takes momentum for all parameters or for none, and fails where one gets its first gradient later than
    the others, such as a head that is trained in a second stage.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)


def settings_of(optimizer: Optimizer) -> dict[str, Any]:
    """Return the name and options of an optimizer, JSON values: what must be the same when a training resumes."""
    groups = [
        {name: _plain(value) for name, value in group.items() if name not in _NOT_SETTINGS}
        for group in optimizer.param_groups
    ]
    same = all(group == groups[0] for group in groups)
    return {"name": type(optimizer).__name__, **(groups[0] if same else {"groups": groups})}


def state_of(optimizer: Optimizer, method: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimizer's state: tensors as ``<parameter>.<name>``, and numbers by parameter and name.

    Raises:
        TypeError: if the state holds something else, naming it.
    """
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter_name, name, value in _entries(optimizer, method):
        if isinstance(value, Tensor):
            tensors[f"{parameter_name}.{name}"] = value
        elif value is None or isinstance(value, bool | int | float | str):
            numbers.setdefault(parameter_name, {})[name] = value
        else:
            raise TypeError(
                f"state of {type(optimizer).__name__} must hold tensors and numbers, got {name} of type "
                f"{type(value).__name__}; use another optimizer where a training is saved"
            )
    return tensors, numbers


def restore_state(
    optimizer: Optimizer, method: nn.Module, tensors: Mapping[str, Tensor], numbers: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put back what ``state_of`` returned; layout, dtype and device follow the parameters as they did before."""
    optimizer.state.clear()
    for name, parameter in _trained(method):
        prefix = f"{name}."
        state: dict[str, Any] = dict(numbers.get(name, {}))
        group = _group_of(optimizer, parameter)
        for key, tensor in tensors.items():
            entry = key.removeprefix(prefix)
            if key.startswith(prefix) and "." not in entry:
                # Steps are counted on the CPU, unless a kernel reads the count: torch's rule as well.
                kept = entry == "step" and not (group.get("fused") or group.get("capturable"))
                state[entry] = tensor.clone() if kept else _like(parameter, tensor)
        if state:
            optimizer.state[parameter] = state


def fault_in(
    optimizer: Optimizer,
    method: nn.Module,
    tensors: Mapping[str, Tensor],
    recorded: Mapping[str, Any],
    *,
    stepped: bool,
) -> str | None:
    """Say why what a checkpoint holds cannot be the state of ``optimizer``, or None.

    Args:
        optimizer: of the method's parameters.
        method: owner of the parameters.
        tensors: as from ``state_of``.
        recorded: ``"numbers"`` as from ``state_of``, and the names of the ``"tensors"``.
        stepped: whether the optimizer had run when the state was saved.
    """
    for words, names in (
        ("Missing", set(recorded["tensors"]) - set(tensors)),
        ("Unexpected", set(tensors) - set(recorded["tensors"])),
    ):
        if names:
            return f"{words} optimizer state {', '.join(sorted(names))}"
    found: dict[str, dict[str, Any]] = {name: dict(values) for name, values in recorded["numbers"].items()}
    for name, tensor in tensors.items():
        parameter_name, _, key = name.rpartition(".")
        found.setdefault(parameter_name, {})[key] = tensor
    wanted = {name: _first_state(optimizer, parameter) for name, parameter in _trained(method)}
    foreign = sorted(found.keys() - wanted.keys())
    if foreign:
        return f"Unexpected optimizer state of {foreign[0]!r}"
    if stepped and not found and any(wanted.values()):
        return "Missing optimizer state"
    faults = (_fault_of(name, state, wanted[name]) for name, state in sorted(found.items()))
    return next((fault for fault in faults if fault is not None), None)


def _first_state(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    """Return the state that the first step gives a parameter, its tensors on the device ``"meta"``."""
    group = _group_of(optimizer, parameter)
    probe = copy.copy(optimizer)
    trial = nn.Parameter(torch.zeros([min(size, 2) for size in parameter.shape], device=parameter.device))
    trial.grad = torch.zeros_like(trial)
    probe.state = defaultdict(dict)
    probe.param_groups = [{**group, "params": [trial]}]
    try:
        probe.step()
    except KeyError:  # Adagrad of an older torch makes its state with the optimizer, and no step does
        made = optimizer.state[parameter]
        return {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in made.items()}
    return {
        name: _as_large_as(value, trial, parameter) if isinstance(value, Tensor) else value
        for name, value in probe.state[trial].items()
    }


def _group_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    return next(group for group in optimizer.param_groups if any(parameter is own for own in group["params"]))


def _as_large_as(value: Tensor, trial: Tensor, parameter: Tensor) -> Tensor:
    shape = value.shape
    if value.ndim == trial.ndim:  # Adafactor keeps a row and a column of a matrix: sizes of 1 stay
        sizes = zip(value.shape, trial.shape, parameter.shape, strict=True)
        shape = torch.Size(whole if size == tried else size for size, tried, whole in sizes)
    return torch.empty(shape, dtype=value.dtype, device="meta")


def _fault_of(name: str, state: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    for words, keys in (("Missing", wanted.keys() - state.keys()), ("Unexpected", state.keys() - wanted.keys())):
        if keys:
            return f"{words} optimizer state {name}.{min(keys)}"
    for key, value in state.items():
        own, given = _kind(wanted[key]), _kind(value)
        if own != given:
            return f"{name}.{key} must be {own}, got {given}"
        numeric = (
            value.isfinite().all() if isinstance(value, Tensor) else isinstance(value, str) or math.isfinite(value)
        )
        if not bool(numeric):
            return f"{name}.{key} must be finite, got NaN or infinity"
    return None


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return type(value).__name__


def _entries(optimizer: Optimizer, method: nn.Module) -> Iterator[tuple[str, str, Any]]:
    for parameter_name, parameter in _trained(method):
        for name, value in optimizer.state.get(parameter, {}).items():
            yield parameter_name, name, value


def _trained(method: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad)


def _like(parameter: nn.Parameter, tensor: Tensor) -> Tensor:
    if tensor.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor).detach()
    return tensor.to(parameter.device, copy=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
