"""Comparison of finished runs: every metric with an interval, and which differences can be told from chance.

>>> from lt_fast.comparison import METRICS
>>> list(METRICS)[:3]
['top1', 'balanced_acc', 'many_recall']
"""

from lt_fast.comparison.measuring import METRICS
from lt_fast.comparison.table import Comparison, Entry, compare, results

__all__ = ["METRICS", "Comparison", "Entry", "compare", "results"]
