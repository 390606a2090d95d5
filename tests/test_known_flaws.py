"""``make lint`` looks up known flaws: a finding fails, what cannot be looked up is one line, an answer lasts a day."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "scripts/known-flaws.py"
FILES = (SCRIPT, "requirements.lock", "requirements-wheel.lock", "Cargo.lock", "deny.toml")

# What the two tools answer, told by files next to the script.
CARGO = (
    '#!/bin/sh\necho "cargo $*" >>"$LOG"\ncase "$*" in *advisories) cat "$ADVISORIES" >&2;; *) cat "$RULES";; esac\n'
)
CARGO += 'case "$*" in *advisories) [ ! -s "$ADVISORIES" ];; *) [ ! -s "$RULES" ];; esac\n'
PIP_AUDIT = """
import os, pathlib, sys
with open(os.environ["LOG"], "a") as log:
    print("pip_audit", *(pathlib.Path(word).name for word in sys.argv[1:3]), file=log)
answer = pathlib.Path(os.environ["PACKAGES"]).read_text()
sys.exit(answer) if not answer.startswith("{") else print(answer)
"""
CLEAN = json.dumps({"dependencies": [{"name": "tqdm", "version": "4.70.1", "vulns": []}], "fixes": []})
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["4.71.0"], "aliases": []}
FLAWED = json.dumps({"dependencies": [{"name": "tqdm", "version": "4.70.1", "vulns": [FLAW]}], "fixes": []})
SKIPPED = json.dumps({"dependencies": [{"name": "tqdm", "skip_reason": "not found"}], "fixes": []})
NO_DATABASE = "[ERROR] failed to fetch advisory database https://example.org/db"


@pytest.fixture
def clone(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("cargo", "cargo-deny"):
        (tmp_path / name).write_text(CARGO)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "pip_audit.py").write_text(PIP_AUDIT)
    return tmp_path


def known_flaws(clone, *words, packages=CLEAN, advisories="", rules="", without=""):
    """Run the script; return its status, the lines it says and the calls of the two tools."""
    for name, text in (("packages", packages), ("advisories", advisories), ("rules", rules), ("log", "")):
        (clone / name).write_text(text)
    if without:
        (clone / without).unlink()
    environment = {"PATH": f"{clone}:/usr/bin:/bin", "PYTHONPATH": str(clone)}
    environment |= {name.upper(): str(clone / name) for name in ("packages", "advisories", "rules", "log")}
    command = [sys.executable, str(clone / SCRIPT), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines(), (clone / "log").read_text().splitlines()


def test_make_lint_runs_it():
    assert re.search(
        r"^lint: .*\n(\t.*\n)*\t@\$\(BIN\)/python scripts/known-flaws\.py$",
        (ROOT / "Makefile").read_text(),
        re.MULTILINE,
    )


def test_without_a_finding_it_says_nothing_and_asks_once_a_day(clone):
    status, lines, calls = known_flaws(clone)
    assert (status, lines) == (0, [])
    assert [call.split()[0] for call in calls] == ["cargo", "cargo", "pip_audit", "pip_audit"]
    assert known_flaws(clone, packages=FLAWED) == (0, [], [])
    assert known_flaws(clone, "--again", packages=FLAWED)[0] == 1
    stored = clone / "build/known-flaws.json"
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"time": 0}))
    assert known_flaws(clone, packages=FLAWED)[0] == 1


def test_another_lock_file_is_looked_up(clone):
    known_flaws(clone)
    (clone / "Cargo.lock").write_text("# another\n")
    assert len(known_flaws(clone)[2]) == 4


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"packages": FLAWED}, "requirements.lock: tqdm 4.70.1 has PYSEC-2026-1, mended in 4.71.0"),
        ({"advisories": "error[vulnerability]: use after free"}, "cargo deny: error[vulnerability]: use after free"),
        ({"rules": "error[rejected]: GPL-3.0"}, "cargo deny: error[rejected]: GPL-3.0"),
    ],
)
def test_a_finding_fails_every_time(clone, answers, words):
    for _ in range(2):
        status, lines, _ = known_flaws(clone, **answers)
        assert status == 1
        assert f"known-flaws: {words}" in lines


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"packages": SKIPPED}, "no advisories on Python packages could be had (1 of 1 in requirements-wheel.lock)"),
        (
            {"packages": "ConnectionError"},
            "no network: advisories on Python packages were not looked up: ConnectionError",
        ),
        ({"without": "pip_audit.py"}, "Python packages were not looked up: pip install pip-audit"),
        ({"advisories": NO_DATABASE}, "no network: advisories on crates were not looked up"),
        ({"without": "cargo-deny"}, "the crates were not looked up: cargo install --locked cargo-deny"),
    ],
)
def test_what_cannot_be_looked_up_is_one_line_and_no_failure(clone, answers, words):
    if answers.get("without") == "pip_audit.py":  # an interpreter that has none
        script = clone / SCRIPT
        script.write_text(
            script.read_text()
            .replace('"pip_audit"', '"no_such_pip_audit"')
            .replace("named pip_audit", "named no_such_pip_audit")
        )
    status, lines, calls = known_flaws(clone, **answers)
    assert (status, lines) == (0, [f"known-flaws: {words}"])
    assert sum("pip_audit" in call for call in calls) in (0, 1, 2)
    assert known_flaws(clone, **{**answers, "without": ""})[1:] == (lines, [])


def test_the_rules_for_crates_allow_no_licence_that_a_wheel_could_not_carry():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    assert not [name for name in rules["licenses"]["allow"] if "GPL" in name]
    assert rules["sources"] == {"unknown-registry": "deny", "unknown-git": "deny"}


@pytest.mark.skipif(shutil.which("cargo-deny") is None, reason="cargo-deny is not installed")
def test_the_crates_keep_the_rules():
    command = ["cargo", "deny", "--offline", "check", "licenses", "bans", "sources"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
