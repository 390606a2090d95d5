"""The benches' parts that are not time: tables that follow the CSV files, and rivals that do what they stand for."""

import importlib
import random

import numpy as np
import pytest
from benches import goals, growth, harness, history, rust_kernels, sampling, sass, speed_picture, streams, summary
from benches.rivals import sampling as rivals
from benches.rivals import streams as stream_rivals

LABELS = np.repeat(np.arange(4), [40, 20, 9, 3])[np.argsort(np.arange(72) * 29 % 72)]


# --- tables of speed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "block", "wanted"),
    [
        (summary.PAGE, summary.BLOCK, summary.tables),
        (summary.README, summary.HEADLINES, summary.headlines),
        (summary.SPEED, "training", summary.training_table),
        (summary.SPEED, "goals", goals.goals_table),
        (history.PAGE, history.BLOCK, lambda: history.tables(harness.read_csv(history.CSV)[1])),
        (harness.DOCS / "kernels.md", "sass", sass.table),
        *((summary.SCALE, block, table) for block, table in summary.SCALE_BLOCKS.items()),
    ],
    ids=["page", "readme", "speed", "goals", "history", "kernels", *summary.SCALE_BLOCKS],
)
def test_the_pages_show_what_the_csv_files_contain(page, block, wanted):
    text = page.read_text(encoding="utf-8")
    found = text.partition(f"<!-- {block} -->\n")[2].partition(f"\n<!-- end of {block} -->")[0]
    assert found == wanted(), "run `python -m benches summary`, `history` or `sass`"


def test_every_row_of_the_table_was_measured_with_every_rival():
    _, rows = harness.read_csv(summary.SAMPLING)
    measured = {(row["draw"], row["output"], row["sampler"], row["counts"]) for row in rows}
    for line in summary.LINES:
        for sampler in (line.ours, *line.rivals):
            for counts in line.counts:
                assert (line.draw, line.output, sampler, counts) in measured


def row(counts, sampler, cost, output="kernel"):
    return {"counts": counts, "draw": "class-balanced", "output": output, "sampler": sampler, "ns per index": cost}


def test_rows_give_the_range_over_the_counts_and_leave_out_what_was_not_measured():
    costs = {"lt-fast replace": (1, 2, 4), "NumPy two-level": (8, 4, 30)}
    rows = [
        row(counts, who, str(cost))
        for who, of_sets in costs.items()
        for counts, cost in zip(summary.SETS, of_sets, strict=True)
    ]
    rows.append(row("cifar100-lt", "lt-fast replace", "1.2", output="array"))  # of one set only: no row
    (found,) = summary.sampling_rows(rows)
    assert found["lt-fast"] == "1.0 to 4.0 ns"
    assert found["compared with"] == "2.0 to 8.0 x NumPy two-level"


def test_augmentation_is_compared_over_the_sizes_of_batches():
    times = {"torchvision v2": (3000, 4500), "kernel": (80, 90), "lt-fast": (100, 150)}
    rows = [{"task": "crop", "who": who, "ns per image": str(ns)} for who, both in times.items() for ns in both]
    (found,) = summary.augmentation_rows(rows)
    assert found == {
        "what": "crop", "lt-fast": "100 to 150 ns", "compared with": "30 x torchvision v2; 0.60 to 0.80 x kernel",
    }  # fmt: skip


def test_losses_are_compared_at_one_thread_and_without_a_compiler_too():
    us = {"fused": 10.0, "eager": 94.0, "gather": 50.0, "cross_entropy": 9.0, "copy": 2.0}
    rows = [
        {"shape": "128x10", "threads": threads, "code": code, "us": str(time)}
        for threads in ("1", "2")
        for code, time in us.items()
    ]
    (found,) = summary.loss_rows(rows)
    assert list(found.values())[:7] == ["128 x 10", "10 us", "9.4 x", "5.0 x", "-", "0.90 x", "0.20 x"]
    rows += [{"shape": "128x10", "threads": "1", "code": "gather compiled", "us": "123.4"}]
    rows += [{"shape": "128x10", "threads": "1", "code": "copy from DRAM", "us": "4"}]
    (found,) = summary.loss_rows(rows)
    assert (found["best compiled"], found["copying the logits"]) == ("12 x", "0.20 x")  # between buffers of this size
    rows += [{"shape": "128x10", "threads": "1", "code": "returned", "us": "5"}]
    _, found = summary.loss_rows(rows)
    assert list(found.values())[:4] == ["the same, gradient returned", "5 us", "19 x", "10 x"]


