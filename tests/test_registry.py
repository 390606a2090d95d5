"""``Registry``: lazy, read-only, and helpful about a name it does not know."""

import doctest
import sys

import pytest

from lt_fast._text import nearest
from lt_fast.errors import UsageError
from lt_fast.registry import Registry

METHODS = Registry("method", {"ldam_drw": "lt_fast.errors:UsageError", "mammc": "lt_fast.errors:DataError"})


def test_it_is_a_mapping():
    assert list(METHODS) == ["ldam_drw", "mammc"]
    assert len(METHODS) == 2
    assert "mammc" in METHODS
    assert 7 not in METHODS
    assert METHODS["ldam_drw"] is UsageError
    assert dict(METHODS.items())["ldam_drw"] is UsageError


def test_it_cannot_be_written():
    with pytest.raises(TypeError, match="does not support item assignment"):
        METHODS["other"] = UsageError


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("ldam-drw", "; did you mean 'ldam_drw'?"),
        ("LDAM_DRW", "; did you mean 'ldam_drw'?"),
        ("mamc", "; did you mean 'mammc'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest(asked, hint):
    with pytest.raises(UsageError) as raised:
        METHODS[asked]
    assert str(raised.value) == f"method must be one of ldam_drw, mammc, got {asked!r}{hint}"


def test_nearest_of_nothing():
    assert nearest("x", []) == ""


def test_a_name_is_imported_when_it_is_asked_for_and_not_before(tmp_path, monkeypatch):
    (tmp_path / "loud_module.py").write_text("thing = 'heard'")
    monkeypatch.syspath_prepend(tmp_path)
    lazy = Registry("sound", {"loud": "loud_module:thing"})
    assert "loud" in lazy
    assert list(lazy) == ["loud"]
    assert "loud_module" not in sys.modules
    assert lazy["loud"] == "heard"
    assert "loud_module" in sys.modules


def test_the_docstring_examples_run():
    import lt_fast.counts
    import lt_fast.registry

    for module in (lt_fast.registry, lt_fast.counts):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
