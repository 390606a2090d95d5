"""One rank of a distributed training, for ``test_ranks.py``: ``torchrun ... rank.py METHODS FOLDER [options]``."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))  # the folder that pytest puts on the path

from lt_fast.errors import Interrupted
from lt_fast.ranks import Ranks
from lt_fast.training import RunDirectory, process_group
from methods.problem import Acting, trained

EPOCHS = 2


def fail():
    raise ValueError("this rank has had enough")


def fail_to_measure(_):
    raise ValueError("no such measure")


ACTS = {
    "stop": lambda: signal.raise_signal(signal.SIGTERM),
    "fail": fail,
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "freeze": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "wait": lambda: time.sleep(0.1),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", help="names with commas between them: one folder each")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--act", choices=ACTS, default="wait")
    parser.add_argument("--no-measure", action="store_true", help="the evaluation of the rank that acts fails")
    parser.add_argument("--rank", type=int, default=0, help="which rank acts")
    parser.add_argument("--cut", type=int, nargs=2, default=(1, 2))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batch-of", type=int, nargs="*", default=(), help="batch size by rank")
    parser.add_argument("--norm", action="store_true")
    arguments = parser.parse_args()
    ranks = Ranks.from_environment()
    size = arguments.batch_of[ranks.rank] if arguments.batch_of else arguments.batch
    act = ACTS[arguments.act] if ranks.rank == arguments.rank else ACTS["wait"]
    keywords = {
        "epochs": EPOCHS,
        "norm": arguments.norm,
        "resume": arguments.resume and ranks.is_main,
        "wrap": lambda loader: Acting(loader, tuple(arguments.cut), act),
        "options": {"batch_size": size},
    }
    if arguments.no_measure:
        keywords["evaluate"] = fail_to_measure if ranks.rank == arguments.rank else lambda _: gathered(ranks)
    try:
        with process_group(ranks):
            for name in arguments.methods.split(","):
                train(name, arguments.folder / name, ranks, arguments.resume, keywords)
    except Interrupted as interrupted:
        sys.stderr.write(f"{interrupted}\n")
        return 4
    return 0


def gathered(ranks):
    return {"ranks": float(sum(ranks.gather(1)))}


def train(name, folder, ranks, resume, keywords):
    if ranks.is_main:
        with RunDirectory(folder, {}, resume=resume) as run:
            method, history = trained(name, ranks, run=run, **keywords)
        folder.with_suffix(".json").write_text(json.dumps(history.rows))
    else:
        method, _ = trained(name, ranks, **keywords)
    state = {key: tensor.contiguous() for key, tensor in method.state_dict().items()}
    save_file(state, folder.parent / f"{name}-{ranks.rank}.safetensors")


if __name__ == "__main__":
    sys.exit(main())
