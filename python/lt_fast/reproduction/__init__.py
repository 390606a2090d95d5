"""Published tables and figures as rows that can be run: ``lt-fast reproduce``.

>>> target_of("mammc-table-1").published(target_of("mammc-table-1").rows[0])["overall"].accuracy
75.1
"""

from lt_fast.reproduction import cp_mix, drawn_figures, losses_with_margins, mammc, second_stages
from lt_fast.reproduction.answers import Answer, Entry, answer
from lt_fast.reproduction.numbers import Published, published
from lt_fast.reproduction.planning import Plan, plan
from lt_fast.reproduction.target import TARGETS, Row, Tail, Target, register_target, rows_of, rows_on, target_of

__all__ = [
    "TARGETS",
    "Answer",
    "Entry",
    "Plan",
    "Published",
    "Row",
    "Tail",
    "Target",
    "answer",
    "plan",
    "published",
    "register_target",
    "rows_of",
    "rows_on",
    "target_of",
]

_ALL = (mammc, cp_mix, losses_with_margins, second_stages, drawn_figures)
for _target in (target for module in _ALL for target in module.TARGETS):
    register_target(_target)