def test_loops_of_training_are_compared_with_the_bare_one():
    shares = {"waiting, %": "", "checkpoint, %": "0.5", "GPU idle, %": ""}
    times = {"network": "ResNet-32", "ms a step": "301.4", "seconds an epoch": "25.6"}
    rows = [
        {**times, "loop": "bare PyTorch", "times bare": "1.0", "us over bare": "0", **shares},
        {**times, "loop": "lt-fast", "times bare": "1.0123", "us over bare": "3712", **shares},
    ]
    rows.append({**rows[1], "network": "a few pixels", "ms a step": "0.612", "us over bare": "41"})
    bare, ours, small = summary.training_rows(rows)
    assert list(bare.values()) == ["ResNet-32", "bare PyTorch", "301 ms", "26 s", "-", "-", "0.50 %"]
    assert list(ours.values())[4:] == ["+1.2 %", "-", "0.50 %"]
    assert list(small.values())[2:6] == ["0.61 ms", "26 s", "-", "+41 us"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.234], "1.23"),
        ([1.0, 1.456], "1.00 to 1.46"),
        ([0.66, 5.71], "0.66 to 5.7"),
        ([3.58, 3.62], "3.6"),
        ([9.94, 10.4], "9.9 to 10"),
        ([1223.4, 11026], "1,223 to 11,026"),
    ],
)
def test_span(values, text):
    assert summary.span(values) == text


