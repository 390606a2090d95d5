"""What calibrators that train the classifier itself on features in memory have in common."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.heads import Model, wrap_head
from lt_fast.calibration.linear_heads import head_logits, with_weights
from lt_fast.calibration.trained import TrainedCalibration


class TrainedClassifier(TrainedCalibration):
    """Base of calibrators whose result is another weight and bias of the head; ``cosine`` says of which kind."""

    transforms: ClassVar[Literal["features", "logits"]] = "features"

    weight: Tensor | None = None
    bias: Tensor | None = None

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Tensor:  # noqa: ARG002
        return checked_matrix(features_or_logits, name="features").clone()

    def transform(self, features: Any) -> Tensor:
        """Return logits ``(N, C)`` of features ``(N, D)``, times ``scale``, on the device of the features.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape ``(N, D)``.
        """
        tensors = self._fitted("transform")
        given = self._checked_input(features, tensors["weight"].shape[1])
        own = {name: tensors[name].to(given.device) for name in ("weight", "bias") if name in tensors}
        given = given.to(own["weight"].dtype)
        return self.scale * head_logits(given, own["weight"], own.get("bias"), cosine=bool(self.cosine))

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with the trained weights in its head. ``model`` is not changed.

        Args:
            model: any module whose head is of the kind that was fitted.
            head: name of its classifier module: ``"fc"`` for a torchvision ResNet. The model must return what this
                module returns, which ``collect`` checks.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or its weights have another shape.
        """
        tensors = self._fitted("apply")
        trained = with_weights(model, tensors["weight"], tensors.get("bias"), head=head)
        if self.scale == 1:
            return trained
        factor = torch.full_like(tensors["weight"][:, 0], self.scale)
        return wrap_head(trained, factor, torch.zeros_like(factor), head=head)
