"""Published tables and figures as rows that can be run: ``lt-fast reproduce``.

>>> target_of("mammc-table-1").published(target_of("mammc-table-1").rows[0])["overall"].accuracy
75.1
"""

from lt_fast.reproduction import cp_mix, losses_with_margins, mammc, second_stages
from lt_fast.reproduction.answers import Answer, Entry, answer
from lt_fast.reproduction.numbers import Published, published
from lt_fast.reproduction.planning import Plan, plan
from lt_fast.reproduction.target import TARGETS, Row, Tail, Target, register_target, rows_on, target_of

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
    "rows_on",
    "target_of",
]

for _target in (*mammc.TARGETS, *cp_mix.TARGETS, *losses_with_margins.TARGETS, *second_stages.TARGETS):
    register_target(_target)
