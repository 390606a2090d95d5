"""The folder of one run: what was asked for, what happened, and who may write.

::

    runs/a/
      config.json      the resolved configuration; a run is resumed only under the same one
      protocol.json    the data and the rules of the comparison
      metrics.csv      one row per epoch
      checkpoints/     the newest two
      plots/
      result.json      there when the run is done
"""

import errno
import hashlib
import json
import os
import stat
import warnings
import weakref
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from lt_fast._files import FOR_RUN, erase, is_temporary, open_own, replace_file, unwritable
from lt_fast._locks import hold
from lt_fast.errors import DataError, UsageError
from lt_fast.records import Rule, read_json
from lt_fast.training.checkpoint import Checkpoints
from lt_fast.training.history import History

_CONFIG, _PROTOCOL, _RESULT, _LOCK = "config.json", "protocol.json", "result.json", ".lock"
_SHOWN = 200


class RunDirectory:
    """A run directory, open for writing by this process alone until it is closed, collected or killed.

    Args:
        path: the folder; made with its parents when missing.
        config: the resolved configuration, JSON values only.
        resume: True continues the run that is there, False starts one where none is.

    Attributes:
        path: the folder.
        config: the configuration as read back from JSON.
        resume: as given.
        checkpoints: the run's ``Checkpoints``.
        plots: folder for pictures.
        metrics_path: ``metrics.csv``.
        result_path: ``result.json``.
        identity: ``identity_of`` the configuration, which every checkpoint records.
        row_rules: column of ``metrics.csv`` to the rule that a checkpoint's rows must fulfil; none at first.

    Raises:
        TypeError: if ``config`` holds something that JSON does not.
        UsageError: if the folder holds a run and ``resume`` is False, holds none and it is True, was made under
            another configuration (every differing setting is named), holds other files, or is in use.
        DataError: if the folder cannot be written or its ``config.json`` cannot be read.

    >>> from lt_fast.training import History
    >>> with RunDirectory("runs/mine", {"epochs": 2}) as run:
    ...     run.write_metrics(History([{"epoch": 1, "train_loss": 0.5}]))
    ...     run.write_result({"accuracy": 0.75})
    >>> sorted(path.name for path in run.path.iterdir()), read_config("runs/mine")
    (['.lock', 'checkpoints', 'config.json', 'metrics.csv', 'plots', 'result.json'], {'epochs': 2})
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = Path(path)
        self.config = _plain("config", config)
        self.resume = resume
        self.identity = identity_of(self.config)
        self.checkpoints = Checkpoints(self.path / "checkpoints", identity=self.identity)
        self.plots = self.path / "plots"
        self.metrics_path = self.path / "metrics.csv"
        self.result_path = self.path / _RESULT
        self.row_rules: Mapping[str, Rule] = {}
        _refuse_unfit(self.path, resume=resume)
        try:
            self.plots.mkdir(parents=True, exist_ok=True)
            self.checkpoints.folder.mkdir(exist_ok=True)
            self._unlock = weakref.finalize(self, os.close, _lock(self.path))
        except OSError as error:
            raise unwritable(self.path, error, what="a run", needed=1, next_step=FOR_RUN) from error
        try:
            self._begin_or_resume()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes use the folder."""
        self._unlock()

    def tidy(self) -> None:
        """Remove what processes that were killed left behind: files half written, checkpoints half removed."""
        self.checkpoints.tidy()
        for pattern in (".*.partial", "*/.*.partial", "*/.calibrator.*"):  # the last: of earlier versions
            for path in self.path.glob(pattern):
                erase(path)

    def write_protocol(
        self,
        protocol: Mapping[str, Any],
        *,
        may_differ: Collection[str] = ("versions",),
        silently: Collection[str] = (),
    ) -> None:
        """Write ``protocol.json``; when resuming, compare with the one that is there.

        Args:
            protocol: JSON values only: data, subset hash, groups, selection rule, versions.
            may_differ: settings, by their first name, whose difference is a warning.
            silently: those of them, by their dotted name, that somebody else compares and warns of.

        Raises:
            DataError: if anything else differs: it would not be the same run.
        """
        now = _plain("protocol", protocol)
        path = self.path / _PROTOCOL
        if path.exists():
            changed = differences(read_json(path, {}), now)
            grave = [text for name, text in changed.items() if name.partition(".")[0] not in may_differ]
            if grave:
                raise DataError(
                    f"--resume needs the data and rules that {path} records, but {', '.join(grave)}; "
                    "restore them, or name another run directory with --run",
                )
            told = [text for name, text in changed.items() if name not in silently]
            if told:
                warnings.warn(f"resumed in another environment: {', '.join(told)}", stacklevel=2)
        replace_file(path, _json(now), next_step=FOR_RUN)

    def write_metrics(self, history: History) -> None:
        """Replace ``metrics.csv``: after a kill it has the old rows or the new ones."""
        replace_file(self.metrics_path, history.to_csv().encode(), next_step=FOR_RUN)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``, the sign of a finished run."""
        replace_file(self.result_path, _json(_plain("result", result)), next_step=FOR_RUN)

    def _begin_or_resume(self) -> None:
        path = self.path / _CONFIG
        if not path.exists():
            replace_file(path, _json(self.config), next_step=FOR_RUN)
            return
        if not self.resume:
            raise UsageError(
                f"run directory {self.path} holds a run already; continue it with --resume, "
                "or name another run directory with --run",
            )
        changed = differences(read_config(self.path), self.config)
        if changed:
            raise UsageError(
                f"--resume needs the configuration that the run in {self.path} began with, but "
                f"{', '.join(changed.values())}; go back to it, or name another run directory with --run"
                f"{self._way_on(changed)}",
            )

    def _way_on(self, changed: Collection[str]) -> str:
        """What to do instead of resuming for more epochs: learning rate and re-weighting depend on their number."""
        if set(changed) != {"epochs"}:
            return ""
        return f"; to train on from its weights by a new schedule, add --start-from {self.path} there"


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the configuration of the run in ``path``.

    Raises:
        DataError: if there is none, or it cannot be read.

    >>> with RunDirectory("runs/other", {"epochs": 2, "method": "mine"}):
    ...     pass
    >>> read_config("runs/other")
    {'epochs': 2, 'method': 'mine'}
    """
    file = Path(path) / _CONFIG
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} holds no run: {file} is missing") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from error
    return read_json(file, {})


