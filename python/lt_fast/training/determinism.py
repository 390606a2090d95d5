"""The same bits every time: torch's switches, set for a while and put back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CUBLAS_VARIABLE, CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


@contextmanager
def deterministic(device: torch.device | str = "cpu") -> Iterator[None]:
    """Allow only deterministic algorithms inside; every setting is restored at the end.

    An operation that has none raises torch's own ``RuntimeError``. On CUDA, cuBLAS needs a fixed workspace, which the
    environment variable ``CUBLAS_WORKSPACE_CONFIG`` asks for: it is set to ``:4096:8`` when it is not set, and works
    only where no matrix product ran in the process before. torch's filling of fresh memory is off: it is a debugging
    aid that costs a pass over every new tensor.

    On the CPU, the same bits also need the same number of threads and the same torch.

    >>> with deterministic():
    ...     print(torch.are_deterministic_algorithms_enabled())
    True
    >>> torch.are_deterministic_algorithms_enabled()
    False
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its attribute is a property that type checkers do not see
    fill, benchmark = memory.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    add_workspace = torch.device(device).type == "cuda" and CUBLAS_VARIABLE not in os.environ
    try:
        if add_workspace:
            os.environ[CUBLAS_VARIABLE] = CUBLAS_WORKSPACE
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
        if add_workspace:
            os.environ.pop(CUBLAS_VARIABLE, None)
