"""The features of a frozen network: computed once for every view of every photograph, and kept on disk."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lt_fast._extras import require
from lt_fast._files import NextStep, make_folder, replace_file
from lt_fast.data import FeatureSource, FeatureViews, FixedBatches, Loader
from lt_fast.data.plans import described
from lt_fast.errors import DataError
from lt_fast.experiment.build import Data, Parts
from lt_fast.models import Frozen
from lt_fast.records import TensorRule, check_tensors, read_tensors
from lt_fast.training import deterministic

_BATCH, _FEATURES_AT_ONCE = 32, 4096
_ELSEWHERE = NextStep("name another folder with XDG_CACHE_HOME", "then try again")


def cache_folder() -> Path:
    """Return the folder that features are kept in: ``lt-fast/features`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(usual) / "lt-fast" / "features"


def with_features(
    config: Mapping[str, Any], data: Data, parts: Parts, *, device: str = "cpu", progress: bool = False
) -> tuple[Data, Parts]:
    """Return data and parts of a run whose images are replaced by features, where its network is frozen.

    A view is computed unless the cache has it: the same network, images, augmentation and seed give the same file. An
    interruption loses the view that was being computed, and no other.

    Args:
        config: from ``resolve``.
        data: photographs.
        parts: of the run; the network has its weights.
        device: where the network computes.
        progress: show a bar on stderr.

    Raises:
        DataError: if the cache cannot be written.
    """
    model = parts.method.model
    if not isinstance(model, Frozen):
        return data, parts
    model.to(device)
    views = config["feature_views"]
    made = Views(config, model, parts, device=device, progress=progress)
    sources = {
        name: None if images is None else made.source(images, name, views if name == "train" else 0)
        for name, images in data._asdict().items()
    }
    found = Data(**sources)
    training_data = replace(
        parts.data,
        source=found.train,
        transform=FeatureViews(views),
        plain_transform=FeatureViews(0),
        workers=0,
        evaluation_batch=_FEATURES_AT_ONCE,
    )
    loaders = parts.method.loaders(training_data)
    return found, parts._replace(data=training_data, loaders=loaders)


class Views:
    """Computes features, or reads them from the cache.

    Args:
        config: from ``resolve``.
        model: on ``device``.
        parts: of the run.
        device: where the network computes.
        progress: show a bar on stderr.
    """

    def __init__(self, config: Mapping[str, Any], model: Frozen, parts: Parts, *, device: str, progress: bool) -> None:
        self._model, self._data, self._device, self._progress = model, parts.data, device, progress
        self._amp = config["amp"]
        self._network = _digest(config, model)
        self._folder = cache_folder()

    def source(self, images: Any, name: str, views: int) -> FeatureSource:
        """Return the features of ``images``: without augmentation, and of ``views`` augmented views."""
        fingerprint = images.fingerprint
        tensors = [self._view(images, fingerprint, name, number) for number in range(views + 1)]
        source = FeatureSource(tensors[0], images.labels, images.classes, views=tensors[1:], fingerprint=fingerprint)
        for attribute in ("protocol", "paths", "groups", "root"):  # what a result tells of the images
            if hasattr(images, attribute):
                setattr(source, attribute, getattr(images, attribute))
        return source

    def _view(self, images: Any, fingerprint: str, name: str, number: int) -> Tensor:
        """Return one view; number 0 is the one without augmentation."""
        transform = self._data.transform if number else self._data.plain_transform
        seed = self._data.seed if number else 0
        key = [self._network, fingerprint, described(transform), seed, number, self._amp]
        decoder = getattr(images, "decoder", "pillow")
        key += [] if decoder == "pillow" else [decoder]
        path = self._folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.safetensors"
        found = _read(path, len(images))
        if found is not None:
            return found
        loader = Loader(
            images,
            FixedBatches(len(images), batch_size=_BATCH),
            transform=transform,
            seed=seed,
            workers=self._data.workers,
        )
        words = f"features of {name}" + (f", view {number}" if number else "")
        features = self._computed(loader, number, words)
        safetensors = require("safetensors.torch", extra="train", purpose="saving features")
        make_folder(self._folder, next_step=_ELSEWHERE)
        replace_file(path, safetensors.save({"features": features}), next_step=_ELSEWHERE)
        return features

    def _computed(self, loader: Loader, epoch: int, words: str) -> Tensor:
        batches: Any = loader.batches(epoch)
        if self._progress:
            tqdm = require("tqdm", extra="train", purpose="a progress bar").tqdm
            batches = tqdm(batches, total=len(loader), desc=words, unit="batch", leave=False)
        self._model.eval()
        device, parts = torch.device(self._device), []
        with torch.no_grad(), deterministic(device):
            for batch in batches:
                x = batch.x.to(device, non_blocking=True, memory_format=torch.channels_last)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._amp):
                    parts.append(self._model.features(x).float().cpu())
        return torch.cat(parts)


def _read(path: Path, rows: int) -> Tensor | None:
    """Return the features in the cache; None if they are not there, or are damaged: they are computed again."""
    if not path.exists():
        return None
    try:
        tensors = read_tensors(path)
        check_tensors(tensors, {"features": TensorRule(("float32",), (rows, None))}, path)
    except DataError:
        return None
    return tensors["features"]


def _digest(config: Mapping[str, Any], model: Frozen) -> str:
    """Return what tells the layers before the head from those of other networks."""
    options = {name: value for name, value in config["model"].items() if name not in ("head", "weights")}
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for name, tensor in model.network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
