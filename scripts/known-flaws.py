"""Looks up known flaws, licences and sources of every locked package and crate: ``pip-audit`` and ``cargo deny``.

A finding ends it with status 1. What cannot be looked up (a tool that is not installed, no network, a registry without
advisories) is one line each, and is no failure. The answer is stored in build/known-flaws.json and repeated for a day,
as long as the locked packages and crates stay the same; ``--again`` looks everything up now.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCKED = ("requirements-wheel.lock", "requirements.lock", "Cargo.lock", "deny.toml", "scripts/known-flaws.py")
STORED = ROOT / "build/known-flaws.json"
ONE_DAY = 86_400  # seconds

# Flaws that are accepted, each with its reason: {"PYSEC-2026-1": "the function that it is in is never called"}.
ACCEPTED: dict[str, str] = {}


class Answer(NamedTuple):
    """What is wrong, and what was not looked up, a line each."""

    findings: list[str]
    unknown: list[str]


def main() -> int:
    """Print the answer and return 1 if it has findings."""
    parser = argparse.ArgumentParser(description="known flaws, licences and sources of what is locked")
    parser.add_argument("--again", action="store_true", help="look everything up now, also within a day")
    again = parser.parse_args().again
    key = _key()
    answer = None if again else _stored(key)
    if answer is None:
        answer = _joined([_crates(), _every_package()])
        _store(key, answer)
    for line in dict.fromkeys([*answer.unknown, *answer.findings]):
        print(f"known-flaws: {line}", file=sys.stderr)
    return 1 if answer.findings else 0


def _key() -> str:
    tools = [shutil.which("cargo-deny") or "", sys.executable]
    return hashlib.sha256(
        b"\0".join([*((ROOT / name).read_bytes() for name in LOCKED), *map(str.encode, tools)])
    ).hexdigest()


def _stored(key: str) -> Answer | None:
    try:
        kept = json.loads(STORED.read_text(encoding="utf-8"))
        if kept["key"] == key and 0 <= time.time() - kept["time"] < ONE_DAY:
            return Answer(kept["findings"], kept["unknown"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _store(key: str, answer: Answer) -> None:
    """Keep an answer without findings: what is wrong is looked up until it is mended."""
    if not answer.findings:
        STORED.parent.mkdir(exist_ok=True)
        STORED.write_text(json.dumps({"key": key, "time": time.time(), **answer._asdict()}), encoding="utf-8")


def _crates() -> Answer:
    if shutil.which("cargo-deny") is None:
        return Answer([], ["the crates were not looked up: cargo install --locked cargo-deny"])
    rules = _run(["cargo", "deny", "--offline", "check", "licenses", "bans", "sources"])
    answer = Answer([] if rules.returncode == 0 else [_shortened("cargo deny", rules.stdout + rules.stderr)], [])
    flaws = _run(["cargo", "deny", "check", "advisories"])
    if flaws.returncode == 0:
        return answer
    if "advisory database" in flaws.stderr and "error[" not in flaws.stderr:  # nothing was compared
        return answer._replace(unknown=["no network: advisories on crates were not looked up"])
    return answer._replace(findings=[*answer.findings, _shortened("cargo deny", flaws.stdout + flaws.stderr)])


def _joined(answers: list[Answer]) -> Answer:
    return Answer(*([line for lines in parts for line in lines] for parts in zip(*answers, strict=True)))


def _every_package() -> Answer:
    """Begin with the short list: where nothing is known of it, the long one would be as many questions in vain."""
    short, long = LOCKED[:2]
    first = _packages(short)
    return first if first.unknown else _joined([first, _packages(long)])


def _packages(lock: str) -> Answer:
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        str(ROOT / lock),
        "--require-hashes",
        "--disable-pip",
    ]
    command += ["--progress-spinner", "off", "--format", "json", "--desc", "off", "--timeout", "10"]
    done = _run([*command, *(word for flaw in ACCEPTED for word in ("--ignore-vuln", flaw))])
    if "No module named pip_audit" in done.stderr:
        return Answer([], ["Python packages were not looked up: pip install pip-audit"])
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Answer(
            [], [_shortened("no network: advisories on Python packages were not looked up", done.stderr, lines=1)]
        )
    return _of_packages(lock, found)


def _of_packages(lock: str, found: list[dict[str, object]]) -> Answer:
    skipped = [each for each in found if "skip_reason" in each]
    unknown = []
    if skipped:
        unknown = [f"no advisories on Python packages could be had ({len(skipped)} of {len(found)} in {lock})"]
    findings = []
    for each in found:
        for flaw in each.get("vulns", []):  # type: ignore[attr-defined]
            fixed = ", ".join(flaw["fix_versions"]) or "no release yet"
            findings.append(f"{lock}: {each['name']} {each['version']} has {flaw['id']}, mended in {fixed}")
    return Answer(findings, unknown)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _shortened(name: str, text: str, lines: int = 40) -> str:
    kept = [line for line in text.strip().splitlines() if line.strip()] or ["it said nothing"]
    return f"{name}: " + "\n".join(kept[-lines:])


if __name__ == "__main__":
    sys.exit(main())