def identity_of(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration's JSON, which tells the files of one run from those of another."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return each setting that differs, by its dotted name, with both values in words."""
    absent = object()
    flat_old, flat_new = _flat(old), _flat(new)
    found = {}
    for name in sorted(flat_old.keys() | flat_new.keys()):
        was, now = flat_old.get(name, absent), flat_new.get(name, absent)
        if json.dumps(was, default=str) == json.dumps(now, default=str):  # NaN equals itself here
            continue
        words = ["missing" if value is absent else _shortened(value) for value in (was, now)]
        found[name] = f"{name} was {words[0]} and is {words[1]}"
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _shortened(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


def _refuse_unfit(path: Path, *, resume: bool) -> None:
    """Before anything is made: a folder of other things stays as it is, and so does a wrong name."""
    with suppress(PermissionError):  # told better by the attempt to write
        if (path / _CONFIG).exists():
            return
        if resume:
            raise UsageError(f"run directory {path} holds no run to resume; leave --resume out, or correct --run")
        if (path / "checkpoints").is_dir() and Checkpoints(path / "checkpoints").paths():
            raise UsageError(
                f"run directory {path} holds checkpoints but no {_CONFIG}; restore {_CONFIG} and continue with "
                "--resume, or name another run directory with --run",
            )
        foreign = _foreign_names(path)
        if foreign:
            raise UsageError(
                f"run directory {path} must be new or empty, got one with {foreign[0]!r} in it; "
                "name another run directory with --run",
            )


def _foreign_names(path: Path) -> list[str]:
    """Names that an attempt to start a run, killed before ``config.json`` was there, does not leave behind."""
    if not path.is_dir():
        return []
    ours = {"checkpoints", "plots", _LOCK}
    names = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    return [name for name in names if not is_temporary(name, path / _CONFIG)]


def _lock(path: Path) -> int:
    """Hold ``.lock`` for this process: the kernel lets it go when the process ends, however it ends."""
    # No link is followed and no pipe waited for: the file is written to, and the folder may be somebody else's.
    descriptor = open_own(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _require_regular(descriptor)
        hold(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        owner = os.read(descriptor, 32).decode(errors="replace") or "unknown"
        os.close(descriptor)
        raise UsageError(
            f"run directory {path} is in use by process {owner}; wait for it, or name another run directory with --run",
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"{_LOCK} is no regular file")
    if found.st_nlink > 1:  # writing into it would change the file of the other name
        raise OSError(errno.EMLINK, f"{_LOCK} is a hard link to another file")


def _plain(name: str, values: Mapping[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold JSON values only: {error}") from error


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
