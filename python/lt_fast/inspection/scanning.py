"""Look at many files in several processes, with what is known already taken from a cache."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeAlias

from lt_fast.inspection.cache import FactsCache, Key, key_of
from lt_fast.inspection.facts import Facts, look_at

Look: TypeAlias = Callable[[str], Facts]
Chunk: TypeAlias = list[Key]

_FILES, _BYTES = 32, 4 << 20  # of a task: some tenths of a second, so that an interruption need not wait
_INLINE = 64  # so few files are looked at before other processes have started
_AHEAD = 4  # tasks per process that wait


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
        look: gives the facts of one file; a function of a module.

    Raises:
        KeyboardInterrupt: after what was done has been stored.
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
    advance(len(files) - len(new))
    for chunk, facts in _looked_at(_chunks(new), processes if len(new) > _INLINE else 1, look):
        found.update((key.path, each) for key, each in zip(chunk, facts, strict=True))
        cache.store(zip(chunk, facts, strict=True))
        advance(len(chunk))
    return [found[file] for file in files]


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


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
            yield chunk, _look_at_all(look, [key.path for key in chunk])
        return
    waiting = list(chunks)
    while waiting:
        done: set[int] = set()
        try:
            for at, facts in _in_processes(waiting, processes, look):
                done.add(at)
                yield waiting[at], facts
        except BrokenProcessPool:
            left = [chunk for at, chunk in enumerate(waiting) if at not in done]
            suspects, waiting = left[: _AHEAD * processes], left[_AHEAD * processes :]
            for chunk in suspects:
                yield chunk, [_looked_at_alone(key, look) for key in chunk]
        else:
            return


def _in_processes(chunks: Sequence[Chunk], processes: int, look: Look) -> Iterator[tuple[int, list[Facts]]]:
    """Yield the position and the facts of each chunk as they come, in about the order of the chunks."""
    pool = _pool(processes)
    try:
        running: dict[Future[list[Facts]], int] = {}
        for at, chunk in enumerate(chunks):
            with _signals_held_back():  # for the process that may be started here
                running[pool.submit(_look_at_all, look, [key.path for key in chunk])] = at
            if len(running) >= _AHEAD * processes:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(running: dict[Future[list[Facts]], int]) -> Iterator[tuple[int, list[Facts]]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        facts = future.result()
        yield running.pop(future), facts


def _looked_at_alone(key: Key, look: Look) -> Facts:
    pool = _pool(1)
    try:
        with _signals_held_back():
            future = pool.submit(_look_at_all, look, [key.path])
        return future.result()[0]
    except BrokenProcessPool:
        return Facts(f"image {key.path} cannot be read (its decoding ended the process); replace it")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _look_at_all(look: Look, files: Sequence[str]) -> list[Facts]:
    return [look(file) for file in files]


def _pool(processes: int) -> ProcessPoolExecutor:
    # Not forked: a fork copies the locks of the progress bar's and of native libraries' threads.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it ended."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Within the context SIGINT waits; a process that is started inherits that and leaves Ctrl-C to its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
