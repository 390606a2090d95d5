"""The processes of a distributed training: start together, and end together when one of them fails."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

from lt_fast.errors import Interrupted
from lt_fast.ranks import Ranks

_SECONDS_BETWEEN_SIGNS = 1.0
_LOST_AFTER = 15.0  # seconds without a sign of life
_PATIENCE = 25.0  # seconds that an error of communication waits for its cause
_GRACE = 3.0  # seconds that rank 0 has to meet by itself what another rank has failed of: then its own words are said
_MEETING = timedelta(minutes=5)  # how long the ranks may take to start
_FOR_EVER = timedelta(days=30)  # a sum may wait for a long evaluation; a lost rank is noticed by its missing signs
_FAILED = "failed"


@contextmanager
def process_group(ranks: Ranks, device: torch.device | str = "cpu") -> Iterator[None]:
    """Connect the ranks of ``torchrun`` within the context: gloo for the CPU, NCCL for GPUs.

    When a rank raises, is killed or no longer responds, the others end within 30 seconds with exit status 1 and one
    line on standard error that names it: none waits for ever in a sum that will never be complete.

    Args:
        ranks: from ``Ranks.from_environment``; with one rank nothing is done.
        device: where the ranks compute; on ``"cuda"`` each takes the GPU of its ``LOCAL_RANK``.

    >>> ranks = Ranks.from_environment({})  # of torchrun: Ranks.from_environment()
    >>> with process_group(ranks, device="cpu"):
    ...     print(ranks.sum(torch.tensor([1, 2])))
    tensor([1, 2])
    """
    if ranks.world_size == 1:
        yield
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", str(ranks.rank))))
    store = _connected(ranks)
    # A connection of its own: a call that waits holds the one that it uses. An older torch cannot copy a connection.
    own = store.clone() if hasattr(store, "clone") else _connected(ranks)
    watch = _Watch(ranks, PrefixStore("lt-fast watch", own))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=PrefixStore("lt-fast", store),
        rank=ranks.rank,
        world_size=ranks.world_size,
        timeout=_FOR_EVER,
    )
    watch.start()
    try:
        try:
            yield
        except Interrupted:  # all ranks together
            ranks.barrier()
            raise
        ranks.barrier()  # rank 0 may hold the store: nobody leaves while another still needs it
    except Interrupted:
        raise
    except BaseException as error:
        with _without_sigterm():  # torchrun sends it as soon as another rank has ended: this error says more
            watch.report(error)
        raise
    finally:
        watch.stop()
        # A thread that is inside a call to the store while the interpreter ends aborts the process.
        watch.join(_LOST_AFTER)
    distributed.destroy_process_group()


def _connected(ranks: Ranks) -> Any:
    """Return a connection to the store of all ranks, which rank 0 or torchrun has."""
    store, *_ = next(rendezvous("env://", ranks.rank, ranks.world_size, timeout=_MEETING))
    return store


@contextmanager
def _without_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


class _Watch(threading.Thread):
    """Tells the other ranks that this one is alive or why it failed, and ends this process when another has failed.

    Each rank watches the next one: with any number of ranks, a sign of life is written once and read once.
    """

    def __init__(self, ranks: Ranks, store: Any) -> None:
        super().__init__(name="lt-fast-ranks", daemon=True)
        self._ranks, self._store = ranks, store
        self._watched = (ranks.rank + 1) % ranks.world_size
        self._ended, self._failing = threading.Event(), threading.Event()
        self._seen, self._seen_at = b"", time.monotonic()
        self._answered_at = time.monotonic()

    def start(self) -> None:
        """Start to watch."""
        self._answered_at = time.monotonic()
        super().start()
        threading.Thread(target=self._guard, name="lt-fast-store", daemon=True).start()

    def _guard(self) -> None:
        """End the process when the store, which rank 0 or torchrun has, no longer answers: a call to it never ends."""
        while not self._ended.wait(_SECONDS_BETWEEN_SIGNS):
            if time.monotonic() - self._answered_at > _LOST_AFTER:
                self._end(f"rank 0 was lost: its store has not answered for {_LOST_AFTER:.0f} seconds")

    def run(self) -> None:
        """Look once per second."""
        signs = 0
        while not self._ended.wait(_SECONDS_BETWEEN_SIGNS):
            signs += 1
            try:
                self._store.set(f"alive {self._ranks.rank}", str(signs))
                cause = self._cause()
            except Exception:  # noqa: BLE001  (whatever the reason: without the store there is no rank 0)
                cause = "rank 0 was lost"
                self._end_unless_ended(cause)
            if cause is not None:
                self._have_a_grace()
                with suppress(Exception):
                    self._store.set(f"ended {self._ranks.rank}", "1")
                self._end_unless_ended(cause)
            self._answered_at = time.monotonic()

    def report(self, error: BaseException) -> None:
        """Tell the other ranks why this one ends; an error that another rank has caused waits for that one's report."""
        if isinstance(error, RuntimeError | KeyboardInterrupt) and not isinstance(error, NotImplementedError):
            # What gloo and NCCL raise when a peer has gone, or torchrun's signal then. The watch ends the process as
            # soon as the cause is known.
            self._failing.set()
            time.sleep(_SECONDS_BETWEEN_SIGNS * 3)
            deadline = time.monotonic() + _PATIENCE
            while _is_of_communication(error) and time.monotonic() < deadline:
                time.sleep(_SECONDS_BETWEEN_SIGNS)
        self.stop()  # from here on this rank ends by its own error
        with suppress(Exception):
            words = " ".join(str(error).split()) or type(error).__name__
            self._store.compare_set(_FAILED, "", f"rank {self._ranks.rank} failed: {words}")
            self._wait_for_others()

    def stop(self) -> None:
        """Stop watching: this rank ends."""
        self._ended.set()
        with suppress(Exception):
            self._store.set(f"ended {self._ranks.rank}", "1")

    def _have_a_grace(self) -> None:
        """Let rank 0 meet what another rank has refused, which most often every rank refuses: it tidies up and says it.

        Over as soon as it ends by itself, or notices that a peer has gone.
        """
        deadline = time.monotonic() + (_GRACE if self._ranks.is_main else 0)
        while time.monotonic() < deadline and not self._ended.is_set() and not self._failing.is_set():
            time.sleep(_SECONDS_BETWEEN_SIGNS / 20)

    def _wait_for_others(self) -> None:
        """Stay until the others have read why: when a rank has gone, torchrun ends them, and so may a lost store."""
        others = [f"ended {rank}" for rank in range(self._ranks.world_size) if rank != self._ranks.rank]
        deadline = time.monotonic() + _LOST_AFTER
        while time.monotonic() < deadline and not self._store.check(others):
            time.sleep(_SECONDS_BETWEEN_SIGNS / 20)

    def _cause(self) -> str | None:
        if self._store.check([_FAILED]):
            return bytes(self._store.get(_FAILED)).decode(errors="replace")
        if self._store.check([f"ended {self._watched}"]):
            return None
        sign = f"alive {self._watched}"
        seen = bytes(self._store.get(sign)) if self._store.check([sign]) else b""
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if now - self._seen_at < _LOST_AFTER:
            return None
        cause = f"rank {self._watched} was lost: no sign of life for {_LOST_AFTER:.0f} seconds"
        self._store.compare_set(_FAILED, "", cause)
        return cause

    def _end_unless_ended(self, cause: str) -> None:
        if not self._ended.is_set():  # by an error of its own
            self._end(cause)

    def _end(self, cause: str) -> None:
        """End the process from this thread: the main thread may be inside a sum that cannot be interrupted.

        Rank 0 reports for all; where it is the one that was lost, the others do.
        """
        with suppress(OSError, ValueError):
            if not self._ranks.is_main and not cause.startswith("rank 0 was lost"):
                os._exit(1)
            sys.stderr.write(f"lt-fast: {cause}; rank {self._ranks.rank} ends with it; continue with --resume\n")
            sys.stderr.flush()
        os._exit(1)


def _is_of_communication(error: BaseException) -> bool:
    said = str(error).lower()
    words = ("connection", "gloo", "nccl", "peer", "timed out", "socket")
    found = isinstance(error, distributed.DistError) or any(word in said for word in words)
    return found and isinstance(error, RuntimeError)
