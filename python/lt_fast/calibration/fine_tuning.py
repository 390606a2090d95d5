"""Fine-tune a whole network after its classifier: the second half of linear probing and then fine-tuning."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast.calibration.descent import finite_loss
from lt_fast.calibration.heads import Model, unwrapped
from lt_fast.calibration.labelled_batches import labelled


def fine_tuned(
    model: Model,
    passes: Iterable[Iterable[Any]],
    *,
    rates: Sequence[float],
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    scale: float = 1.0,
    device: str | torch.device | None = None,
    amp: bool = False,
) -> tuple[Model, list[float]]:
    """Train all weights of a copy of ``model`` by cross entropy, and return the copy and the mean loss of each epoch.

    The copy is in eval mode throughout: batch norm keeps its statistics. SGD with Nesterov momentum.

    Args:
        model: any module; it is not changed.
        passes: for each epoch the batches, ``(x, labels)`` as ``collect`` takes.
        rates: learning rate of each epoch.
        momentum: in [0, 1); 0 is plain SGD.
        weight_decay: L2 penalty.
        scale: what the training loss multiplies the logits by.
        device: where to compute; the model's own when left out.
        amp: compute in bfloat16 where autocast deems it safe.

    Raises:
        TypeError, ValueError: if a batch has another form or is mixed, or there is not one pass per rate.
        CalibrationDivergedError: if the loss stops being finite.

    Source: code pujacomputes/classifier_playground, train_simplicity_bias.py train_loop with ``train_batchnorm`` off,
    of Trivedi et al. 2023, arXiv:2303.13500. Its scheduler takes a step of the epochs' cosine at every batch, so that
    the rate goes up and down; here the caller gives one rate per epoch.

    >>> from lt_fast.models import digits_net
    >>> model, y = digits_net(2, seed=0), torch.tensor([0, 0, 0, 1])
    >>> x = y.float().reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    >>> tuned, losses = fine_tuned(model, [[(x, y)]] * 5, rates=[0.05] * 5)
    >>> losses[4] < losses[0], torch.equal(tuned.head.weight, model.head.weight)
    (True, False)
    """
    if not rates:
        raise ValueError("rates must have the learning rate of at least one epoch, got none")
    tuned = copy.deepcopy(model).eval()
    inner = unwrapped(tuned)
    if device is not None:
        inner.to(device)
    parameters = [each.requires_grad_() for each in inner.parameters()]
    optimizer = torch.optim.SGD(
        parameters, lr=rates[0], momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    losses: list[float] = []
    for epoch, (rate, batches) in enumerate(_paired(rates, passes)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses.append(finite_loss(_one_epoch(inner, optimizer, batches, scale=scale, amp=amp), epoch))
    return tuned, losses


def other_weights(model: nn.Module, head: nn.Module) -> dict[str, Tensor]:
    """Return every parameter of ``model`` but those of its ``head``, by name, float32 or float64 on the CPU."""
    own = {id(each) for each in head.parameters()}
    return {
        name: each.detach().cpu().clone() for name, each in unwrapped(model).named_parameters() if id(each) not in own
    }


def with_other_weights(model: Model, weights: Mapping[str, Tensor]) -> Model:
    """Return a copy of ``model`` with the parameters of ``other_weights``.

    Raises:
        ValueError: if it has no such parameter, or one of another shape.
    """
    changed = copy.deepcopy(model)
    own = dict(unwrapped(changed).named_parameters())
    for name, values in weights.items():
        found = own.get(name)
        if found is None or found.shape != values.shape:
            came = "none" if found is None else f"shape {tuple(found.shape)}"
            raise ValueError(f"model must have {name} of shape {tuple(values.shape)}, as was fine-tuned, got {came}")
        with torch.no_grad():
            found.copy_(values)
    return changed


def _paired(rates: Sequence[float], passes: Iterable[Iterable[Any]]) -> Iterator[tuple[float, Iterable[Any]]]:
    """Yield the rate and the batches of each epoch."""
    given, rule = iter(passes), f"passes must have the batches of each of {len(rates)} epochs"
    for epoch, rate in enumerate(rates):
        batches = next(given, None)
        if batches is None:
            raise ValueError(f"{rule}, got {epoch}")
        yield rate, batches
    if next(given, None) is not None:
        raise ValueError(f"{rule}, got more")


def _one_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Any], *, scale: float, amp: bool
) -> float:
    first = next(model.parameters())
    total, rows = torch.zeros((), dtype=torch.float64, device=first.device), 0
    for x, labels in labelled(batches, progress=False):
        optimizer.zero_grad()
        with torch.autocast(first.device.type, dtype=torch.bfloat16, enabled=amp):
            logits = model(x.to(first.device, non_blocking=True))
        loss = F.cross_entropy(scale * logits.float(), labels.to(first.device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(labels)
        rows += len(labels)
    return float(total) / max(rows, 1)
