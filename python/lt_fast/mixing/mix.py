"""``Mixer``: what every mixing method implements. ``Mix``: the result for a batch of tensors in your own loop."""

from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.draws import checked_target
from lt_fast.mixing.fixed import FixedSettings

Labels: TypeAlias = NDArray[np.int64] | Tensor
"""(B,) class indices."""


class Mix(NamedTuple):
    """How one batch is mixed with itself, and its labels.

    Images: ``x = lam_input * x_i + (1 - lam_input) * x_partner(i)``, or with boxes the partner's pixels inside. Labels:
    ``loss = lam_label * CE(logits, target) + (1 - lam_label) * CE(logits, target[partner])``, or pass ``lam_input`` and
    the mixer's ``label_rule`` to a loss of ``lt_fast.losses``, which computes the label weight.

    Attributes:
        partner: (B,) int64, position in the batch of the second image.
        lam_input: (B,) float32, mixing coefficient of the first image, in [0, 1]; with boxes its share of the pixels.
        lam_label: (B,) float32, weight of the first label, in [0, 1].
        boxes: None, or (B, 4) int32 rows (top, left, bottom, right).

    >>> lam = torch.tensor([0.75, 0.5])
    >>> mix = Mix(partner=torch.tensor([1, 0]), lam_input=lam, lam_label=lam)
    >>> mix.apply(torch.tensor([[0.0], [8.0]]))
    tensor([[2.],
            [4.]])
    >>> pasting = mix._replace(boxes=torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]))
    >>> pasting.apply(torch.tensor([[[0.0, 0.0]], [[8.0, 8.0]]])).squeeze(1)  # two images of 1 x 2 pixels
    tensor([[8., 0.],
            [8., 8.]])
    """

    partner: Tensor
    lam_input: Tensor
    lam_label: Tensor
    boxes: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        """Mix a batch of images: equals ``lam * x + (1 - lam) * x[partner]`` with ``lam`` of shape (B, 1, ...).

        Half-precision images are blended in float32 and rounded once, so that image and label are mixed with the same
        coefficient. O(B * pixels), two temporaries of the size of ``x``.

        Shape:
            x (B, ...) float, with boxes (B, ..., H, W); returns the same shape, dtype and device.

        Raises:
            TypeError: if ``x`` is not floating point: integers would round the mix.
            ValueError: if ``x`` has another number of images.
        """
        if not x.is_floating_point():
            raise TypeError(f"x must be floating point to be mixed, got {x.dtype}; convert it with x.float() first")
        if x.ndim == 0 or len(x) != len(self.partner):
            raise ValueError(f"x must hold one image per partner ({len(self.partner)}), got shape {tuple(x.shape)}")
        second = x[self.partner.to(x.device)]
        return self._blended(x, second) if self.boxes is None else pasted(x, second, self.boxes)

    def _blended(self, x: Tensor, second: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        lam = self.lam_input.to(x.device, wide).reshape(-1, *[1] * (x.ndim - 1))
        return (lam * x.to(wide) + (1 - lam) * second.to(wide)).to(x.dtype)


def pasted(x: Tensor, second: Tensor, boxes: Tensor) -> Tensor:
    """Return ``x`` with the pixels of ``second`` inside the boxes.

    Shape:
        x and second (B, ..., H, W); boxes (B, 4) integers, rows (top, left, bottom, right); returns the shape of ``x``.
    """
    top, left, bottom, right = boxes.to(x.device).reshape(len(x), 4, *[1] * (x.ndim - 1)).unbind(1)
    y, column = (torch.arange(size, device=x.device) for size in x.shape[-2:])
    inside = (y[:, None] >= top) & (y[:, None] < bottom) & (column >= left) & (column < right)
    return torch.where(inside, second, x)


class Mixer(FixedSettings, ABC):
    """Base of the classes in ``MIXERS``: a pure function of (seed, epoch, step), without state.

    ``lt_fast.data.Loader(..., mixer=mixer)`` mixes the images while a batch is read; a loss with
    ``label_rule=mixer.label_rule`` mixes the labels. A mixer of your own needs ``plan`` and ``label_rule`` only, and no
    base class; its partners may be any rows of the data set.

    Attributes:
        label_rule: name of the label rule in ``lt_fast.ops.mixed_margin_loss``.

    >>> class Neighbour(Mixer):
    ...     label_rule = "mixup"
    ...     def plan(self, batch, labels):
    ...         lam = np.full(len(labels), 0.7, dtype=np.float32)
    ...         return MixPlan(np.roll(batch.index, 1), np.roll(batch.position, 1), lam)
    ...     def label_weight(self, lam, target_a, target_b):
    ...         return lam
    >>> batch = BatchPlan(epoch=0, step=0, index=np.array([5, 9, 2]), position=np.arange(3))
    >>> Neighbour().plan(batch, labels=np.array([0, 1, 0])).partner.tolist()
    [2, 5, 9]
    """

    label_rule: str

    @abstractmethod
    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return the partner of every image, and how much of the image remains.

        The partners are images of the same batch, with the augmentation that they have in their own position, or images
        of the whole data set with an augmentation of their own (``CMO``, ``LOBM``).

        Args:
            batch: the images before mixing.
            labels: (B,) class indices of the images.
        """

    @abstractmethod
    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:
        """Return the weight of every first label, (B,), from the images' mixing coefficients and both labels."""


def mix_within(mixer: Mixer, target: Tensor, *, epoch: int, step: int) -> Mix:
    """Return how a mixer mixes a batch of tensors with itself: the function form of every mixer.

    Raises:
        TypeError: if ``target`` is not a tensor of integers.
        ValueError: if it is not one-dimensional, or a label is outside [0, C).
    """
    rows = np.arange(len(checked_target(target)))
    plan = mixer.plan(BatchPlan(epoch, step, rows, rows), target)
    partner, lam = (torch.from_numpy(each).to(target.device) for each in (plan.partner, plan.lam))
    boxes = None if plan.boxes is None else torch.from_numpy(plan.boxes).to(target.device)
    return Mix(partner, lam, mixer.label_weight(lam, target, target[partner]), boxes)
