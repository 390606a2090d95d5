"""Take the building machine's folders out of the list of crates in a wheel: ``portable-sbom.py WHEEL ...``.

maturin names the crates of this repository by where they lie. What is left names them by their place in the repository,
and equal crates give an equal list: its number follows from its content.
"""

import base64
import hashlib
import json
import sys
import uuid
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def portable(text: str) -> str:
    """Return the list without this machine's folders, its time and its random number."""
    listed = json.loads(text.replace(f"{ROOT}/", "/").replace(str(ROOT), "/"))
    listed.get("metadata", {}).pop("timestamp", None)
    listed.pop("serialNumber", None)
    content = json.dumps(listed, indent=2, sort_keys=True)
    listed["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    return json.dumps(listed, indent=2) + "\n"


def recorded(record: str, name: str, data: bytes) -> str:
    """Return the wheel's RECORD with the new sum and size of one file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    lines = [line for line in record.splitlines() if not line.startswith(f"{name},")]
    return "\n".join([f"{name},sha256={digest},{len(data)}", *lines]) + "\n"


def rewrite(wheel: Path) -> None:
    """Rewrite the list in a wheel, and RECORD with it; everything else is copied."""
    with zipfile.ZipFile(wheel) as archive:
        files = {entry: archive.read(entry) for entry in archive.infolist()}
    names = {entry.filename: entry for entry in files}
    (listing,) = [name for name in names if name.endswith(".cyclonedx.json")]
    (record,) = [name for name in names if name.endswith(".dist-info/RECORD")]
    files[names[listing]] = portable(files[names[listing]].decode()).encode()
    changed = recorded(files[names[record]].decode(), listing, files[names[listing]])
    files[names[record]] = changed.encode()
    finished = wheel.with_suffix(".partial")
    with zipfile.ZipFile(finished, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in files.items():
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    finished.replace(wheel)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        rewrite(Path(each))
