"""Two experts that share a backbone: averaged logits, and a term that keeps their predictions apart."""

import torch
from torch import nn
from torch.nn import functional

from lt_fast.methods import Method, StepOutput


class TwoExperts(Method):
    """Minimise the mean of both experts' cross entropies minus ``diversity`` times the divergence between them."""

    def __init__(self, model: nn.Module, num_classes: int, *, diversity: float = 0.1, seed: int = 0) -> None:
        super().__init__(model)
        self.diversity = diversity
        self.second = nn.Linear(model.head.in_features, num_classes)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.second.parameters():
                parameter.uniform_(-0.05, 0.05, generator=draw)

    def logits(self, x):
        features = self.model.features(x)
        return self.model.head(features), self.second(features)

    def training_step(self, batches):
        batch = batches["train"]
        first, second = self.logits(batch.x)
        fit = functional.cross_entropy(first, batch.target) + functional.cross_entropy(second, batch.target)
        apart = functional.kl_div(first.log_softmax(1), second.softmax(1), reduction="batchmean")
        return StepOutput(fit / 2 - self.diversity * apart, {"diversity": apart})

    def predict(self, x):
        first, second = self.logits(x)
        return (first + second).float() / 2
