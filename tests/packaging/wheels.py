"""Wheels of the working tree, and environments outside the clone that they are installed into."""

import base64
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "lt_fast"

_WITHOUT_PATHS = {  # as `make wheel` does
    "RUSTFLAGS": f"--remap-path-prefix={os.environ.get('CARGO_HOME', Path.home() / '.cargo')}/registry/src/= "
    f"--remap-path-prefix={ROOT}/="
}


def maturin(*arguments):
    """Run it with the settings of ``make``: with others, cargo would compile the extension again."""
    environment = {**os.environ, **_WITHOUT_PATHS, "VIRTUAL_ENV": sys.prefix, "PYO3_PYTHON": sys.executable}
    command = [sys.executable, "-m", "maturin", *arguments]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def existing_wheel():
    """Return the wheel that LT_FAST_WHEEL names, else the newest in dist/ or target/wheels/, or None."""
    if named := os.environ.get("LT_FAST_WHEEL"):
        return Path(named)
    ours = f"lt_fast-*_{platform.machine()}.whl"  # dist/ may hold wheels for other processors
    found = [path for folder in ("dist", "target/wheels") for path in (ROOT / folder).glob(ours)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def sources():
    """Return name in a wheel to content of every file of the package that is not compiled."""
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".so", ".pyc")]
    return {f"lt_fast/{path.relative_to(PACKAGE)}": path.read_bytes() for path in files}


def sources_in(wheel):
    """Return the same of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("lt_fast/") and not name.endswith((".so", "/"))]
        return {name: archive.read(name) for name in names}


def assembled_wheel(folder):
    """Make a wheel of the package and the libraries that the last build has put into it; nothing is compiled.

    ``test_wheel.py`` holds maturin's own wheel to the same files.
    """
    maturin("pep517", "write-dist-info", "--metadata-directory", str(folder))
    (metadata,) = folder.glob("*.dist-info")
    files = sources() | {f"lt_fast/{path.relative_to(PACKAGE)}": path.read_bytes() for path in PACKAGE.rglob("*.so")}
    files |= {str(path.relative_to(folder)): path.read_bytes() for path in metadata.rglob("*") if path.is_file()}
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{metadata.name}/RECORD"] = "\n".join([*record, f"{metadata.name}/RECORD,,"]).encode()
    (tag,) = [line.split()[1] for line in (metadata / "WHEEL").read_text().splitlines() if line.startswith("Tag:")]
    wheel = folder / f"{metadata.stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return wheel


def _digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def installed_in(folder, wheel):
    """Install a wheel into a Python outside the clone that sees the packages of this one; return the interpreter.

    Nothing is downloaded. ``.pth`` files among those packages, such as that of an editable install, do not count.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", wheel], check=True)
    packages = Path(importlib.util.find_spec("torch").origin).parents[1]
    (site_of(python) / "seen-from-here.pth").write_text(f"{packages}\n")
    return python


def site_of(python):
    """Return the folder of the packages of an environment made by ``installed_in``."""
    return Path(sysconfig.get_path("purelib", vars={"base": python.parents[1]}))


def outside(**more):
    """Return the variables of this process without those that concern Python or this project."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LT_FAST"))}
    return {**clean, **more}
