"""A contrastive term on two views of each image, with class prototypes as buffers."""

import torch
from torch import nn
from torch.nn import functional

from lt_fast.methods import Method, StepOutput


class Prototypes(Method):
    """Add to cross entropy a contrastive loss of both views against the moving average of each class's features."""

    def __init__(self, model: nn.Module, num_classes: int, *, weight: float = 0.2, momentum: float = 0.9) -> None:
        super().__init__(model)
        self.weight, self.momentum, self.temperature = weight, momentum, 0.2
        self.prototypes: torch.Tensor
        self.register_buffer("prototypes", torch.zeros(num_classes, model.head.in_features))
        self.ranks = None

    def loaders(self, data):
        self.ranks = data.ranks
        return {"train": data.loader(views=2)}

    def training_step(self, batches):
        batch = batches["train"]
        features = [self.model.features(view) for view in batch.views]
        loss = functional.cross_entropy(self.model.head(features[0]), batch.target)
        self.update(features[0].detach(), batch.target)
        similar = [functional.normalize(view) @ functional.normalize(self.prototypes).T for view in features]
        contrast = sum(functional.cross_entropy(one / self.temperature, batch.target) for one in similar) / len(similar)
        return StepOutput(loss + self.weight * contrast, {"contrast": contrast})

    @torch.no_grad()
    def update(self, features, target):
        sums = torch.zeros_like(self.prototypes).index_add_(0, target, features)
        counts = torch.zeros(len(sums), 1).index_add_(0, target, features.new_ones(len(target), 1))
        summed = self.ranks.sum(torch.cat([sums, counts], 1))  # the same prototypes on every rank
        sums, counts = summed[:, :-1], summed[:, -1:]
        moved = self.momentum * self.prototypes + (1 - self.momentum) * sums / counts.clamp(min=1)
        self.prototypes.copy_(torch.where(counts > 0, moved, self.prototypes))
