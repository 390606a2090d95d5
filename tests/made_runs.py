"""Finished runs of any classes and predictions, written by the engine's own writers without a training."""

import numpy as np
import torch
from PIL import Image

from lt_fast.data import ArraySource, FileSource
from lt_fast.datasets.splits import ImageRow, write_images
from lt_fast.experiment import resolve
from lt_fast.experiment.build import Data
from lt_fast.experiment.predictions import Predictions
from lt_fast.experiment.protocol import SELECTION, data_summary, protocol_of
from lt_fast.experiment.results import measure
from lt_fast.training import History, RunDirectory
from lt_fast.versions import versions

EVIL = (
    '<script>alert("x")</script>',
    "a & b \"quoted\" 'twice'",
    "שלום עולם",
    "الطيور \u202egnihtyreve",
    "👩\u200d👩\u200d👧\u200d👦 family 🐦",
    "x" * 300,
    "two\nlines\tand \x07 a bell",
    "$\\frac{1}{2}$ {{ 7 * 7 }} {% raw %}",
    "--></style></svg><img src=x onerror=alert(1)>",
    "http://example.com/picture.png",
)
"""Names that a folder can have and a page must survive."""


def in_memory(names, counts, tested):
    """Images of one pixel: the training set and the test set."""
    train, test = (np.repeat(np.arange(len(names)), number) for number in (counts, tested))
    sources = [ArraySource(np.zeros((len(each), 1, 1, 1), np.uint8), each, names) for each in (train, test)]
    return Data(*sources)


def logits_for(labels, classes, *, right=0.8, seed=0):
    """Logits that are right for about that share of the rows, and confident to different degrees."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(len(labels), classes))
    chosen = np.where(draw.random(len(labels)) < right, labels, draw.integers(0, classes, len(labels)))
    scores[np.arange(len(labels)), chosen] += draw.gamma(4, 1.5, len(labels))
    return torch.from_numpy(scores.astype(np.float32))


def made_run(folder, data, *, right=0.8, calibrated=True, epochs=3, config=None, images=(), seed=0):
    """Write the files of a finished run on ``data`` into ``folder`` and return it."""
    config = config or resolve("mammc" if calibrated else "ce", "digits-lt", {"epochs": epochs})
    labels = torch.from_numpy(np.asarray(data.test.labels))
    logits = logits_for(labels.numpy(), len(data.train.classes), right=right, seed=seed)
    predictions = Predictions(logits, labels, logits * 0.5 + 0.1 if calibrated else None)
    measured = measure(data, predictions)
    rows = [
        {"epoch": at, "learning_rate": 0.1, "train_loss": 2 / at, "seconds": 1.0, "test_top1": at / 9}
        for at in range(1, epochs + 1)
    ]
    result = {"config": config, **measured, "method": {}, "tables": [], "data": data_summary(data)}
    result |= {"selection": SELECTION, "seconds": {"train": 3.0, "calibrate_and_measure": 0.5}, "device": "cpu"}
    with RunDirectory(folder, config) as directory:
        directory.write_protocol(protocol_of(config, data))
        directory.write_metrics(History(rows))
        predictions.save(folder)
        if images:
            write_images(folder, images)
        directory.write_result(result | {"ranks": 1, "versions": versions()})
    return folder


def photographs(root, names, counts, tested, *, side=200):
    """JPEG files in folders of classes: their configuration, their data, and the rows of ``images.csv``."""
    parts, rows = [], []
    draw = np.random.default_rng(0)
    for split, numbers in (("train", counts), ("test", tested)):
        labels = np.repeat(np.arange(len(names)), numbers)
        paths = [f"{split}/class {label}/{at} <b>.jpg" for at, label in enumerate(labels)]
        for path, label in zip(paths, labels, strict=True):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            colour = (255 * (label + 1) // len(names), int(draw.integers(256)), 90)
            Image.new("RGB", (side, side * 3 // 4), colour).save(root / path, quality=60)
        parts.append(FileSource(paths, labels, names, root=root))
        rows += [ImageRow(path, names[label], split) for path, label in zip(paths, labels, strict=True)]
    config = resolve("mammc", "photographs", {"epochs": 3}, mode="freeze", data_options={"path": str(root)})
    return config, Data(*parts), rows
