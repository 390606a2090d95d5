"""Tables: alignment, Markdown, percent, intervals, and groups without classes."""

import pytest

from lt_fast.metrics import mean_interval
from lt_fast.report.metrics_table import Interval, header, interval_row, metrics_row, over_seeds
from lt_fast.report.tables import markdown_table, percent, text_table


def _metrics(top1, few=0.25):
    return {"top1": top1, "many_recall": 0.9, "medium_recall": 0.5, "few_recall": few, "ece15": 0.1234}


def test_percent():
    assert [percent(0.8333), percent(None), percent(1.0), percent(0.5, 0.021)] == ["83.3", "-", "100.0", "50.0 ± 2.1"]


def test_a_text_table_aligns_words_left_and_numbers_right():
    table = text_table(["method", "overall"], [["ce", "9.1"], ["ldam_drw", "71.25"]])
    assert table.splitlines() == ["method    overall", "--------  -------", "ce            9.1", "ldam_drw    71.25"]


def test_a_text_table_may_align_more_columns_left():
    table = text_table(["a", "b", "c"], [["xx", "yy", "1"]], left=2)
    assert table.splitlines() == ["a   b   c", "--  --  -", "xx  yy  1"]


def test_a_markdown_table_aligns_and_escapes():
    table = markdown_table(["m", "n"], [["a|b", "1"]])
    assert table.splitlines() == ["| m    |  n |", "| ---- | -: |", "| a\\|b |  1 |"]


def test_a_table_without_rows_is_its_header():
    assert text_table(["m", "n"], []).splitlines() == ["m  n", "-  -"]


@pytest.mark.parametrize("table", [text_table, markdown_table])
def test_a_row_of_another_length_is_refused(table):
    with pytest.raises(ValueError, match=r"rows must have one cell a column \(2\), got 1: \['x'\]"):
        table(["a", "b"], [["x"]])


def test_a_row_of_metrics_is_percent_with_a_dash_for_an_empty_group():
    assert metrics_row("ce", _metrics(0.7, few=None)) == ["ce", "70.0", "90.0", "50.0", "-", "12.3"]
    assert header() == ["method", "overall", "many", "medium", "few", "ECE"]


def test_intervals_over_seeds_are_students():
    over = over_seeds([_metrics(0.7), _metrics(0.8), _metrics(0.9)], mean_interval)
    # t(0.975, 2) = 4.302653, standard deviation 0.1, three values
    assert over["top1"].mean == pytest.approx(0.8)
    assert over["top1"].half_width == pytest.approx(4.302652729911275 * 0.1 / 3**0.5)
    assert over["many_recall"] == Interval(pytest.approx(0.9), pytest.approx(0.0))
    assert interval_row("ce", over)[:2] == ["ce", "80.0 ± 24.8"]


def test_one_seed_has_no_interval_and_an_empty_group_no_number():
    assert over_seeds([_metrics(0.7)], mean_interval)["top1"] == Interval(0.7, None)
    assert over_seeds([_metrics(0.7), _metrics(0.7, few=None)], mean_interval)["few_recall"] == Interval(None, None)
