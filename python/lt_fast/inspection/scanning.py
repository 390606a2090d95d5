"""Look at many files in several processes, with what is known already taken from a cache."""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from lt_fast._extras import require
from lt_fast.inspection.cache import FactsCache, Key, default_cache, key_of
from lt_fast.inspection.facts import Facts, look_at, look_without_hash

Look: TypeAlias = Callable[[str], Facts]
Chunk: TypeAlias = list[Key]

_FILES, _BYTES = 32, 4 << 20  # of a task: some tenths of a second, so that an interruption need not wait
_INLINE = 64  # so few files are looked at before other processes have started
_AHEAD = 4  # tasks per process that wait
_MODULE = "lt_fast.inspection.worker"


def facts_of(
    paths: Sequence[str],
    root: str | PathLike[str],
    *,
    cache: str | PathLike[str] | None = None,
    processes: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    look: Look = look_at,
) -> list[Facts]:
    """Return the facts of every photograph, in order, as ``scan``; the cache is that of ``lt-fast inspect``.

    Args:
        paths: relative to ``root`` or absolute.
        root: folder that the paths start from.
        cache: file with what was found before; by default the one of this folder.
        processes: how many work at a time; by default one per processor.
        advance: see ``scan``.
        look: see ``scan``.
    """
    root = Path(root)
    files = [os.path.join(root, path) for path in paths]  # noqa: PTH118  (as the readers join them)
    with FactsCache(default_cache(root) if cache is None else Path(cache)) as known:
        return scan(files, cache=known, processes=processes or available_processors(), advance=advance, look=look)


def scan(
    files: Sequence[str],
    *,
    cache: FactsCache | None = None,
    processes: int = 1,
    advance: Callable[[int], None] = lambda _: None,
    look: Look = look_at,
) -> list[Facts]:
    """Return the facts of every file, in order.

    What is found is stored as it comes, so an interruption loses two seconds of work. A file whose decoding ends the
    process that decodes it is found out, and is a file that cannot be read.

    Args:
        files: paths.
        cache: of facts found before.
        processes: how many work at a time; 1 works in this process.
        advance: called with the number of files that were done, in all as many as there are.
        look: gives the facts of one file; a function of a module. What ``look_without_hash`` gives is not stored.

    Raises:
        KeyboardInterrupt: after what was done has been stored.
        MissingExtraError: if Pillow or imagehash is not installed.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> Image.linear_gradient("L").save("slope.png")
    >>> _ = Path("torn.jpg").write_bytes(b"not an image")
    >>> good, torn = scan(["slope.png", "torn.jpg"])
    >>> (good.width, good.height, good.mode, good.problem), torn.problem is None
    ((256, 256, 'L', None), False)
    """
    cache = FactsCache(None) if cache is None else cache
    found: dict[str, Facts] = {}
    new: list[Key] = []
    for key in map(key_of, dict.fromkeys(files)):
        known = cache.found(key)
        if known is None:
            new.append(key)
        else:
            found[key.path] = known
            advance(1)
    advance(len(files) - len(new) - len(found))  # those that are listed twice
    if new:
        _require_libraries(hashes=look is not look_without_hash)
    for chunk, facts in _looked_at(_chunks(new), processes if len(new) > _INLINE else 1, look):
        found.update((key.path, each) for key, each in zip(chunk, facts, strict=True))
        if look is not look_without_hash:
            cache.store(zip(chunk, facts, strict=True))
        advance(len(chunk))
    return [found[file] for file in files]


def _require_libraries(*, hashes: bool) -> None:
    """Raise here, not in another process, if a library is missing."""
    require("PIL.Image", extra="train", purpose="reading images")
    if hashes:
        require("imagehash", extra="photos", purpose="the search for near duplicates")


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(keys: Sequence[Key]) -> list[Chunk]:
    chunks: list[Chunk] = []
    size = 0
    for key in keys:
        if not chunks or size + key.size > _BYTES or len(chunks[-1]) == _FILES:
            chunks.append([])
            size = 0
        chunks[-1].append(key)
        size += key.size
    return chunks


def _looked_at(chunks: Sequence[Chunk], processes: int, look: Look) -> Iterator[tuple[Chunk, list[Facts]]]:
    if processes == 1:
        for chunk in chunks:
            yield chunk, [look(key.path) for key in chunk]
        return
    workers: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for _ in range(min(processes, len(chunks))):
        workers.put(_Worker(look))
    pool = ThreadPoolExecutor(processes)  # threads that wait for the workers' answers
    try:
        running: dict[Future[list[Facts]], Chunk] = {}
        for chunk in chunks:
            running[pool.submit(_answer, workers, chunk)] = chunk
            while len(running) >= _AHEAD * processes:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        while not workers.empty():
            workers.get().close()


def _finished(running: dict[Future[list[Facts]], Chunk]) -> Iterator[tuple[Chunk, list[Facts]]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


def _answer(workers: "queue.SimpleQueue[_Worker]", chunk: Chunk) -> list[Facts]:
    worker = workers.get()
    try:
        return worker.facts([key.path for key in chunk])
    finally:
        workers.put(worker)


class _Worker:
    """A process of ``lt_fast.inspection.worker``, started again when a file has ended it.

    Not multiprocessing's: that runs the user's script once more in each process, unless it is guarded.
    """

    def __init__(self, look: Look) -> None:
        self._look = f"{look.__module__}:{look.__name__}"
        self._process = self._started()

    def facts(self, files: Sequence[str]) -> list[Facts]:
        """Return the facts of files; one that ends the process is found by asking for each alone.

        Raises:
            RuntimeError: if the process does not even start.
        """
        found = self._asked(files)
        if found is not None:
            return found
        self._start_again()
        alone = []
        for file in files:
            each = self._asked([file])
            if each is None:
                self._start_again()
                each = [Facts(f"image {file} cannot be read (its decoding ended the process); replace it")]
            alone.extend(each)
        return alone

    def close(self) -> None:
        """End the process by the end of its input."""
        with suppress(OSError):
            self._input.close()
        self._process.wait()
        self._output.close()

    def _asked(self, files: Sequence[str]) -> list[Facts] | None:
        """Return the process's answer, or None where it has ended."""
        try:
            self._input.write(json.dumps(files) + "\n")
            self._input.flush()
        except OSError:
            return None
        line = self._output.readline()
        if not line.endswith("\n"):
            return None
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise RuntimeError(f"a process that looks at images failed ({answer['error']})")  # noqa: TRY004
        return [Facts(*each) for each in answer]

    def _start_again(self) -> None:
        self.close()
        self._process = self._started()
        if self._asked([]) is None:
            raise RuntimeError(f"a process that looks at images does not start: {sys.executable} -m {_MODULE}")

    def _started(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(  # noqa: S603  (this interpreter and this package)
            [sys.executable, "-P", "-m", _MODULE, self._look],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="ascii",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            process_group=0,  # Ctrl-C is for this process alone, which ends the others
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        return process
