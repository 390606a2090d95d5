"""Two real processes with a gloo group between them, as torchrun would start them."""

import importlib.util
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forked import Forked

PROGRAM = Path(__file__).with_name("framework_rank.py")
LONGEST = 240  # seconds; a rank that waits for the other one must not wait for ever


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """``two_ranks("accelerate")`` gives what each rank of that framework's run received; run once a session."""
    runs: dict[str, list[dict[str, Any]]] = {}

    def ranks(framework: str) -> list[dict[str, Any]]:
        if framework not in runs:
            runs[framework] = _run(framework, tmp_path_factory.mktemp(framework))
        return runs[framework]

    return ranks


@pytest.fixture(scope="session")
def index_samplers() -> dict[str, Callable[[], Any]]:
    """What the ranks draw one index at a time: name to a function that builds the sampler."""
    spec = importlib.util.spec_from_file_location("framework_rank", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.INDEX_SAMPLERS)


def _run(framework: str, folder: Path) -> list[dict[str, Any]]:
    port = _free_port()
    outs = [folder / f"{rank}.json" for rank in range(2)]
    processes = [
        Forked([PROGRAM, framework, out], cwd=folder, environment=_environment(rank, port))
        for rank, out in enumerate(outs)
    ]
    try:
        words = ["".join(process.communicate(LONGEST))[-3000:] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n\n".join(words)
    return [json.loads(out.read_text(encoding="utf-8")) for out in outs]


def _environment(rank: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",  # what Lightning knows torchrun by
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
