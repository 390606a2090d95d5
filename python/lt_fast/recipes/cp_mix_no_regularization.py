"""``cp_mix_no_regularization``: CP-Mix without mixing the plain images among themselves."""

from lt_fast.recipes.cp_mix import variant

RECIPE = variant("cp_mix_no_regularization", "CP-Mix without regularisation", regularize=False)
