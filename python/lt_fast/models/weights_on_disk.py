"""Pretrained weights of timm and torchvision: whether they are on this machine, and the command that gets them."""

from pathlib import Path
from typing import Any

import torch

from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.errors import DataError, UsageError

_NAMES_AT_THE_HUB = ("model.safetensors", "pytorch_model.bin")


def require_weights(model: str) -> None:
    """Look for the pretrained weights of ``timm:NAME`` or ``torchvision:NAME`` in the user's caches, without a network.

    Raises:
        DataError: if they are not there; names the command that gets them.
        UsageError: if the library has none for this network.
    """
    library, _, name = model.partition(":")
    if library not in ("timm", "torchvision"):
        raise UsageError(
            f"weights must be a file or none for {model}, got 'pretrained': only libraries have such weights"
        )
    found = _timm_file(name) if library == "timm" else _torchvision_file(name)
    if found is not None:
        return
    getting = (
        f"import timm; timm.create_model({name!r}, pretrained=True)"
        if library == "timm"
        else f"import torchvision.models as m; m.get_model({name!r}, weights='DEFAULT')"
    )
    raise DataError(
        f'the pretrained weights of {model} are not on this machine; get them with: python -c "{getting}"; or give '
        "--weights FILE, or --weights none for new ones"
    )


def timm_overlay(name: str) -> dict[str, Any]:
    """Return the option by which ``timm.create_model`` reads weights that are on disk, without asking the hub."""
    found = _timm_file(name)
    return {} if found is None else {"pretrained_cfg_overlay": {"file": str(found)}}


def torchvision_preset(name: str) -> dict[str, Any] | None:
    """Return how torchvision prepares images for its best weights of ``name``, as a ``Preset``'s fields, or None."""
    weights = _torchvision_weights(name)
    if weights is None:
        return None
    told = weights.transforms()
    size, shorter = int(told.crop_size[0]), int(told.resize_size[0])
    mean, std = tuple(map(float, told.mean)), tuple(map(float, told.std))
    share = size / max(shorter, size)
    return {"size": size, "mean": mean, "std": std, "interpolation": told.interpolation.value, "crop_share": share}


def _timm_file(name: str) -> Path | None:
    timm = require("timm", extra="timm", purpose=f"the model timm:{name}")
    if not timm.is_model(name.partition(".")[0]):
        raise UsageError(f"model must be one that timm has, got {name!r}{nearest(name, timm.list_models())}")
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not config.has_weights:
        raise UsageError(f"timm has no pretrained weights of {name!r}; give --weights FILE, or --weights none")
    places = [Path(config.file)] if config.file else []
    if config.url:
        places.append(Path(torch.hub.get_dir()) / "checkpoints" / config.url.rpartition("/")[2])
    if config.hf_hub_id:
        hub = require("huggingface_hub", extra="timm", purpose="pretrained weights")
        names = [config.hf_hub_filename] if config.hf_hub_filename else _NAMES_AT_THE_HUB
        found = [hub.try_to_load_from_cache(config.hf_hub_id, each) for each in names]
        places += [Path(each) for each in found if isinstance(each, str)]
    return next((place for place in places if place.is_file()), None)


def _torchvision_file(name: str) -> Path | None:
    weights = _torchvision_weights(name)
    if weights is None:
        models = require("torchvision.models", extra="train", purpose=f"the model torchvision:{name}")
        known = models.list_models(module=models)
        if name not in known:
            raise UsageError(f"model must be one that torchvision classifies with, got {name!r}{nearest(name, known)}")
        raise UsageError(f"torchvision has no pretrained weights of {name!r}; give --weights FILE, or --weights none")
    place = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    return place if place.is_file() else None


def _torchvision_weights(name: str) -> Any:
    models = require("torchvision.models", extra="train", purpose=f"the model torchvision:{name}")
    if name not in models.list_models(module=models):
        return None
    weights = models.get_model_weights(name)
    return weights.DEFAULT if list(weights) else None
