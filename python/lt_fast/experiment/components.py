"""Components by name: which arguments they take, which of them can be set, and how they are called."""

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from lt_fast._text import nearest
from lt_fast.errors import DataError, UsageError
from lt_fast.registry import REGISTRIES

_OBJECTS = frozenset({
    "counts", "class_counts", "num_classes", "labels", "labels_or_len", "model", "criterion", "plain", "mixer",
    "params", "in_channels", "ignore_index", "class_dim",
})  # fmt: skip
"""Arguments that a run makes itself: no text on a command line stands for them, and an image has one label."""

_ELSEWHERE = frozenset({("optimizer", "lr"), ("schedule", "base")})
"""Arguments that are set as ``learning_rate``."""


FROM_THE_RUN = frozenset({
    ("loss", "label_rule"), ("loss", "omega"), ("loss", "kappa"), ("method", "logit_scale"), ("calibrator", "scale"),
    ("sampler", "output"),
})  # fmt: skip
"""Arguments that a run passes from its other components: a name without its component does not mean these."""


def component_of(slot: str, name: str) -> Callable[..., Any]:
    """Return the component of a run called ``name`` in the registry of ``slot``.

    Raises:
        UsageError: if there is none, naming the nearest.
    """
    found: Callable[..., Any] = REGISTRIES[slot][name]
    if not callable(found):
        raise UsageError(f"{slot} {name!r} must be a class or a function, got {found!r}")
    return found


def parameters_of(component: Callable[..., Any]) -> dict[str, Parameter]:
    """Return every parameter that can be passed by name."""
    try:
        found = inspect.signature(component, eval_str=True)
    except NameError:  # an annotation that only a type checker can read
        found = inspect.signature(component)
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)
    return {name: parameter for name, parameter in found.parameters.items() if parameter.kind in kinds}


def settable(slot: str, component: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the parameters of a component that a configuration may set."""
    return {
        name: parameter
        for name, parameter in parameters_of(component).items()
        if name not in _OBJECTS and (slot, name) not in _ELSEWHERE and parameter.kind is not Parameter.VAR_KEYWORD
    }


def takes_any(component: Callable[..., Any]) -> Parameter | None:
    """Return the ``**options`` parameter of a component, which takes arguments of every name, or None."""
    found = [each for each in parameters_of(component).values() if each.kind is Parameter.VAR_KEYWORD]
    return found[0] if found else None


def call(
    slot: str, name: str, options: Mapping[str, Any], given: Mapping[str, Any], when_required: Mapping[str, Any]
) -> Any:
    """Make a component: its options from the configuration, and what it needs of the run by parameter name.

    Args:
        slot: which component of the run.
        name: in the registry.
        options: keyword arguments of the configuration.
        given: values of the run, passed to the parameters of these names that ``options`` does not set.
        when_required: the same, for parameters without a default alone.

    Raises:
        UsageError: if an option is unknown or missing, or the component refuses a value.
    """
    component = component_of(slot, name)
    arguments = arguments_for(slot, name, component, options, given, when_required)
    try:
        return component(**arguments)
    except (UsageError, DataError):
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{slot} {name}: {error}") from error


def arguments_for(
    slot: str,
    name: str,
    component: Callable[..., Any],
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    when_required: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the keyword arguments that ``call`` passes."""
    parameters = parameters_of(component)
    refuse_unknown(slot, name, component, options)
    of_run = {key: value for key, value in given.items() if key in parameters}
    required = {key for key, parameter in parameters.items() if parameter.default is Parameter.empty}
    of_run |= {key: value for key, value in when_required.items() if key in required}
    arguments = {**of_run, **{key: _typed(value, parameters.get(key)) for key, value in options.items()}}
    lacking = [key for key in parameters if key in required and key not in arguments]
    lacking = [key for key in lacking if parameters[key].kind is not Parameter.VAR_KEYWORD]
    if lacking:
        raise UsageError(f"{slot} {name} needs {lacking[0]}; give it with --set {slot}.{lacking[0]}=VALUE")
    return arguments


def refuse_unknown(slot: str, name: str, component: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a component does not have.

    Raises:
        UsageError: naming the first, and the nearest that there is.
    """
    known = settable(slot, component)
    for option in options:
        if option not in known and takes_any(component) is None:
            listed = f"; it takes {', '.join(known)}" if known else ""
            raise UsageError(f"{slot} {name} has no option {option!r}{nearest(option, known) or listed}")


def _typed(value: Any, parameter: Parameter | None) -> Any:
    """Return a list of a configuration, which is JSON, as the tuple that a parameter with such a default takes."""
    return tuple(value) if isinstance(value, list) and parameter and isinstance(parameter.default, tuple) else value
