"""The exceptions, and the words for an optional dependency that is not installed."""

import math

import pytest

from lt_fast import _extras, errors


def test_they_are_what_a_caller_would_catch():
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.DataError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert not issubclass(errors.Interrupted, (ValueError, KeyboardInterrupt))


def test_require_gives_the_module():
    assert _extras.require("math", extra="train", purpose="counting") is math
    assert _extras.require("os.path", extra="train", purpose="counting").join


@pytest.mark.parametrize(
    ("module", "distribution"),
    [("no_such_package", "no_such_package"), ("no_such_package.inside", "no_such_package")],
)
def test_a_missing_extra_is_named_with_the_command(module, distribution):
    with pytest.raises(errors.MissingExtraError) as raised:
        _extras.require(module, extra="train", purpose="reading CIFAR")
    assert (
        str(raised.value)
        == f"reading CIFAR needs {distribution}, which is not installed; run: pip install 'lt-fast[train]'"
    )
    assert raised.value.name == distribution
    assert raised.value.__cause__ is None


def test_the_distribution_is_named_where_it_differs_from_the_module(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(errors.MissingExtraError, match="the digits needs scikit-learn, which is not installed"):
        _extras.require("sklearn", extra="train", purpose="the digits")


def test_a_broken_package_tells_its_own_story(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import missing_inside")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="missing_inside") as raised:
        _extras.require("broken_package", extra="train", purpose="x")
    assert not isinstance(raised.value, errors.MissingExtraError)
