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
from lt_fast.models.experts import ExpertHeads, MultiExpert, check_experts
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build
from lt_fast.models.splitting import narrow, split_at

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZES = (224, 299, 64, 32)
OWN = "own"
"""Name of the head that a network has already."""
_WRAPPERS = ("_orig_mod.", "module.", "model.")  # of torch.compile, DistributedDataParallel, Lightning
_STATE_DICTS = ("state_dict", "model_state_dict", "model")

Weights = str | PathLike[str] | Mapping[str, Tensor] | None


class Adapted(Classifier):
    """A network of another library, its classifier taken out and replaced by a head, a new one or its own.

    Attributes:
        backbone: the network; its classifier is now the identity, so it returns features.
        input_size: (channels, height, width) that the network was made for.
        mean: per channel, that its weights expect, in units of ``pixel / 255``.
        std: per channel, in the same units.
        preset: how photographs are made its images; see ``Preset``.

    >>> import torch
    >>> model = adapt("torchvision:resnet18", 5)
    >>> isinstance(model, Adapted), model.backbone.fc, model(torch.zeros(1, 3, 64, 64)).shape
    (True, Identity(), torch.Size([1, 5]))
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
    experts: int = 1,
    split: str = "layer3",
    expert_width: float = 1.0,
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
        head: ``"linear"``, ``"cosine"``, or ``"own"``: the network's own classifier, which must have ``num_classes``
            outputs. Then the logits are the network's own, and class c is its output c.
        weights: a state dict of the original network or a file with one (``.safetensors``, or ``.pt`` read without
            running code), its classifier ignored unless the head is its own; ``"pretrained"`` for the library's own,
            which it downloads; None for new weights.
        seed: decides every new weight; the global generators are neither read nor advanced.
        input_size: (channels, height, width) of the images, if the network does not define it.
        experts: 1, or E > 1 for a ``MultiExpert`` network: each expert has its own copy of the network from ``split``
            on, and its own head. New weights differ between the experts; given or pretrained weights are the same.
        split: name of the first part of the network that experts do not share: ``"layer3"`` of the ResNets of both
            libraries. The network must call its parts one after the other, which is tested by its output.
        expert_width: channels of the experts' stages as a fraction of the usual ones, in (0, 1]; below 1 only for new
            weights of torchvision's ResNets and ResNeXts.
        options: for the constructor of the network.

    Raises:
        UsageError: if the name is unknown (names the nearest), the classifier cannot be found, the network's own head
            has another number of outputs, or the network cannot be split or narrowed.
        DataError: if the weights cannot be read or are not of this network.
        MissingExtraError: if the library is not installed.

    >>> import torch
    >>> model = adapt("torchvision:resnet18", 5, head="cosine")
    >>> model.features(torch.zeros(2, 3, 64, 64)).shape, model.head
    (torch.Size([2, 512]), CosineHead(in_features=512, num_classes=5))
    """
    _refuse_experts(model, head, weights, experts, expert_width)
    if isinstance(model, Classifier):
        return _with_head(copy.deepcopy(model), num_classes, head, seed)
    parts = _Split(split, expert_width)
    network = _network(model, weights, options, seed=seed, own=num_classes if head == OWN else None, split=parts)
    expects = _expects(network, input_size, options.get("in_chans"))
    fixed = input_size is not None
    if head == OWN:
        made = _keeping_head(network, num_classes, expects, fixed=fixed, check=weights is not None)
        return made.train(network.training)
    if experts > 1:
        others = _others(model, weights, options, parts, seed=seed, experts=experts)
        shared, every, width, expects = _halves(network, others, experts, parts.name, expects, fixed=fixed)
        heads = build(lambda: ExpertHeads(experts, head, width, num_classes), seed=seed)
        made = MultiExpert(shared, every, heads.to(next(network.parameters()).device), num_classes)
        made.input_size, made.mean, made.std = expects  # type: ignore[assignment]
        made.preset = preset_of(network, expects)  # type: ignore[assignment]
        return made.train(network.training)
    width, expects = _strip(network, expects, fixed=fixed)
    adapted = Adapted(network, _head(network, head, width, num_classes, seed), num_classes, expects)
    return adapted.train(network.training)


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


