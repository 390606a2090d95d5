"""``lt-fast train --trace`` and ``--compile``: what is printed; a run is the same run with and without them."""

import gzip
import json

import pytest

from lt_fast.cli import main

TRAIN = ["train", "--method", "mammc", "--data", "digits-lt", "--epochs", "3", "--no-plots", "--quiet"]
ROWS = ["waiting for data", "copy to device", "forward and loss", "backward", "optimizer", "evaluation", "checkpoint"]
ROWS.append("rest")


def without_times(result):
    return {name: value for name, value in result.items() if name not in ("seconds", "versions")}


def test_a_trace_tells_where_the_time_went_and_changes_no_result(tmp_path, capsys):
    results = []
    for name, options in (("plain", []), ("traced", ["--trace"])):
        assert main([*TRAIN, "--run", str(tmp_path / name), *options]) == 0
        results.append(json.loads((tmp_path / name / "result.json").read_text()))
    out = capsys.readouterr().out
    table = out[out.index("where the time went") :].splitlines()
    assert [line.partition("  ")[0] for line in table[1 : 1 + len(ROWS)]] == ROWS
    assert sum(float(line.split()[-2]) for line in table[1 : 1 + len(ROWS)]) == pytest.approx(100, abs=1)
    trace = tmp_path / "traced" / "trace.json.gz"
    assert table[1 + len(ROWS)] == f"trace of 4 steps: {trace}"
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert not (tmp_path / "plain" / "trace.json.gz").exists()
    assert without_times(results[0]) == without_times(results[1])
    capsys.readouterr()
    # A finished run is the same run, with or without a trace.
    assert main(["train", "--resume", str(tmp_path / "plain"), "--no-plots", "--quiet", "--trace"]) == 0
    assert "where the time went: nothing was trained" in capsys.readouterr().out


def test_a_trace_of_folds_is_refused(tmp_path, capsys):
    words = ["train", "photos/", "--folds", "3", "--trace", "--quiet", "--no-plots"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "lt-fast: --trace must be left out with --folds, which trains several networks; trace a run without --folds\n"
    )


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_what_cannot_be_compiled_is_one_line_and_the_run_is_as_without(tmp_path, capsys, monkeypatch):
    import torch
    import torch._inductor.config as settings

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch._dynamo.reset()
    with settings.patch({"cpp.cxx": (None, "no-such-compiler"), "compile_threads": 1}):
        assert main([*TRAIN, "--run", str(tmp_path / "compiled"), "--compile"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "compiled" in line]
    assert len(said) == 1
    assert said[0].startswith("lt-fast: warning: the network is not compiled: No working C++ compiler found")
    assert main([*TRAIN, "--run", str(tmp_path / "plain")]) == 0
    found, wanted = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("compiled", "plain"))
    assert without_times(found) == without_times(wanted)
