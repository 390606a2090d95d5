"""Settings tried out side by side and chosen on validation images: ``lt-fast sweep``, ``lt_fast.sweep``.

>>> from lt_fast.sweeps import candidates
>>> [given for given in candidates({"learning_rate": [0.05, 0.1], "omega": [0.25, 0.5]})][:2]
[{'learning_rate': 0.05, 'omega': 0.25}, {'learning_rate': 0.05, 'omega': 0.5}]
"""

from lt_fast.sweeps.choosing import METRICS, Candidate, Sweep, Trial
from lt_fast.sweeps.grid import candidates, split_values
from lt_fast.sweeps.sweep import sweep

__all__ = ["METRICS", "Candidate", "Sweep", "Trial", "candidates", "split_values", "sweep"]