def _network(
    model: str | nn.Module, weights: Weights, options: Mapping[str, Any], *, seed: int, own: int | None, split: "_Split"
) -> nn.Module:
    """Return the network with its weights, before its classifier is taken out."""
    with _seeded(seed):
        network = copy.deepcopy(model) if isinstance(model, nn.Module) else _built(model, weights, options, own)
        if split.width < 1:
            narrow(network, split.name, split.width)
    if isinstance(model, str) and model.startswith("torchvision:"):
        network.preset_of_weights = weights_on_disk.torchvision_preset(model.partition(":")[2])  # type: ignore[assignment]
    if weights is not None and weights != "pretrained":
        _load(network, weights, own_head=own is not None)
    return network


def _with_head(model: Classifier, num_classes: int, head: str, seed: int) -> Classifier:
    weight = getattr(model.head, "weight", None)
    if weight is None:
        raise UsageError(f"model's head must have a weight (C, D), got {type(model.head).__name__}; pass its backbone")
    if head == OWN:
        _refuse_other_outputs(weight.shape[0], num_classes)
        return model
    model.head, model.num_classes = _head(model, head, weight.shape[1], num_classes, seed), num_classes
    return model


def _head(network: nn.Module, head: str, width: int, num_classes: int, seed: int) -> nn.Module:
    made = build(lambda: make_head(head, width, num_classes), seed=seed)
    first = next(network.parameters(), None)
    return made if first is None else made.to(first.device)


# --- experts ----------------------------------------------------------------------------------------------------------


class _Split(NamedTuple):
    """The first part that experts do not share, and the width of the parts from there on."""

    name: str
    width: float


def _refuse_experts(model: str | nn.Module, head: str, weights: Weights, experts: int, expert_width: float) -> None:
    check_experts(experts, expert_width)
    if experts > 1 and isinstance(model, Classifier):
        raise UsageError(
            f"experts must be 1 for a {type(model).__name__}, which is made already, got {experts}; give experts where "
            "it is made: lt_fast.models.resnet32(..., experts=3)"
        )
    if experts > 1 and head == OWN:
        raise UsageError(
            f"head must be linear or cosine for {experts} experts, got 'own': a network has one of its own"
        )
    if expert_width < 1 and weights is not None:
        raise UsageError(
            f"expert_width must be 1 with weights, whose layers have the usual width, got {expert_width:g}; leave it "
            "out"
        )


def _others(
    model: str | nn.Module, weights: Weights, options: Mapping[str, Any], split: _Split, *, seed: int, experts: int
) -> Iterator[nn.Module] | None:
    """Give the networks of the experts after the first, with new weights of their own; None where weights are given."""
    if weights is not None or isinstance(model, nn.Module):
        return None
    seeds = np.random.SeedSequence(seed).generate_state(experts, np.uint64).tolist()[1:]
    return (_network(model, None, options, seed=each, own=None, split=split) for each in seeds)


def _halves(
    network: nn.Module, others: Iterator[nn.Module] | None, experts: int, split: str, expects: Expects, *, fixed: bool
) -> tuple[nn.Module, list[nn.Module], int, Expects]:
    """Return the shared layers, those of each expert, the width of its features, and the expected images."""
    width, expects = _strip(network, expects, fixed=fixed)
    first = next(network.parameters())
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, *expects.input_size, generator=draw).to(first.device, first.dtype)
    shared, own = split_at(network, split, images)
    if others is None:
        return shared, [own, *(copy.deepcopy(own) for _ in range(experts - 1))], width, expects
    every = [own]
    for other in others:
        _strip(other, expects, fixed=True)
        every.append(split_at(other, split, images)[1])
    return shared, list(every), width, expects


# --- making the network -----------------------------------------------------------------------------------------------


