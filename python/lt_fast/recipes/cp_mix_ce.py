"""``cp_mix_ce``: CP-Mix over cross entropy in place of balanced softmax."""

from lt_fast.recipes.cp_mix import variant

RECIPE = variant("cp_mix_ce", "CP-Mix over cross entropy", loss="cross_entropy")