def test_the_picture_shows_every_line_that_was_measured(tmp_path):
    _, rows = harness.read_csv(growth.CSV)
    assert {row["sampler"] for row in rows} == {*growth.OURS, *growth.RIVALS}
    sizes = {axis: sorted({int(row["size"]) for row in rows if row["axis"] == axis}) for axis in ("classes", "samples")}
    assert sizes == {"classes": growth.CLASSES, "samples": growth.SAMPLES}
    growth.draw(tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_readme_shows_ours_first_and_every_rival(tmp_path):
    for panel, names in zip(speed_picture.bars(), (speed_picture.SAMPLERS, speed_picture.LOSSES), strict=True):
        assert list(panel.times) == list(names.values())
        assert min(panel.times, key=panel.times.get) == "lt-fast"
    speed_picture.draw(tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_the_history_has_every_measurement():
    _, recorded = harness.read_csv(history.CSV)
    again = history.updated(recorded, version="9.9.9", date="2099-01-01")
    assert again == recorded, "run `python -m benches history`"
    assert {row["bench"] for row in recorded} == {bench.csv for bench in history.BENCHES}


def test_a_new_measurement_is_recorded_once_in_a_version(tmp_path, monkeypatch):
    step = {"network": "ResNet-32", "loop": "lt-fast", "ms a step": 500}
    monkeypatch.setattr(history, "BENCHES", history.BENCHES[-1:])
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rows, dates = [], {"0.2.0": "2026-12-10", "0.3.0": "2027-01-01", "0.4.0": "2027-02-01"}
    for version, bare in (("0.2.0", 400), ("0.3.0", 490), ("0.3.0", 495), ("0.4.0", 495)):
        harness.write_csv("training.csv", [step, {**step, "loop": "bare PyTorch", "ms a step": bare}], about="one core")
        rows = history.updated(rows, version=version, date=dates[version])
    assert [(row["version"], row["times as long"]) for row in rows] == [("0.2.0", "0.8"), ("0.3.0", "0.99")]
    table = history.tables(rows)
    assert "| a step | a bare loop | 500 ms; 0.80 x | 500 ms; 0.99 x |" in table
    assert "- 0.2.0: 2026-12-10, one core.\n- 0.3.0: 2027-01-01, one core." in table


def test_the_rival_of_the_history_is_the_fastest_that_was_measured():
    bench = history.BENCHES[1]._replace(figures=history.BENCHES[1].figures[:1])
    times = {"fused": "2", "gather compiled": "9", "eager compiled": "7"}
    rows = [{"shape": "128x10", "threads": "1", "code": code, "us": us} for code, us in times.items()]
    rows.append({"shape": "128x10", "threads": "2", "code": "eager compiled", "us": "1"})
    (found,) = history.measured(bench, rows)
    assert (found["time"], found["times as long"]) == ("2", "3.5")


# --- the harness ------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    rows = [{"a": 1, "b": "x, y"}, {"a": None, "b": 2.5}]
    target = harness.write_csv(tmp_path / "deep" / "rows.csv", rows)
    machine, found = harness.read_csv(target)
    assert machine.count(";") == harness.machine_line().count(";") == 6
    assert found == [{"a": "1", "b": "x, y"}, {"a": "", "b": "2.5"}]
    assert harness.markdown_table(rows).splitlines()[2:] == ["| 1 | x, y |", "| - | 2.5 |"]


def test_replace_between(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("one\n<!-- here -->\nold\n<!-- end of here -->\ntwo\n")
    harness.replace_between(page, "here", "new\nlines")
    assert page.read_text() == "one\n<!-- here -->\nnew\nlines\n<!-- end of here -->\ntwo\n"
    with pytest.raises(ValueError, match=r"page\.md must hold the lines <!-- there --> and <!-- end of there -->"):
        harness.replace_between(page, "there", "new")


def test_the_harness_refuses(tmp_path):
    with pytest.raises(ValueError, match="rows must not be empty"):
        harness.write_csv(tmp_path / "rows.csv", [])
    with pytest.raises(ValueError, match=r"rows must have the same columns, got \['a'\] and \['b'\]"):
        harness.write_csv(tmp_path / "rows.csv", [{"a": 1}, {"b": 1}])
    with pytest.raises(ValueError, match="repeats must be >= 1, got 0"):
        harness.best_of(int, 0)


def test_the_best_is_of_every_run_and_counts_its_calls():
    calls = []
    assert harness.best_of(lambda: calls.append(1), 3, at_least=1e-4) > 0
    assert len(calls) >= 5  # one unmeasured, at least one to find out how many, three runs


def test_goals_on_a_gpu_are_filled_from_its_tables(tmp_path, monkeypatch):
    assert [measured for *_, measured in goals.of_gpu()] == [goals.NOT_MEASURED] * 8
    row = {"shape": "16384x8142", "dtype": "float32", "code": "fused", "us": 500.0, "of copy": 0.871}
    small = {"shape": "256x1000", "dtype": "float32", "code": "fused", "us": 5.5, "of copy": 0.4}
    calls = [
        {"shape": "128x100", "dtype": "float32", "code": f"call {code}", "us": us, "of copy": None}
        for code, us in (("fused", 45.0), ("cross_entropy", 50.0))
    ]
    steps = [{"loop": "lt-fast", "ms a step": 9, "GPU idle, %": 80}]
    steps += [{"loop": "lt-fast, step as a graph", "ms a step": 2.5, "GPU idle, %": 3.1}]
    for module in (goals, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    harness.write_csv(goals.GPU, [row, small, *calls], about="one GPU")
    harness.write_csv(goals.OF_GPU_STEPS, steps, about="one GPU")
    no = goals.NOT_MEASURED
    assert [found for *_, found in goals.of_gpu()] == ["87 %", no, no, no, "5.5 us", "0.90 x", "2.5 ms", "3.1 %"]


def test_benches_are_listed_and_named(capsys):
    main = importlib.import_module("benches.__main__").main
    assert main(["--list"]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    names = ["augmentation", "classes", "cuda", "files", "growth", "history", "labels", "methods"]
    names += ["mixed_margin_loss", "normalization", "ranks", "sampling", "sass", "streams", "summary", "training"]
    assert [name for name, _ in listed] == names
    assert all(about[0].isupper() for _, about in listed)
    assert main(["samplings"]) == 2
    message = f"bench must be one of {', '.join(names)}, got 'samplings'\n"
    assert capsys.readouterr().err == message


# --- machine code -----------------------------------------------------------------------------------------------------

CODE = """
.text._ZN7lt_fast4cuda14forward_stagedIfLi8EEE:
.L_x_1:
        /*0010*/                   LDGSTS.E.BYPASS.128 [R2], desc[UR4][R4.64] ;
        /*0020*/              @!P0 BRA `(.L_x_1) ;
.L_x_2:
        /*0030*/                   LDS.128 R4, [R2] ;
.L_x_3:
        /*0040*/                   LDS.128 R4, [R2] ;
        /*0050*/                   LDS.128 R8, [R2+0x80] ;
        /*0060*/                   LDS.128 R12, [R2+0x100] ;
        /*0070*/                   LDS.128 R16, [R2+0x180] ;
        /*0080*/                   MUFU.EX2 R4, R4 ;
        /*0090*/               @P1 BRA `(.L_x_4) ;
        /*00a0*/              @!P2 BRA `(.L_x_3) ;
.L_x_4:
        /*00b0*/              @!P2 BRA `(.L_x_2) ;
.text._ZN7lt_fast4cuda13backward_rowsIfLi256EEE:
        /*0000*/                   EXIT ;
"""
SAID = """ptxas info    : Compiling entry function 'first' for 'sm_90'
    48 bytes stack frame, 24 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 448 bytes smem
ptxas info    : Compiling entry function 'second' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 48 registers, used 0 barriers"""


def test_inner_loops_are_found_and_counted_per_element():
    staged, backward = sass.functions(CODE).values()
    assert [len(loop.instructions) for loop in sass.loops(staged)] == [2, 7]  # the outer loop from .L_x_2 is none
    assert sass.phases(staged, element_size=4) == {"copy": 2 / 4, "sum": 7 / 16}
    assert sass.phases(staged, element_size=2) == {"copy": 2 / 8, "sum": 7 / 32}
    assert sass.phases(backward, element_size=4) == {}


def test_resources_are_those_of_each_kernel():
    first = {"registers": 64, "spilled bytes": 24, "shared bytes": 448}
    assert sass.resources(SAID) == {"first": first, "second": {"registers": 48, "spilled bytes": 0, "shared bytes": 0}}


def test_the_kernels_of_the_table_keep_to_18_instructions_per_element():
    _, rows = harness.read_csv(sass.CSV)
    now = [row for row in rows if row["code"] == "now"]
    assert len(now) == len(sass.ARCHITECTURES) * len(sass.DTYPES) * len(sass.KERNELS)
    assert all(0 < float(row["total"]) <= 18 for row in now)


# --- kernels ----------------------------------------------------------------------------------------------------------


def printed(draw="class-balanced", samples=72, output="kernel"):
    about = {"counts": "tiny", "samples": str(samples), "draw": draw, "output": output}
    return [{**about, "sampler": f"lt-fast {how}", "ns per index": cost} for how, cost in (("a", "2.0"), ("b", "5.0"))]


def test_kernels_stand_beside_their_rivals(monkeypatch):
    monkeypatch.setattr(rust_kernels, "rows", lambda: [*printed(), *printed("shuffled"), *printed(output="by batches")])
    kernels = sampling.KernelRows()
    rivals_rows = sampling.compared("tiny", "class-balanced", "kernel", {"NumPy": 8.0})
    assert rivals_rows[0]["times faster"] is None
    found = kernels.beside(rivals_rows, 72)
    assert [(row["sampler"], row["times faster"]) for row in found] == [
        ("NumPy", 4.0),
        ("lt-fast a", 1.0),
        ("lt-fast b", 2.5),
    ]
    assert [(row["draw"], row["output"]) for row in kernels.others()][::2] == [
        ("shuffled", "kernel"),
        ("class-balanced", "by batches"),
    ]


def test_kernels_of_other_counts_are_refused(monkeypatch):
    monkeypatch.setattr(rust_kernels, "rows", lambda: printed(samples=71))
    rows = sampling.compared("tiny", "class-balanced", "kernel", {"NumPy": 8.0})
    with pytest.raises(ValueError, match="counts must be the same in both benches, got 72 and 71 samples"):
        sampling.KernelRows().beside(rows, 72)


# --- the rivals: a comparison with something wrong proves nothing -----------------------------------------------------


def shown_evenly(draws):
    times = np.bincount(draws, minlength=len(LABELS))
    return all(np.ptp(times[label == LABELS]) <= 1 for label in range(4))


@pytest.mark.parametrize("counts", [[300, 60, 12], [50, 50]])
def test_every_way_to_balance_a_stream_balances_it(counts):
    lines = {line["sampler"]: line for line in streams.rows_of("tiny", np.array(counts), repeats=1)}
    assert float(lines.pop("shuffle alone")["off by, %"]) == round(
        50 * abs(np.array(counts) / sum(counts) - 1 / len(counts)).sum(), 1
    )
    assert float(lines["lt-fast"]["off by, %"]) < 1
    for name, line in lines.items():
        assert float(line["off by, %"]) < (25 if "estimated" in name else 15), name
        assert float(line["us per sample"]) > 0
    least = len(counts) * min(counts) / sum(counts)
    assert float(lines["lt-fast, under"]["read per sample given"]) == pytest.approx(1 / least, rel=0.15)


def test_a_shuffle_buffer_gives_every_sample_once():
    samples = [(number, 0) for number in range(500)]
    given = list(stream_rivals.shuffled(samples, 50))
    assert sorted(given) == samples
    assert given != samples


def test_poisson_numbers_have_their_mean_and_variance():
    generator = random.Random(1)
    drawn = np.array([stream_rivals.poisson(2.5, generator) for _ in range(4000)])
    assert abs(drawn.mean() - 2.5) < 5 * np.sqrt(2.5 / 4000)
    assert abs(drawn.var() - 2.5) < 0.4


@pytest.mark.parametrize("rival", [rivals.class_aware, rivals.class_aware_by_generators])
def test_class_aware_takes_classes_in_turn_and_shows_all_of_each(rival):
    epoch = rival(LABELS, 240)
    draws = np.concatenate([list(epoch()) for _ in range(3)])  # cycles go on from epoch to epoch
    assert (np.sort(LABELS[draws].reshape(-1, 4), axis=1) == np.arange(4)).all()
    assert shown_evenly(draws)


def test_class_aware_takes_several_of_a_class_where_it_is_told():
    draws = np.array(list(rivals.class_aware(LABELS, 24, samples_per_class=3)()))
    assert (np.ptp(LABELS[draws].reshape(-1, 3), axis=1) == 0).all()


@pytest.mark.parametrize("rival", [rivals.numpy_two_level, rivals.numpy_in_place])
def test_numpy_draws_classes_evenly_and_all_of_each(rival):
    labels = np.tile(LABELS, 500)  # more than one block
    draws = np.concatenate([rival(labels)().copy() for _ in range(2)])
    assert (abs(np.bincount(labels[draws]) - len(draws) / 4) < 5 * np.sqrt(len(draws) * 3 / 16)).all()
    of_samples = np.bincount(draws % 72, minlength=72)
    for label in range(4):
        found = of_samples[label == LABELS]
        assert (abs(found - found.mean()) < 5 * np.sqrt(found.mean())).all()


def test_numpy_by_weight():
    weights = np.tile([1.0, 0.0, 3.0], 4000)
    draws = rivals.numpy_by_weight(weights)()
    found = np.bincount(draws % 3, minlength=3)
    assert found[1] == 0
    assert abs(found[2] - 9000) < 5 * np.sqrt(12000 * 3 / 16)