def _built(name: str, weights: Weights, options: Mapping[str, Any], own: int | None = None) -> nn.Module:
    """Make a network by name; with ``own`` outputs where it keeps its head."""
    library, colon, rest = name.partition(":")
    if not colon:
        raise UsageError(
            f"model must be timm:NAME, torchvision:NAME or package.module:factory, got {name!r}; "
            f"did you mean 'torchvision:{name}' or 'timm:{name}'?"
        )
    makers: dict[str, Callable[..., nn.Module]] = {"timm": _from_timm, "torchvision": _from_torchvision}
    make = makers.get(library)
    if make is not None:
        outputs = {} if own is None else {"num_classes": own}
        return make(rest, pretrained=weights == "pretrained", **outputs, **options)
    if own is not None and "num_classes" in inspect.signature(_imported(library, rest)).parameters:
        options = {"num_classes": own, **options}
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
            f"model must name an importable factory as package.module:factory, got '{module}:{attribute}' ({error}); "
            "is its folder on PYTHONPATH?"
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


def _load(network: nn.Module, weights: str | PathLike[str] | Mapping[str, Tensor], *, own_head: bool) -> None:
    given = dict(weights) if isinstance(weights, Mapping) else _read(Path(weights))
    own = network.state_dict()
    given = _unwrapped(given, own)
    missing, foreign = sorted(own.keys() - given), sorted(given.keys() - own)
    changed = [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    rows = {name for name in changed if own[name].shape[1:] == given[name].shape[1:]}  # a classifier of other classes
    if missing or foreign or set(changed) - rows or len(rows) > 2:  # noqa: PLR2004  (weight and bias)
        wrong = [*missing, *foreign, *changed][0]
        raise DataError(
            f"weights must be a state dict of {type(network).__name__}, got one that differs in {wrong!r} "
            f"({len(missing)} missing, {len(foreign)} unknown, {len(changed)} of another shape)"
        )
    _refuse_non_finite(given)
    if rows:
        theirs, mine = (tensors[min(rows)].shape[0] for tensors in (given, own))
        if own_head:
            raise DataError(
                f"weights: the classifier in {_shown(weights)} has {theirs} outputs, and {mine} are needed, one for "
                "each class; a network of other classes gets a new head: `lt-fast train DATA --weights FILE`"
            )
        warnings.warn(
            f"weights: the classifier of {theirs} classes is left out (the network has {mine}); the run's head is new",
            stacklevel=3,
        )
    # Into the network's own: it has the versions of its modules, which MNASNet's loading asks for.
    own.update({name: tensor for name, tensor in given.items() if name not in rows})
    network.load_state_dict(own)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            load = require("safetensors.torch", extra="train", purpose="reading weights").load_file
            return dict(load(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"weights {path} cannot be read: {' '.join(str(error).split())}") from error
    except Exception as error:  # safetensors and pickle raise types of their own
        if "Unsupported global" in str(error):
            raise DataError(
                f"weights {path} hold more than tensors, which is not read: it could run code; save the weights alone: "
                "torch.save(model.state_dict(), FILE)"
            ) from error
        raise DataError(
            f"weights {path} cannot be read: {' '.join(str(error).split())[:200]}; they must be saved by "
            "torch.save(model.state_dict(), FILE), or by safetensors"
        ) from error
    found = loaded
    if isinstance(loaded, Mapping):
        found = next((loaded[name] for name in _STATE_DICTS if isinstance(loaded.get(name), Mapping)), loaded)
    if not (isinstance(found, Mapping) and found and all(isinstance(each, Tensor) for each in found.values())):
        raise DataError(
            f"weights {path} must hold the state dict of a network, names to tensors; torch.save(model.state_dict(), "
            "FILE) writes one"
        )
    return dict(found)


def _unwrapped(given: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the names of wrappers off."""
    for prefix in _WRAPPERS:
        if not own.keys() & given.keys() and all(name.startswith(prefix) for name in given):
            given = {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    return given


def _refuse_non_finite(given: Mapping[str, Tensor]) -> None:
    for name, tensor in given.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DataError(f"weights must be finite, got NaN or infinity in {name!r}; the training had diverged")


def _shown(weights: Any) -> str:
    return "the state dict" if isinstance(weights, Mapping) else str(weights)


# --- finding the classifier -------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    name: str
    given: torch.Size
    made: torch.Size


def _expects(network: nn.Module, input_size: tuple[int, int, int] | None, channels: int | None) -> Expects:
    """Return what the network says of its images; ``channels`` is timm's option, which its own data do not follow."""
    told: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}
    size = input_size or told.get("input_size") or (3, _SIZES[0], _SIZES[0])
    mean, std = tuple(told.get("mean") or IMAGENET_MEAN), tuple(told.get("std") or IMAGENET_STD)
    if channels is not None and channels != len(mean):
        size = (channels, *size[1:])
        mean, std = ((sum(each) / len(each),) * channels for each in (mean, std))
    return Expects(tuple(size), mean, std)


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


def _keeping_head(network: nn.Module, num_classes: int, expects: Expects, *, fixed: bool, check: bool) -> Classifier:
    """Return ``network`` as features and its own classifier; ``check`` compares the outputs before and after."""
    calls, output, expects = _probe(network, expects, fixed=fixed)
    if len(output) == 2:  # noqa: PLR2004
        _refuse_other_outputs(output[1], num_classes)
    if isinstance(network, Classifier):
        network.input_size, network.mean, network.std = expects  # type: ignore[assignment]
        network.preset = preset_of(network, expects)  # type: ignore[assignment]
        return network
    name = _classifier(network, calls, output)
    before = _outputs(network, expects) if check else None
    head = _as_linear(network, name)
    network.set_submodule(name, nn.Identity())
    made = Adapted(network, head, num_classes, expects)
    if not _gives_features(network, expects) or not (before is None or _alike(_outputs(made, expects), before)):
        raise UsageError(_not_found(network, f"its output is not that of {name} alone"))
    return made


def _gives_features(network: nn.Module, expects: Expects) -> bool:
    """Whether the network still runs without its classifier, and returns (N, D)."""
    try:
        _, features, _ = _probe(network, expects, fixed=True)
    except UsageError:
        return False
    return len(features) == 2  # noqa: PLR2004


def _refuse_other_outputs(found: int, num_classes: int) -> None:
    if found != num_classes:
        raise UsageError(
            f"model must have one output for each of the {num_classes} classes to keep its own head, got {found}; a "
            "network of other classes gets a new head: `lt-fast train DATA --weights FILE`"
        )


def _as_linear(network: nn.Module, name: str) -> nn.Module:
    """Return the layer called ``name``, a 1 x 1 convolution as the linear layer that it is on features (N, D)."""
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Conv2d):
        return layer
    if layer.groups > 1:
        raise UsageError(_not_found(network, f"{name} is a convolution of {layer.groups} groups"))
    made = build(lambda: nn.Linear(layer.in_channels, layer.out_channels, bias=layer.bias is not None), seed=0)
    with torch.no_grad():
        made.weight.copy_(layer.weight.flatten(1))
        if layer.bias is not None:
            made.bias.copy_(layer.bias)
    return made


def _outputs(network: nn.Module, expects: Expects) -> Tensor:
    """Return the outputs for two images of noise, in evaluation mode."""
    training = network.training
    images = torch.randn(2, *expects.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs: Tensor = network.eval()(images)
    network.train(training)
    return outputs


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * max(float(other.abs().max()), 1e-6))


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
    tensors = dict(_tensors(network))
    try:
        network.eval()
        with torch.no_grad():
            meta = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
            images = torch.empty(2, *size, device="meta")
            output = torch.func.functional_call(network, meta, (images,), tie_weights=False)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    if not isinstance(output, Tensor):
        raise TypeError(f"the forward pass returns {type(output).__name__} rather than one tensor of logits")
    return calls, output.shape


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give every parameter and buffer by one name for each place that has it.

    ``functional_call`` would replace those of a module with two names twice, and put the replacement back as the
    original.
    """
    for path, module in network.named_modules():
        own = (module.named_parameters, module.named_buffers)
        for name, tensor in (each for of in own for each in of(recurse=False, remove_duplicate=False)):
            yield f"{path}.{name}" if path else name, tensor


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
