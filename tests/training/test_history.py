import pytest

from lt_fast.errors import DataError
from lt_fast.training import History

ROWS = [
    {"epoch": 1, "learning_rate": 0.1, "train_loss": 0.1 + 0.2},
    {"epoch": 2, "learning_rate": 1e-05, "train_loss": float("nan"), "top1": 0.5, "few_recall": None},
]


def test_csv_and_back_is_the_same_but_for_none(tmp_path):
    history = History(ROWS)
    path = tmp_path / "metrics.csv"
    path.write_text(history.to_csv())
    assert path.read_text().splitlines()[:2] == [
        "epoch,learning_rate,train_loss,top1,few_recall",
        "1,0.1,0.30000000000000004,,",
    ]
    back = History.from_csv(path)
    assert back.columns == history.columns
    assert back.column("top1") == [None, 0.5]
    assert back.column("train_loss")[0] == 0.1 + 0.2
    assert [type(value) for value in back.column("epoch")] == [int, int]
    assert back.to_csv() == history.to_csv()


def test_it_holds_rows_in_order():
    history = History(ROWS)
    assert len(history) == 2
    assert history[-1]["top1"] == 0.5
    assert list(history) == history.rows == ROWS
    assert repr(history) == "History(2 epochs: epoch, learning_rate, train_loss, top1, few_recall)"
    assert History().to_csv() == "\n"
    assert len(History()) == 0


def test_rows_are_copied():
    row = {"epoch": 1}
    history = History([row])
    row["epoch"] = 2
    assert history[0] == {"epoch": 1}


@pytest.mark.parametrize(("rows", "known"), [([], "no rows yet"), (ROWS[:1], "epoch, learning_rate, train_loss")])
def test_an_unknown_column(rows, known):
    with pytest.raises(KeyError, match=f"history has no column 'top5'; it has {known}"):
        History(rows).column("top5")


def test_a_missing_file_and_a_damaged_one(tmp_path):
    with pytest.raises(DataError, match=r"metrics.csv cannot be read \(No such file"):
        History.from_csv(tmp_path / "metrics.csv")
    path = tmp_path / "damaged.csv"
    for text in ("epoch,loss\n1,zero\n", "epoch,loss\n1\n", "epoch\n1,2\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"damaged.csv is damaged: .*; resuming the run writes it again"):
            History.from_csv(path)
