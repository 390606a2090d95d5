"""Mixers: which two images are mixed, with which coefficient, and with which weights of their labels.

A mixer is given to a ``Loader``, which reads mixed batches, and its ``label_rule`` to a loss::

    mixer = lt.mixing.MAM(counts, seed=0)
    loader = lt.data.Loader(source, sampler, transform=transform, mixer=mixer, seed=0)
    criterion = lt.losses.LDAMLoss(counts, label_rule=mixer.label_rule)
    for batch in loader:
        loss = criterion(model(batch.x), batch.target, batch.target_b, batch.lam)

The function of the same name mixes a batch of tensors in any loop, by a ``Mix``::

    mix = lt.mixing.mam(y, counts, seed=0, epoch=epoch, step=step)
    logits = model(mix.apply(x))
    loss = criterion(logits, y, y[mix.partner], mix.lam_label)     # a criterion with label_rule="mixup"

``CMO`` and ``LOBM`` take partners from the whole data set rather than the batch, so they are for a ``Loader`` alone;
``OTMix`` needs the network as well (``lt_fast.methods.FeatureMixing``).

``plan(batch, labels)`` is all that a ``Loader`` asks for: see ``Mixer`` for one of your own.
"""

from lt_fast.mixing.cmo import CMO
from lt_fast.mixing.cp_mix import CPMix, cp_mix, cp_mix_label_weight
from lt_fast.mixing.cutmix import CutMix, cutmix
from lt_fast.mixing.lobm import LOBM
from lt_fast.mixing.mam import MAM, mam, mam_label_weight
from lt_fast.mixing.mix import Mix, Mixer
from lt_fast.mixing.mixup import Mixup, mixup
from lt_fast.mixing.otmix import OTMix, otmix_backgrounds
from lt_fast.mixing.remix import Remix, remix, remix_label_weight
from lt_fast.mixing.unimix import UniMix, unimix, unimix_coefficient
from lt_fast.registry import MIXERS

__all__ = [
    "CMO",
    "LOBM",
    "MAM",
    "MIXERS",
    "CPMix",
    "CutMix",
    "Mix",
    "Mixer",
    "Mixup",
    "OTMix",
    "Remix",
    "UniMix",
    "cp_mix",
    "cp_mix_label_weight",
    "cutmix",
    "mam",
    "mam_label_weight",
    "mixup",
    "otmix_backgrounds",
    "remix",
    "remix_label_weight",
    "unimix",
    "unimix_coefficient",
]
