"""Many files in several processes: the same facts, kept when the work is interrupted or a decoder dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.inspection.conftest import folder_of

from lt_fast.errors import MissingExtraError
from lt_fast.inspection import scanning
from lt_fast.inspection.cache import FactsCache
from lt_fast.inspection.facts import Facts, look_at
from lt_fast.inspection.scanning import scan


def deadly(file: str) -> Facts:
    """End the process at some files, as a fault in a decoder does."""
    if Path(file).name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return Facts(None, content=file)


def never(file: str) -> Facts:
    raise AssertionError(file)


def failing(file: str) -> Facts:
    raise KeyError(file)


@pytest.fixture
def no_minimum(monkeypatch):
    monkeypatch.setattr(scanning, "_INLINE", 0)


@pytest.mark.usefixtures("no_minimum")
def test_processes_give_the_same_facts_in_order(tmp_path):
    files = sorted(map(str, folder_of(tmp_path / "photos", a=40, b=30).rglob("*.png")))
    files += [files[0], str(tmp_path / "gone.png")]
    alone, done, together = scan(files), [], None
    with FactsCache(tmp_path / "c.sqlite") as cache:
        together = scan(files, processes=2, cache=cache, advance=done.append)
    assert alone == together == [look_at(file) for file in files]
    assert sum(done) == len(files)
    with FactsCache(tmp_path / "c.sqlite") as cache:
        assert scan(files[:-1], cache=cache, look=never) == alone[:-1]  # from the cache alone


@pytest.mark.usefixtures("no_minimum")
def test_a_file_that_ends_its_process_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "_FILES", 4)
    files = [str(tmp_path / name) for name in [*(f"{at}.jpg" for at in range(30)), "deadly.jpg", "last.jpg"]]
    for file in files:
        Path(file).touch()
    found = scan(files, processes=2, look=deadly)
    assert [each.content for each in found if each.problem is None] == [file for file in files if "deadly" not in file]
    assert found[-2].problem.endswith("deadly.jpg cannot be read (its decoding ended the process); replace it")


@pytest.mark.usefixtures("no_minimum")
def test_an_exception_in_another_process_is_no_damage(tmp_path):
    files = [str(tmp_path / f"{at}.jpg") for at in range(3)]
    with pytest.raises(RuntimeError, match=r"a process that looks at images failed \(KeyError: .*0\.jpg"):
        scan(files, processes=2, look=failing)


@pytest.mark.usefixtures("no_minimum")
@pytest.mark.parametrize(("module", "extra"), [("imagehash", "photos"), ("PIL.Image", "train")])
def test_a_missing_library_is_named(tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"run: pip install 'lt-fast\[{extra}\]'"):
        scan([str(tmp_path / "a.jpg")], processes=2)


UNGUARDED = """
import sys
from lt_fast.inspection import groups_of
print("once", len(groups_of(sys.argv[2:], sys.argv[1], processes=2)))
"""


def test_a_script_needs_no_guard(tmp_path):
    root = folder_of(tmp_path / "photos", a=70)
    (tmp_path / "script.py").write_text(UNGUARDED)
    paths = [f"a/{path.name}" for path in (root / "a").iterdir()]
    command = [sys.executable, str(tmp_path / "script.py"), str(root), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once 70\n", "")


def test_an_interruption_keeps_what_was_done(tmp_path):
    files = sorted(map(str, folder_of(tmp_path / "photos", a=40, b=30).rglob("*.png")))

    def interrupt(_: int) -> None:
        if len(reported) == 2:
            raise KeyboardInterrupt
        reported.append(1)

    reported: list[int] = []
    with pytest.raises(KeyboardInterrupt), FactsCache(tmp_path / "c.sqlite") as cache:
        scan(files, cache=cache, advance=interrupt)
    seen = []

    def counted(file: str) -> Facts:
        seen.append(file)
        return look_at(file)

    with FactsCache(tmp_path / "c.sqlite") as cache:
        assert scan(files, cache=cache, look=counted) == scan(files)
    assert 0 < len(seen) < len(files)


def test_nothing_to_scan():
    assert scan([]) == []
