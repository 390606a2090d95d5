"""``adapt``: any classification network of timm, torchvision or your own, with a head of C classes."""

import copy
import importlib
import inspect
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.errors import DataError, UsageError
from lt_fast.models import weights_on_disk
from lt_fast.models.classifier import Classifier
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZES = (224, 299, 64, 32)

Weights = str | PathLike[str] | Mapping[str, Tensor] | None


class Adapted(Classifier):
    """A network of another library with a new head instead of its classifier.

    Attributes:
        backbone: the network; its classifier is now the identity, so it returns features.
        input_size: (channels, height, width) that the network was made for.
        mean: per channel, that its weights expect, in units of ``pixel / 255``.
        std: per channel, in the same units.
        preset: how photographs are made its images; see ``Preset``.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, num_classes: int, expects: "Expects") -> None:
        super().__init__()
        self.backbone, self.head, self.num_classes = backbone, head, num_classes
        self.input_size, self.mean, self.std = expects
        self.preset = preset_of(backbone, expects)

    def features(self, x: Tensor) -> Tensor:
        """Return the (N, D) input of the network's own classifier."""
        features: Tensor = self.backbone(x)
        return features


class Preset(NamedTuple):
    """How a network's weights were tested: the arguments of ``lt_fast.data.PhotographTransform``."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_share: float


class Expects(NamedTuple):
    """The images that a network was made for."""

    input_size: tuple[int, int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


def adapt(
    model: str | nn.Module,
    num_classes: int,
    *,
    head: str = "linear",
    weights: Weights = None,
    seed: int = 0,
    input_size: tuple[int, int, int] | None = None,
    **options: Any,
) -> Classifier:
    """Return ``model`` with a new head of ``num_classes`` classes; everything before the head is unchanged.

    The classifier is found without its name: it is the last linear layer or 1 x 1 convolution that the forward pass
    calls and that makes as many numbers as the network returns. It becomes the identity, and what it was given is the
    feature. The search runs on the meta device: no pixel is computed, no weight copied.

    Args:
        model: ``"timm:resnet50"``, ``"torchvision:resnet50"``, ``"package.module:factory"`` (called with ``options``),
            or a module, which is copied.
        num_classes: C >= 1.
        head: ``"linear"`` or ``"cosine"``.
        weights: a state dict of the original network or a file with one (``.safetensors``, or ``.pt`` read without
            running code), its classifier ignored; ``"pretrained"`` for the library's own, which it downloads; None for
            new weights.
        seed: decides every new weight; the global generators are neither read nor advanced.
        input_size: (channels, height, width) of the images, if the network does not define it.
        options: for the constructor of the network.

    Raises:
        UsageError: if the name is unknown (names the nearest), or the classifier cannot be found.
        DataError: if the weights cannot be read or are not of this network.
        MissingExtraError: if the library is not installed.

    >>> model = adapt("torchvision:resnet18", 5, head="cosine")     # doctest: +SKIP
    >>> model.features(torch.zeros(2, 3, 64, 64)).shape             # doctest: +SKIP
    torch.Size([2, 512])
    """
    if isinstance(model, Classifier):
        return _with_head(copy.deepcopy(model), num_classes, head, seed)
    with _seeded(seed):
        network = copy.deepcopy(model) if isinstance(model, nn.Module) else _built(model, weights, options)
    if isinstance(model, str) and model.startswith("torchvision:"):
        network.preset_of_weights = weights_on_disk.torchvision_preset(model.partition(":")[2])  # type: ignore[assignment]
    if weights is not None and weights != "pretrained":
        _load(network, weights)
    expects = _expects(network, input_size)
    width, expects = _strip(network, expects, fixed=input_size is not None)
    made = Adapted(network, _head(network, head, width, num_classes, seed), num_classes, expects)
    return made.train(network.training)


def preset_of(network: nn.Module, expects: Expects) -> Preset:
    """Return how photographs are made the images of ``network``: by timm's or torchvision's own data, else as usual."""
    told = getattr(network, "preset_of_weights", None)
    if told is not None:
        return Preset(**told)
    config: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}
    size = max(expects.input_size[1:])
    # Bicubic and 0.875 are timm's own defaults for weights that do not say.
    interpolation, share = config.get("interpolation") or "bicubic", config.get("crop_pct") or 0.875
    return Preset(size, tuple(expects.mean), tuple(expects.std), interpolation, float(share))


def network_factory(place: str) -> str:
    """Return ``place``, ``package.module:factory``, if what it names makes networks and nothing else.

    A configuration that somebody else made may name it: only a class that is a ``torch.nn.Module``, or a function that
    is annotated to return one, is called.

    Raises:
        UsageError: if it cannot be imported, or is neither.
    """
    module, _, name = place.partition(":")
    factory = _imported(module, name)
    if inspect.isclass(factory):
        made: Any = factory
    elif inspect.isfunction(factory):
        made = typing.get_type_hints(factory).get("return")
    else:
        made = None
    if not (inspect.isclass(made) and issubclass(made, nn.Module)):
        raise UsageError(
            f"model must name a class of networks, or a function that is annotated to return one, got {place!r}; write "
            f"def {name}(...) -> torch.nn.Module"
        )
    return place


def _with_head(model: Classifier, num_classes: int, head: str, seed: int) -> Classifier:
    weight = getattr(model.head, "weight", None)
    if weight is None:
        raise UsageError(f"model's head must have a weight (C, D), got {type(model.head).__name__}; pass its backbone")
    model.head, model.num_classes = _head(model, head, weight.shape[1], num_classes, seed), num_classes
    return model


def _head(network: nn.Module, head: str, width: int, num_classes: int, seed: int) -> nn.Module:
    made = build(lambda: make_head(head, width, num_classes), seed=seed)
    first = next(network.parameters(), None)
    return made if first is None else made.to(first.device)


# --- making the network -----------------------------------------------------------------------------------------------


def _built(name: str, weights: Weights, options: Mapping[str, Any]) -> nn.Module:
    library, colon, rest = name.partition(":")
    if not colon:
        raise UsageError(
            f"model must be timm:NAME, torchvision:NAME or package.module:factory, got {name!r}; "
            f"did you mean 'torchvision:{name}' or 'timm:{name}'?"
        )
    makers: dict[str, Callable[..., nn.Module]] = {"timm": _from_timm, "torchvision": _from_torchvision}
    make = makers.get(library)
    if make is not None:
        return make(rest, pretrained=weights == "pretrained", **options)
    return _from_factory(library, rest, options)


def _from_timm(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    timm = require("timm", extra="timm", purpose=f"the model timm:{name}")
    if not timm.is_model(name.partition(".")[0]):
        raise UsageError(f"model must be one that timm has, got {name!r}{nearest(name, timm.list_models())}")
    if pretrained:
        options = {**weights_on_disk.timm_overlay(name), **options}
    network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    return network


def _from_torchvision(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    models = require("torchvision.models", extra="train", purpose=f"the model torchvision:{name}")
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"model must be one that torchvision classifies with, got {name!r}{nearest(name, known)}")
    if "aux_logits" in inspect.signature(_class_of(models, name)).parameters and not pretrained:
        options = {"aux_logits": False, "init_weights": True, **options}
    network: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained else None, **options)
    # Auxiliary classifiers make the output of training a tuple; they serve networks without batch norm.
    for auxiliary in ("aux1", "aux2", "AuxLogits"):
        if hasattr(network, auxiliary):
            setattr(network, auxiliary, None)
            network.aux_logits = False  # type: ignore[assignment]
    return network


def _class_of(models: Any, name: str) -> type[nn.Module]:
    """Return the class that torchvision's builder ``name`` makes."""
    made: type[nn.Module] = inspect.signature(models.get_model_builder(name)).return_annotation
    return made


