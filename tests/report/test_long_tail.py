"""The picture of the classes' sizes, for ordinary and odd ones."""

import pytest

from lt_fast.errors import DataError
from lt_fast.report.long_tail import long_tail


@pytest.mark.parametrize(("counts", "present", "absent"), [
    ([200, 50, 3, 0], ["many: more than 100 (1 class)", "medium: 20 to 100 (1 class)", "few: less than 20 (1"], []),
    ([1], ["few: less than 20 (1 class)"], ["many", "medium"]),
    ([0, 0], [], ["many", "few"]),
    ([500] * 30 + [7] * 20_000, ["many: more than 100 (30 classes)", "few: less than 20 (20000 classes)"], ["medium"]),
])  # fmt: skip
def test_groups_that_are_there(tmp_path, counts, present, absent):
    long_tail(tmp_path / "new" / "tail", counts, [f"class {at}" for at in range(len(counts))], title="photos")
    text = (tmp_path / "new" / "tail.svg").read_text()
    assert (tmp_path / "new" / "tail.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert all(f">{words}" in text for words in present)
    assert not any(f">{words}" in text for words in absent)
    assert (">class 0<" in text) == (len(counts) <= 40)


def test_long_names_are_shortened_and_the_largest_is_first(tmp_path):
    long_tail(tmp_path / "t", [1, 5], ["small", "a" * 60], title="t")
    text = (tmp_path / "t.svg").read_text()
    assert text.index("a" * 23 + "\N{HORIZONTAL ELLIPSIS}") < text.index(">small<")


def test_a_folder_that_cannot_be_written_names_no_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file cannot be written .*; choose another folder"):
        long_tail(tmp_path / "file" / "t", [1], ["a"], title="t")
