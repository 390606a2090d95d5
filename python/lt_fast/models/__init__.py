"""Networks with separate features and head: ``model(x) == model.head(model.features(x))``.

Every model has ``features(x) -> (N, D)``, ``head`` (a module with ``weight (C, D)``) and ``num_classes``, and its
weights are a function of ``seed`` alone. With ``experts=3`` it is a ``MultiExpert``, whose logits are a mean. ``adapt``
makes one of any network of timm, torchvision or your own.
"""

from lt_fast.models.adapt import Adapted, adapt
from lt_fast.models.bilateral_branches import BilateralBranchNetwork, bbn
from lt_fast.models.classifier import Classifier
from lt_fast.models.cosine_head import CosineHead
from lt_fast.models.digits_net import DigitsNet, digits_net
from lt_fast.models.experts import ExpertHeads, MultiExpert
from lt_fast.models.frozen import Frozen
from lt_fast.models.heads import swap_head
from lt_fast.models.resnet import resnet10, resnet50, resnet152, resnext50
from lt_fast.models.resnet_bottleneck_cifar import ResNetBottleneckCifar, resnet32_bottleneck
from lt_fast.models.resnet_cifar import ResNetCifar, resnet32
from lt_fast.registry import MODELS

__all__ = [
    "MODELS",
    "Adapted",
    "BilateralBranchNetwork",
    "Classifier",
    "CosineHead",
    "DigitsNet",
    "ExpertHeads",
    "Frozen",
    "MultiExpert",
    "ResNetBottleneckCifar",
    "ResNetCifar",
    "adapt",
    "bbn",
    "digits_net",
    "resnet10",
    "resnet32",
    "resnet32_bottleneck",
    "resnet50",
    "resnet152",
    "resnext50",
    "swap_head",
]