def _from_factory(module: str, attribute: str, options: Mapping[str, Any]) -> nn.Module:
    factory = _imported(module, attribute)
    network = factory(**options)
    if not isinstance(network, nn.Module):
        raise UsageError(f"{module}:{attribute} must return a torch.nn.Module, got {type(network).__name__}")
    return network


def _imported(module: str, attribute: str) -> Any:
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"model must name an importable factory as package.module:factory, got '{module}:{attribute}' ({error})"
        ) from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generator for constructors of other libraries, and restore its state afterwards."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


# --- weights ----------------------------------------------------------------------------------------------------------


def _load(network: nn.Module, weights: str | PathLike[str] | Mapping[str, Tensor]) -> None:
    given = dict(weights) if isinstance(weights, Mapping) else _read(Path(weights))
    own = network.state_dict()
    given = {name.removeprefix("module."): tensor for name, tensor in given.items()}  # of DistributedDataParallel
    missing, foreign = sorted(own.keys() - given), sorted(given.keys() - own)
    changed = [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    rows = {name for name in changed if own[name].shape[1:] == given[name].shape[1:]}  # a classifier of other classes
    if missing or foreign or set(changed) - rows or len(rows) > 2:  # noqa: PLR2004  (weight and bias)
        wrong = [*missing, *foreign, *changed][0]
        raise DataError(
            f"weights must be a state dict of {type(network).__name__}, got one that differs in {wrong!r} "
            f"({len(missing)} missing, {len(foreign)} unknown, {len(changed)} of another shape)"
        )
    if rows:
        theirs, mine = (tensors[min(rows)].shape[0] for tensors in (given, own))
        warnings.warn(
            f"weights: the classifier of {theirs} classes is left out (the network has {mine}); the run's head is new",
            stacklevel=3,
        )
    network.load_state_dict({name: own[name] if name in rows else tensor for name, tensor in given.items()})


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            load = require("safetensors.torch", extra="train", purpose="reading weights").load_file
            return dict(load(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"weights {path} cannot be read: {' '.join(str(error).split())}") from error
    except Exception as error:  # safetensors and pickle raise types of their own
        raise DataError(f"weights {path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return dict(loaded.get("state_dict", loaded.get("model", loaded)))


# --- finding the classifier -------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    name: str
    given: torch.Size
    made: torch.Size


def _expects(network: nn.Module, input_size: tuple[int, int, int] | None) -> Expects:
    told: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}
    size = input_size or told.get("input_size") or (3, _SIZES[0], _SIZES[0])
    return Expects(tuple(size), tuple(told.get("mean") or IMAGENET_MEAN), tuple(told.get("std") or IMAGENET_STD))


def _strip(network: nn.Module, expects: Expects, *, fixed: bool) -> tuple[int, Expects]:
    """Replace the classifier by the identity; return the feature width D and the expected images."""
    reset = getattr(network, "reset_classifier", None)
    calls, output, expects = _probe(network, expects, fixed=fixed)
    if callable(reset) and hasattr(network, "num_features"):  # timm's own way
        reset(0)
    else:
        network.set_submodule(_classifier(network, calls, output), nn.Identity())
    _, features, _ = _probe(network, expects, fixed=True)
    if len(features) != 2 or (features == output and not callable(reset)):  # noqa: PLR2004
        raise UsageError(_not_found(network, f"without it the network returns {tuple(features)}, not (N, D)"))
    return features[1], expects


def _classifier(network: nn.Module, calls: list[_Call], output: torch.Size) -> str:
    """Return the name of the last layer with as many output channels as the network has outputs."""
    fitting = [call for call in calls if len(output) == 2 and call.made[:2] == output]  # noqa: PLR2004
    if not fitting:
        raise UsageError(_not_found(network, f"no linear layer makes its output {tuple(output)}"))
    name = fitting[-1].name
    if sum(call.name == name for call in calls) > 1:
        raise UsageError(_not_found(network, f"{name} is called more than once"))
    return name


def _not_found(network: nn.Module, reason: str) -> str:
    return (
        f"model must end in one linear layer or 1 x 1 convolution, got {type(network).__name__}: {reason}; pass a "
        "lt_fast.models.Classifier with features(x) and head"
    )


def _probe(network: nn.Module, expects: Expects, *, fixed: bool) -> tuple[list[_Call], torch.Size, Expects]:
    """Run one forward pass on the meta device; return the linear layers it called, the output's shape, and the size."""
    channels, *_ = expects.input_size
    sizes = [expects.input_size] if fixed else [expects.input_size, *((channels, size, size) for size in _SIZES)]
    problem: Exception | None = None
    for size in dict.fromkeys(sizes):
        try:
            calls, output = _forward(network, size)
        except Exception as error:  # noqa: BLE001  (a foreign network may raise anything for a size it does not take)
            problem = problem or error
        else:
            return calls, output, expects._replace(input_size=size)
    raise UsageError(
        f"model must take images (N, {channels}, H, W), got {type(network).__name__}, which raised "
        f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}; pass input_size=(channels, height, width)"
    )


def _forward(network: nn.Module, size: tuple[int, int, int]) -> tuple[list[_Call], torch.Size]:
    calls: list[_Call] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda _, given, made: calls.append(_Call(name, given[0].shape, made.shape))

    linear = [(name, module) for name, module in network.named_modules() if _is_linear(module)]
    hooks = [module.register_forward_hook(note(name)) for name, module in linear]
    modes = {module: module.training for module in network.modules()}
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    try:
        network.eval()
        with torch.no_grad():
            meta = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
            output = torch.func.functional_call(network, meta, (torch.empty(2, *size, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    if not isinstance(output, Tensor):
        raise TypeError(f"the forward pass returns {type(output).__name__} rather than one tensor of logits")
    return calls, output.shape


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
