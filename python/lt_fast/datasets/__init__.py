"""Data sets: bit-identical long-tailed protocols, CIFAR-LT and Digits-LT in memory, and readers of image files.

Images in memory are one array, of which ``lt_fast.data`` makes batches::

    train = lt.datasets.cifar_lt("data", classes=100, imbalance_ratio=100)
    test = lt.datasets.cifar_lt("data", classes=100, train=False)
    sampler = lt.sampling.ShuffledBatchSampler(train.labels, batch_size=128, output="numpy")
    mean, std = lt.datasets.CIFAR100_STATS
    source, transform = lt.data.ArraySource(train.images, train.labels), lt.data.CropFlip(mean=mean, std=std)
    for batch in lt.data.Loader(source, sampler, transform=transform):
        batch.x, batch.target

Image files are read from what names them: to paths, labels, names of the classes, counts and a fingerprint::

    train, test, validation = lt.datasets.imagenet_lt("imagenet")         # places_lt, inaturalist_2018: by their lists
    train = lt.datasets.image_list("train.txt", "photos")                 # any such list
    train = lt.datasets.inaturalist("train2021.json", "inaturalist")
    train = lt.datasets.image_folder("photos/train")                      # one folder per class
    train = lt.datasets.csv_table("train.csv", "photos")

The training set decides the numbers of the classes; every other set takes them from it::

    test = lt.datasets.image_folder("photos/test", classes=train)         # may lack classes, and has no others

What is chosen during training is chosen on a validation set, never on the test set::

    training, validation = lt.datasets.validation_split(train.labels, fraction=0.1, seed=0)
    train, validation = train.subset(training), train.subset(validation)
"""

from lt_fast.datasets.cifar import cifar_lt
from lt_fast.datasets.csv_tables import csv_table
from lt_fast.datasets.digits import digits_lt
from lt_fast.datasets.image_files import ImageFiles, read_image
from lt_fast.datasets.image_folders import image_folder
from lt_fast.datasets.image_lists import image_list, write_image_list
from lt_fast.datasets.image_set import ImageSet
from lt_fast.datasets.inaturalist import inaturalist
from lt_fast.datasets.label_noise import noisy_labels
from lt_fast.datasets.large_scale import Published, imagenet_lt, inaturalist_2018, places_lt
from lt_fast.datasets.paths import Paths
from lt_fast.datasets.profiles import long_tailed_counts
from lt_fast.datasets.statistics import CIFAR10_STATS, CIFAR100_STATS, DIGITS_STATS, channel_stats
from lt_fast.datasets.subsets import long_tailed_indices
from lt_fast.datasets.validation import validation_split
from lt_fast.registry import DATASETS

__all__ = [
    "CIFAR10_STATS",
    "CIFAR100_STATS",
    "DATASETS",
    "DIGITS_STATS",
    "ImageFiles",
    "ImageSet",
    "Paths",
    "Published",
    "channel_stats",
    "cifar_lt",
    "csv_table",
    "digits_lt",
    "image_folder",
    "image_list",
    "imagenet_lt",
    "inaturalist",
    "inaturalist_2018",
    "long_tailed_counts",
    "long_tailed_indices",
    "noisy_labels",
    "places_lt",
    "read_image",
    "validation_split",
    "write_image_list",
]
