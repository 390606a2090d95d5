"""A training protocol over a recipe: found by name, refused where it does not fit, merged with its sources."""

from collections.abc import Mapping
from typing import Any

from lt_fast._text import shown
from lt_fast.errors import UsageError
from lt_fast.experiment.components import component_of, settable, takes_any
from lt_fast.experiment.lengths import training_images
from lt_fast.recipes import TRAINING_PROTOCOLS, Recipe, Spec, TrainingProtocol
from lt_fast.recipes.recipe import Setting, Settings, plain

TRAINING_PROTOCOL = "protocol"
"""Setting that names the training protocol of a run."""


def training_protocol_of(name: str, data: str | None = None) -> TrainingProtocol:
    """Return the training protocol called ``name``; underscores count as hyphens.

    Args:
        name: in ``TRAINING_PROTOCOLS``.
        data: name of the protocol of the data set that it must fit.

    Raises:
        UsageError: if there is none, naming the nearest; or it is not stated for the data set, naming those it is for.

    >>> protocol = training_protocol_of("mammc_paper")
    >>> protocol.name, protocol.settings["batch_size"].value, sorted(protocol.on)[:2]
    ('mammc-paper', 256, ['cifar10-lt', 'cifar100-lt'])
    """
    known = list(TRAINING_PROTOCOLS)
    if not isinstance(name, str):
        raise UsageError(f"protocol must be one of {', '.join(known)}, got {shown(name)}")
    hyphened = name.replace("_", "-")
    found = TRAINING_PROTOCOLS[hyphened if hyphened in TRAINING_PROTOCOLS else name]
    if not isinstance(found, TrainingProtocol):
        where = TRAINING_PROTOCOLS.where(name)
        raise UsageError(f"protocol {name!r} must be a TrainingProtocol, got {shown(found)} from {where}")
    if data is not None and data not in found.on:
        mode = next((name.partition("-")[2] for name in found.on if name.startswith("photographs-")), "")
        hint = f"add --{mode}" if mode and data.startswith("photographs-") else "leave --protocol out"
        raise UsageError(f"protocol {found.name} is stated for {', '.join(found.on)}, got {data}; {hint}")
    return found


def laid_over(
    protocol: TrainingProtocol,
    recipe: Recipe,
    stated: Settings,
    usual: str,
    data: str,
    tail: Mapping[str, Any],
    *,
    own_network: bool = False,
) -> dict[str, Setting]:
    """Return the settings of ``recipe`` with those of ``protocol`` over them.

    Args:
        protocol: fits ``usual``.
        recipe: whose settings they are.
        stated: the recipe's over those of the data set's protocol.
        usual: name of the data set's protocol.
        data: name of the data set.
        tail: its imbalance ratio and profile.
        own_network: whether the user named the network, which then stays.

    Raises:
        UsageError: if a component of the recipe does not take an option that the protocol changes.
    """
    images = training_images(data, tail["imbalance_ratio"], tail["profile"]) if protocol.needs_images(usual) else 0
    if images is None:
        raise UsageError(
            f"protocol {protocol.name} has its length in steps on {data}, whose number of training images is not known "
            "before they are read; leave --protocol out"
        )
    own = own_network or _needs_its_network(recipe, recipe.settings_for(data, tail["profile"], tail["imbalance_ratio"]))
    merged = protocol.over(stated, usual, images, own_network=own)
    for slot, setting in protocol.settings_for(usual, images).items():
        _refuse_unfit(protocol, slot, setting, merged.get(slot))
    return merged


def _needs_its_network(recipe: Recipe, stated: Settings) -> bool:
    """Return whether a method needs the network that a recipe names, or options of it but the head, such as experts.

    A recipe of plain classification that names one on a single data set names its size, which is the protocol's.
    """
    everywhere, here = recipe.settings.get("model"), stated.get("model")
    if isinstance(everywhere, Spec) and everywhere.name is not None:
        return True
    if not isinstance(here, Spec):
        return False
    named = here.name is not None and recipe.settings.get("method") is not None
    return named or (here.name is None and bool(here.options.keys() - {"head"}))


def _refuse_unfit(protocol: TrainingProtocol, slot: str, setting: Setting, merged: Setting) -> None:
    """Refuse an option that the component of the recipe does not have."""
    if not (isinstance(setting, Spec) and isinstance(merged, Spec)) or (
        setting.name is not None and plain(setting.name) != plain(merged.name)
    ):
        return
    component = component_of(slot, plain(merged.name))
    wrong = [name for name in setting.options if name not in settable(slot, component) and takes_any(component) is None]
    if wrong:
        raise UsageError(
            f"protocol {protocol.name} sets {slot}.{wrong[0]}, which the {slot} {plain(merged.name)} does not have; "
            f"leave --protocol out, or name another {slot} with --set {slot}=NAME"
        )
