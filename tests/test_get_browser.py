"""``make test`` installs a browser where it can, says so, and goes on without one where it cannot."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import browser

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "get-browser.sh"
AS_ROOT = {"id": "echo 0"}
# Says what it was called with, and installs what the script looks for.
INSTALLS = 'echo "apt-get $*" >>"$LOG"; [ "$1" = update ] || : >"$PLACE/chromium"; chmod +x "$PLACE"/*'
FAILS = 'echo "apt-get $*" >>"$LOG"; exit 100'


def get_browser(folder: Path, tools: dict[str, str], **more: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script where ``tools`` (name to shell body) are all that there is; also return the calls of apt-get."""
    place, log = folder / "bin", folder / "log"
    place.mkdir()
    for name in ("sh", "chmod"):
        (place / name).symlink_to(next(Path(d) / name for d in ("/bin", "/usr/bin") if (Path(d) / name).exists()))
    for name, body in tools.items():
        (place / name).write_text(f"#!{place / 'sh'}\n{body}\n", encoding="utf-8")
        (place / name).chmod(0o755)
    environment = {"PATH": str(place), "LOG": str(log), "PLACE": str(place), **more}
    command = [str(place / "sh"), str(SCRIPT)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    return result, log.read_text().splitlines() if log.exists() else []


def test_the_script_is_run_by_make_test() -> None:
    assert os.access(SCRIPT, os.X_OK)
    target = r"^test: .*\n\t@scripts/get-browser\.sh\n\t@\$\(PYTEST\)$"
    assert re.search(target, (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", browser.NAMES)
def test_a_browser_that_is_there_is_enough(tmp_path: Path, name: str) -> None:
    result, calls = get_browser(tmp_path, {**AS_ROOT, "apt-get": INSTALLS, name: "true"})
    assert (result.stdout, result.stderr, calls) == ("", "", [])


def test_root_with_apt_get_gets_one(tmp_path: Path) -> None:
    result, calls = get_browser(tmp_path, {**AS_ROOT, "apt-get": INSTALLS})
    assert result.stdout.startswith("installing Chromium for the tests of the report's page")
    assert result.stderr == ""
    assert calls[0] == "apt-get update"
    assert re.fullmatch(r"apt-get install -y --no-install-recommends chromium .*", calls[1])
    assert (tmp_path / "bin" / "chromium").exists()


@pytest.mark.parametrize(
    ("tools", "more", "words", "called"),
    [
        ({"id": "echo 1000", "apt-get": INSTALLS}, {}, "installing it needs root", False),
        (AS_ROOT, {}, "no Chromium and no apt-get", False),
        ({**AS_ROOT, "apt-get": FAILS}, {}, "Chromium could not be installed", True),
        ({**AS_ROOT, "apt-get": INSTALLS}, {"LT_FAST_BROWSER": "none"}, "no Chromium is wanted", False),
    ],
)
def test_without_one_the_tests_go_on(tmp_path: Path, tools, more, words: str, called: bool) -> None:
    result, calls = get_browser(tmp_path, tools, **more)
    (line,) = result.stderr.splitlines()
    assert words in line
    assert line.endswith(browser.GET_IT.partition("; ")[2])
    assert bool(calls) == called
