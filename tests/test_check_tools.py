"""``make`` names a missing or too old tool in one line, with the command that gets it."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "check-tools.sh"
NEW_ENOUGH = {
    "python3": 'case "$2" in *platform*) echo 3.12.1;; esac',
    "cargo": "true",
    "rustc": "echo 'rustc 1.95.0 (59807616e 2026-04-14)'",
    "g++": "echo 12",
}


def check(folder: Path, tools: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script where ``tools`` (name to shell body) are the only compilers and interpreters to be found."""
    for name in ("sh", "sort", "head", "cut"):
        (folder / name).symlink_to(next(Path(d) / name for d in ("/bin", "/usr/bin") if (Path(d) / name).exists()))
    for name, body in tools.items():
        (folder / name).write_text(f"#!{folder / 'sh'}\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "CXX"} | {"PATH": str(folder)}
    command = [str(folder / "sh"), str(SCRIPT), "python3"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_enough_is_silent(tmp_path: Path) -> None:
    result = check(tmp_path, NEW_ENOUGH)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("tool", "body", "words"),
    [
        ("python3", None, "python3 is missing; get it with: apt-get install python3 python3-venv"),
        ("python3", "echo 3.9.18", "python3 is 3.9.18, lt-fast needs >= 3.11"),
        ("python3", 'case "$2" in *platform*) echo 3.11.7;; *) exit 1;; esac', "apt-get install python3-venv"),
        ("cargo", None, "cargo (Rust) is missing; get it with: curl"),
        ("rustc", "echo 'rustc 1.75.0 (82e1608df 2023-12-21)'", "rustc is 1.75.0, lt-fast needs >= 1.89; get it with:"),
        ("g++", None, "g++ is missing; get it with: apt-get install g++"),
        ("g++", "echo 9", "g++ is 9, lt-fast needs >= 11; get it with: apt-get install g++-12"),
    ],
)
def test_what_is_missing_or_old_is_named_in_one_line(tmp_path: Path, tool: str, body: str | None, words: str) -> None:
    tools = {name: text for name, text in NEW_ENOUGH.items() if name != tool} | ({tool: body} if body else {})
    result = check(tmp_path, tools)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.startswith("make: ")
    assert len(result.stderr.splitlines()) == 1
