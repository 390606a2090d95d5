"""Tables 3 and 4 of the CP-Mix paper, its ablation: nine rows each, from cross entropy to the whole method.

The tables were not available. Known are their number of rows, the parts that they switch on and off, and the text about
them: balanced softmax is far above cross entropy; regularisation by mixup, and the mixing function alone, do not help;
confusion pairs give the main gain; the mixing function helps only together with the regularisation. The nine rows are
all combinations of those parts, and the data set of each table is ours.
"""

from typing import Any

from lt_fast.recipes.rows import Row, Table

_SOURCE = "ours: CP-Mix paper, section 5 names the parts; its Tables 3 and 4 were not available"
_NO_TUNING: dict[str, Any] = {"calibrator": None}


def _row(label: str, *, pairs: bool, function: bool, regularize: bool, tuned: bool = False) -> Row:
    """Return CP-Mix with some of its parts; without the mixing function labels are mixed as images are."""
    changes: dict[str, Any] = {"method.mix_pairs": pairs, "method.regularize": regularize}
    changes |= {} if function else {"method.tau": 0.0}
    return Row(label, "cp_mix", changes | ({} if tuned else _NO_TUNING), _SOURCE)


ROWS = (
    Row("CE", "ce", {}, _SOURCE),
    Row("BS", "balanced_softmax", {}, _SOURCE),
    _row("BS + regularisation", pairs=False, function=False, regularize=True),
    _row("BS + regularisation + mixing function", pairs=False, function=True, regularize=True),
    _row("BS + pairs", pairs=True, function=False, regularize=False),
    _row("BS + pairs + mixing function", pairs=True, function=True, regularize=False),
    _row("BS + pairs + regularisation", pairs=True, function=False, regularize=True),
    _row("BS + pairs + mixing function + regularisation", pairs=True, function=True, regularize=True),
    _row("CP-Mix, with fine-tuning", pairs=True, function=True, regularize=True, tuned=True),
)
"""The nine rows of both tables."""

TABLE_3 = Table("CP-Mix, Table 3", "cifar100-lt", 100.0, "exp", ROWS, _SOURCE)
TABLE_4 = Table("CP-Mix, Table 4", "cifar10-lt", 100.0, "exp", ROWS, _SOURCE)
