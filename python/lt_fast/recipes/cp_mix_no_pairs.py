"""``cp_mix_no_pairs``: CP-Mix with its regularisation alone: no confused pairs are mixed."""

from lt_fast.recipes.cp_mix import variant

RECIPE = variant("cp_mix_no_pairs", "CP-Mix without confused pairs", mix_pairs=False)
