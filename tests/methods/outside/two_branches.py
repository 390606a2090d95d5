"""A bilateral-branch network: uniform and class-balanced samples, a branch weight that falls over the epochs.

After Zhou et al. 2020 (arXiv:1912.02413): the weight of the uniform branch is 1 - (epoch / epochs)^2.
"""

import torch
from torch import nn
from torch.nn import functional

from lt_fast.methods import Method, StepOutput
from lt_fast.sampling import ClassBalancedBatchSampler


class TwoBranches(Method):
    """Mix the features of a uniform and of a balanced batch, and their losses, by the weight of the epoch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.balanced = nn.Linear(model.head.in_features, model.head.in_features)
        with torch.no_grad():
            self.balanced.weight.copy_(torch.eye(model.head.in_features))
            self.balanced.bias.zero_()
        self.weight = 1.0

    def loaders(self, data):
        steps, size = len(data.loader()), data.batch_size
        sampler = ClassBalancedBatchSampler(
            data.labels, batch_size=size, num_batches=steps, output="numpy", seed=data.seed
        )
        return {"uniform": data.loader(), "balanced": data.loader(sampler)}

    def on_epoch_start(self, epoch, epochs):
        self.weight = 1 - (epoch / epochs) ** 2

    def phase(self, epoch):
        return epoch

    def training_step(self, batches):
        uniform, balanced, weight = batches["uniform"], batches["balanced"], self.weight
        rows = min(len(uniform), len(balanced))
        one = self.model.features(uniform.x[:rows])
        other = self.balanced(self.model.features(balanced.x[:rows]))
        logits = self.model.head(weight * one + (1 - weight) * other)
        loss = weight * functional.cross_entropy(logits, uniform.target[:rows])
        loss = loss + (1 - weight) * functional.cross_entropy(logits, balanced.target[:rows])
        return StepOutput(loss, {"branch_weight": loss.new_tensor(weight)})

    def predict(self, x):
        features = self.model.features(x)
        return self.model.head((features + self.balanced(features)) / 2).float()
