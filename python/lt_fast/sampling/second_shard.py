"""Refuse to let a framework shard a sampler that is already sharded, and name the framework's switch.

Frameworks wrap a sampler and keep every R-th batch of it. Of a sampler that is one rank's share already, they would
show each rank 1/R of its batches and nobody the rest, and nothing would complain.
"""

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import FrameType

_DEEPEST = 12  # frames between a wrapper and `iter(sampler)`: a loader and its iterator are between


class _Wrapper(NamedTuple):
    framework: str
    switch: str


_WHOLE = "give it the sampler without .shard() and .distributed(), which it then shares out by the same rule"
_ACCELERATE = "Accelerator.prepare"
_LIGHTNING = (
    "set Trainer(use_distributed_sampler=False), with Fabric setup_dataloaders(..., use_distributed_sampler=False)"
)

# Class to the words for it; by name, since none of the frameworks is imported here.
_WRAPPERS = {
    ("accelerate", "BatchSamplerShard"): _Wrapper(_ACCELERATE, f"{_WHOLE}, or do not prepare this loader"),
    ("accelerate", "DataLoaderDispatcher"): _Wrapper(
        "DataLoaderConfiguration(dispatch_batches=True)", f"{_WHOLE}, or set dispatch_batches=False"
    ),
    ("lightning", "_DatasetSamplerWrapper"): _Wrapper("Lightning", _LIGHTNING),
    ("lightning_fabric", "_DatasetSamplerWrapper"): _Wrapper("Lightning", _LIGHTNING),
}


def refuse_second_shard(rank: int, world_size: int) -> None:
    """Raise if a framework that shards is about to iterate a sampler that is rank ``rank`` of ``world_size``.

    Looks for the frameworks' wrappers among the callers: they are ours to see only from there.

    Raises:
        ValueError: naming the framework and its switch.
    """
    wrapper = _wrapper_among_callers()
    if wrapper is not None:
        raise ValueError(
            f"this sampler must not be sharded twice: it is rank {rank} of {world_size} already and "
            f"{wrapper.framework} would share its batches out again; {wrapper.switch}"
        )


def refuse_joined_arrays() -> None:
    """Raise if Accelerate is about to pad its last round: it concatenates batches with ``+``, which adds arrays.

    Raises:
        ValueError: naming the two ways out.
    """
    wrapper = _wrapper_among_callers()
    if wrapper is not None and wrapper.framework == _ACCELERATE:
        raise ValueError(
            f"output must be 'list' where {_ACCELERATE} shares out with drop_last=False, got 'numpy': it joins batches "
            "as lists; pass output='list' or drop_last=True"
        )


def _wrapper_among_callers() -> _Wrapper | None:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  (the one way to the callers)
    for _ in range(_DEEPEST):
        if frame is None:
            return None
        wrapper = _wrapper_of(frame.f_locals.get("self"))
        if wrapper is not None:
            return wrapper
        frame = frame.f_back
    return None


def _wrapper_of(caller: object) -> _Wrapper | None:
    for kind in type(caller).__mro__:
        wrapper = _WRAPPERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if wrapper is not None:
            return wrapper
    return None
