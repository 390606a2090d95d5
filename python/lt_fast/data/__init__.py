"""Batches for training: an image source, a plan for each batch, and a loader that turns plans into pixels.

::

    source = lt.data.ArraySource(images, labels)                   # uint8 images of one size in memory
    source = lt.data.FileSource(paths, labels)                     # image files of any size
    loader = lt.data.Loader(source, sampler, transform=transform, mixer=lt.mixing.Mixup(), seed=0)
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for batch in loader:                                       # lt_fast.batch.Batch
            loss = criterion(model(batch.x), batch.target, batch.target_b, batch.lam)
"""

from lt_fast.data.features import FeatureSource, FeatureViews
from lt_fast.data.loader import Loader
from lt_fast.data.photograph_transforms import PhotographTransform
from lt_fast.data.plans import FixedBatches, PairPlans, Planner, SamplerPlans
from lt_fast.data.sources import ArraySource, FileSource, ImageSource
from lt_fast.data.strong_transforms import AutoAugment, RandAugment, SimCLR, StrongTransform, TrivialAugmentWide
from lt_fast.data.transforms import CropFlip, FileTransform, keyed_randomness

__all__ = [
    "ArraySource",
    "AutoAugment",
    "CropFlip",
    "FeatureSource",
    "FeatureViews",
    "FileSource",
    "FileTransform",
    "FixedBatches",
    "ImageSource",
    "Loader",
    "PairPlans",
    "PhotographTransform",
    "Planner",
    "RandAugment",
    "SamplerPlans",
    "SimCLR",
    "StrongTransform",
    "TrivialAugmentWide",
    "keyed_randomness",
]
