"""Mixers: which two images are mixed, how much of each, and how much of each label.

A mixer has ``partner(epoch, step, labels)``, ``factor(epoch, step, batch_size)`` and ``label_factor(lam, a, b)``; the
function of the same name gives all three for one batch as a ``Mix``, to be used in any loop::

    mix = lt.mixing.mam(y, counts, seed=0, epoch=epoch, step=step)
    logits = model(mix.apply(x))
    loss = criterion(logits, y, y[mix.partner], mix.lam_label)     # a criterion with label_rule="mixup"
"""

from lt_fast.mixing.cp_mix import CPMix, cp_mix, cp_mix_label_factor
from lt_fast.mixing.mam import MAM, mam, mam_label_factor
from lt_fast.mixing.mix import Mix, Mixer
from lt_fast.mixing.mixup import Mixup, mixup
from lt_fast.mixing.remix import Remix, remix, remix_label_factor
from lt_fast.mixing.unimix import UniMix, unimix, unimix_factor
from lt_fast.registry import Registry

__all__ = [
    "MAM",
    "MIXERS",
    "CPMix",
    "Mix",
    "Mixer",
    "Mixup",
    "Remix",
    "UniMix",
    "cp_mix",
    "cp_mix_label_factor",
    "mam",
    "mam_label_factor",
    "mixup",
    "remix",
    "remix_label_factor",
    "unimix",
    "unimix_factor",
]

MIXERS = Registry(
    "mixer",
    {
        "mixup": "lt_fast.mixing.mixup:Mixup",
        "mam": "lt_fast.mixing.mam:MAM",
        "remix": "lt_fast.mixing.remix:Remix",
        "unimix": "lt_fast.mixing.unimix:UniMix",
        "cp_mix": "lt_fast.mixing.cp_mix:CPMix",
    },
)
"""Name to class, one line a mixer: ``MIXERS["mam"](counts, omega=0.25)``."""
