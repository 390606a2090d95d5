"""A run's classifier as one file for other programs: ONNX or ``torch.export``, checked before it counts as written."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast import __version__, _checks
from lt_fast._extras import require
from lt_fast._files import make_folder, replace_file
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.config import method_name
from lt_fast.experiment.folds import fold_folders, has_folds
from lt_fast.inference.classifier import TrainedClassifier
from lt_fast.inference.tested_images import Tested, own_test_images

Format: TypeAlias = Literal["onnx", "torch"]

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
_TOLERANCE = 1e-4
_BATCHES = (1, 2, 7)
_EXTRA = "lt_fast.json"
_Run: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Exported(NamedTuple):
    """What was written, and how it was checked.

    Attributes:
        file: path.
        metadata: as in the file: class names, how images are to be prepared, version.
        images: number of images that it was checked on.
        difference: largest difference of a probability from the run's own.
        test_images: how many of these images are the run's test images; the others are generated.
        without_test_images: why none are, or None.
    """

    file: str
    metadata: dict[str, Any]
    images: int
    difference: float
    test_images: int
    without_test_images: str | None


class FromPixels(nn.Module):
    """From the pixels that a decoder gives to logits and probabilities: normalisation, network and calibration.

    Args:
        network: from normalised images (N, Ch, H, W) to logits (N, C).
        mean, std: per channel, in units of ``pixel / 255``.

    Shape:
        images (N, H, W, Ch) uint8; returns logits and probabilities (N, C) float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Any, std: Any) -> None:
        super().__init__()
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities."""
        x = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        logits = self.network(x)
        return logits, logits.softmax(dim=1)


def export(
    classifier: TrainedClassifier,
    file: str | Path,
    *,
    format: Format | None = None,  # noqa: A002
    root: str | Path | None = None,
) -> Exported:
    """Write a classifier to ``file``, with normalisation and calibration inside and any number of images per call.

    The input ``images`` is (N, H, W, Ch) uint8: an RGB or grey image, upright, already scaled and cropped to H x W as
    the metadata say. The outputs are ``logits`` and ``probabilities`` (N, C) float32. Before the file takes its name,
    its content is loaded again, and its probabilities are compared with the classifier's on generated images, and with
    the run's stored predictions of up to 64 of its own test images where those are there: images that come with the
    package, and photographs, which are read as the run reads them.

    Args:
        classifier: of ``lt_fast.load``, on the CPU.
        file: a new file.
        format: ``"onnx"``, or ``"torch"`` for ``torch.export``; by the ending of ``file`` when left out.
        root: where the run's photographs, or the files of its data set, are now.

    Raises:
        UsageError: if the format is unknown, the file is there, the classifier is that of a cross-validation, or the
            run's transform does not say mean, std and size.
        DataError: if the folder cannot be written, or the written program answers differently.
        MissingExtraError: if onnx, onnxscript or onnxruntime is not installed, for ONNX.
    """
    place = Path(file)
    chosen = checked_format(place, format)
    _refuse_folds(classifier)
    _refuse_other_device(classifier)
    module, shape = _module(classifier)
    metadata = _metadata(classifier, shape)
    example = torch.zeros((2, *shape), dtype=torch.uint8)
    content, run = {"onnx": _onnx, "torch": _torch}[chosen](module, example, metadata)
    tested = own_test_images(classifier, root)
    images, difference = _checked(classifier, module, run, shape, None if isinstance(tested, str) else tested)
    make_folder(place.parent)
    replace_file(place, content)
    own, why = (0, tested) if isinstance(tested, str) else (len(tested.pixels), None)
    return Exported(str(place), metadata, images, difference, own, why)


def checked_format(file: Path, chosen: str | None) -> Format:
    """Return the format of a new ``file``.

    Raises:
        UsageError: if it is unknown, or the file is there.
    """
    if chosen is None:
        by_ending = {ending: name for name, ending in ENDINGS.items()}
        if file.suffix.lower() not in by_ending:
            raise UsageError(f"file must end in .onnx or .pt2 where no format is given, got {str(file)!r}")
        chosen = by_ending[file.suffix.lower()]
    if file.exists():
        raise UsageError(f"{file} is there already; name another file, or remove it")
    return _checks.choice("format", chosen, ENDINGS)  # type: ignore[return-value]


def _refuse_folds(classifier: TrainedClassifier) -> None:
    if has_folds(classifier.config):
        first, *_, last = fold_folders(classifier.folder, classifier.config)
        raise UsageError(
            f"{classifier.folder} is a cross-validation, whose networks are not one program; export one of its runs, "
            f"{first} to {last}"
        )


def _refuse_other_device(classifier: TrainedClassifier) -> None:
    if classifier.device.type != "cpu":
        raise UsageError(f"classifier must be on the CPU to be exported, got {classifier.device}; load it on the CPU")


def _module(classifier: TrainedClassifier) -> tuple[FromPixels, tuple[int, int, int]]:
    """Return the module that is exported, and (height, width, channels) of its images."""
    transform = classifier.transform
    mean, std = (getattr(transform, name, None) for name in ("mean", "std"))
    size = getattr(transform, "size", None)
    shape = classifier.image_shape or (None if not isinstance(size, int) else (size, size, 3))
    if mean is None or std is None or shape is None:
        raise UsageError(
            f"the run's transform {classifier.config['transform']['name']} must say mean, std and size to be exported, "
            "as crop_flip and photograph do"
        )
    return FromPixels(classifier.network, mean, std).eval(), shape


def _metadata(classifier: TrainedClassifier, shape: tuple[int, int, int]) -> dict[str, Any]:
    height, width, channels = shape
    colours = {1: "grey", 3: "RGB"}.get(channels, f"of {channels} channels")
    transform = classifier.transform
    if classifier.image_shape is not None:
        resize = f"scale the shorter side and crop around the centre to {width} x {height} (PIL.ImageOps.fit, bicubic)"
    else:
        shorter = round(width / getattr(transform, "crop_share", 1.0))
        how = getattr(transform, "interpolation", "bicubic")
        resize = f"scale the shorter side to {shorter} ({how}), then crop {width} x {height} pixels around the centre"
    return {
        "classes": list(classifier.classes),
        "input": f"images: (N, {height}, {width}, {channels}) uint8, {colours}, upright by EXIF",
        "resize": resize,
        "normalisation": "inside",
        "calibration": "none" if classifier.calibration is None else "inside",
        "output": "logits, probabilities: (N, classes) float32",
        "trained_prior": classifier.scored_prior.reason,
        "recipe": method_name(classifier.config),
        "data": classifier.config["data"],
        "weights_sha256": classifier.checkpoint,
        "lt_fast": __version__,
    }


def _onnx(module: FromPixels, example: Tensor, metadata: dict[str, Any]) -> tuple[bytes, _Run]:
    for name, purpose in (("onnx", "export to ONNX"), ("onnxscript", "torch's export to ONNX")):
        require(name, extra="export", purpose=purpose)
    runtime = require("onnxruntime", extra="export", purpose="the check of an export")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own, about its own
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    model = program.model_proto
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    content: bytes = model.SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: session.run(["probabilities"], {"images": images})[0]


def _torch(module: FromPixels, example: Tensor, metadata: dict[str, Any]) -> tuple[bytes, _Run]:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={_EXTRA: json.dumps(metadata)})
        content = buffer.getvalue()
        loaded: Any = torch.export.load(io.BytesIO(content)).module()
    return content, lambda images: loaded(torch.from_numpy(images))[1].detach().numpy()


def _checked(
    classifier: TrainedClassifier,
    module: FromPixels,
    run: _Run,
    shape: tuple[int, int, int],
    test: Tested | None,
) -> tuple[int, float]:
    """Compare the written program with the classifier on pixels of noise, and with the run's test predictions."""
    generator = np.random.default_rng(0)
    pairs = []
    for size in _BATCHES:
        images = generator.integers(0, 256, (size, *shape), dtype=np.uint8)
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - module.mean) / module.std
        with torch.no_grad():
            pairs.append((images, classifier.network(x).double().softmax(dim=1).numpy()))
    pairs += [] if test is None else [(test.pixels, test.probabilities)]
    difference = max(float(np.abs(run(images) - wanted).max()) for images, wanted in pairs)
    if not difference <= _TOLERANCE:
        raise DataError(
            f"the exported program answers differently from the run, by up to {difference:.2g} of a probability; "
            "nothing was written: report it with the output of `lt-fast doctor`, and use lt_fast.load meanwhile"
        )
    return sum(len(images) for images, _ in pairs), difference
