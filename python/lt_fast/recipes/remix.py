"""Remix of Chou et al. 2020 with deferred re-weighting, as ntucllab/imbalanced-DL trains it next to MAMix and mixup.

Differs from that code: it also passes the unmixed batch through the network in train mode, to measure the training
accuracy, so that half of what its batch norm averages over is unmixed; and its classifier has no bias.
"""

from lt_fast.recipes.mam import IDL, MAM_DRW
from lt_fast.recipes.recipe import Paper, Spec, cited, register

REMIX_DRW = register(
    MAM_DRW.derive(
        "remix_drw",
        title="Remix with deferred re-weighting",
        paper=Paper("Chou, Chang, Pan, Wei, Juan 2020, Remix: Rebalanced Mixup", arxiv="2007.03943"),
        equations="kappa, tau and the three cases of lambda_y as in _remix_drw.py; re-weighting: Cao et al. 2019 "
        "(arXiv:1906.07413), Algorithm 1",
        mixer=Spec(
            "remix",
            kappa=cited(3.0, f"{IDL}: _remix_drw.py, k_majority; the paper suggests 3"),
            tau=cited(0.5, f"{IDL}: _remix_drw.py, tau; the paper suggests 0.5"),
            alpha=cited(1.0, f"{IDL}: _remix_drw.py, Beta(1, 1)"),
            per_sample=cited(False, f"{IDL}: _remix_drw.py, one lambda per batch"),
        ),
        loss=Spec(normalization=cited("batch", f"{IDL}: plain mean of weighted terms, not a weighted mean")),
    )
)
