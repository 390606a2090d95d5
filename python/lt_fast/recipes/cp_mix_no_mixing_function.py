"""``cp_mix_no_mixing_function``: CP-Mix with mixup's labels: the label factor is the image factor."""

from lt_fast.recipes.cp_mix import variant

RECIPE = variant("cp_mix_no_mixing_function", "CP-Mix without its mixing function", tau=0.0)
