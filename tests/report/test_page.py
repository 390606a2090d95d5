"""The page of a run: complete, honest about what it lacks, and unharmed by any name."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from experiment.photographs import NET, write_photographs
from lt_fast import metrics
from lt_fast.cli import main
from lt_fast.datasets.splits import COLUMNS, ImageRow, write_images
from lt_fast.errors import DataError
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.predictions import Predictions, read_predictions_of
from lt_fast.report import findings, thumbnails
from lt_fast.report.finished_run import FinishedRun
from lt_fast.report.page import PAGE, SECTIONS, shortened, write_page
from made_runs import EVIL, in_memory, made_run, photographs

NAMES = ["oak", "beech", "<b>moss</b>", "fern"]
COUNTS, TESTED = [120, 30, 8, 2], [20, 12, 6, 6]


class Reader(HTMLParser):
    """Elements of a page, its text without scripts and styles, and whether every element is closed."""

    EMPTY = frozenset({"meta", "img", "br", "path", "use", "rect", "circle"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real run on digits, calibrated, with its page."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = ["--method", "mammc", "--data", "digits-lt", "--epochs", "4", "--set", "calibrator.epochs=4"]
    assert main(["train", *words, "--run", str(folder), "--quiet", "--no-plots", "--threads", "1"]) == 0
    return folder, write_page(folder)


@pytest.fixture(scope="module")
def photographed(tmp_path_factory):
    """A run on image files with ``images.csv``, and the folder of the files."""
    root = tmp_path_factory.mktemp("photographs")
    config, data, rows = photographs(root, NAMES, COUNTS, TESTED)
    return made_run(root / "run", data, right=0.4, config=config, images=rows), root


@pytest.fixture(scope="module")
def soil(tmp_path_factory):
    """A real cross-validation of photographs, one of which is damaged and one a copy of another."""
    folder = tmp_path_factory.mktemp("soil")
    photos = write_photographs(folder / "photos", {"clay": 10, "loam": 7, "sand": 4})
    (photos / "clay" / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(photos / "clay" / "000.jpg", photos / "clay" / "copy.jpg")
    words = ["--model", NET, "--freeze", "--folds", "2", "--epochs", "1", "--run", str(folder / "run")]
    words += ["--set", "transform.size=16", "--set", "data.groups=duplicates", "--set", "calibrator.epochs=1"]
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert main(["train", str(photos), *words, "--threads", "1", "--workers", "0", "--quiet", "--no-plots"]) == 0
    return folder / "run"


def read(page):
    return Reader(page.path.read_text("utf-8"))


def test_every_section_is_there_in_order(trained):
    page = read(trained[1])
    assert [each["id"] for each in page.named("section")] == list(SECTIONS)
    assert [each["href"] for each in page.named("a")] == [f"#{key}" for key in SECTIONS]


def test_the_numbers_are_those_of_the_run(trained):
    folder, written = trained
    result = json.loads((folder / "result.json").read_text())
    text = read(written).text
    measured, before = result["metrics"], result["metrics_before_calibration"]
    right = round(measured["top1"] * 240)
    low, high = metrics.wilson_interval(right, 240)
    assert f"{100 * measured['top1']:.1f} % of 240 test images" in text
    assert f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)" in text
    assert f"is {100 * measured['ece15']:.1f} % after calibration and {100 * before['ece15']:.1f} % before" in text
    for group in ("many", "medium", "few"):
        assert f"{100 * measured[f'{group}_recall']:.1f} %" in text
        assert f"{100 * before[f'{group}_recall']:.1f} %" in text


def test_the_margins_are_told_before_and_after_calibration(trained, tmp_path):
    run, page = trained
    result = json.loads((run / "result.json").read_text())
    counts, text = result["data"]["class_counts"], read(page).text
    saved = read_predictions_of(run, num_classes=10)
    for logits in (saved.logits, saved.calibrated_logits):
        found = metrics.margins_by_class(logits, saved.labels)
        for values in (found.logit, found.margin):
            assert f"{metrics.slope_by_count(values, counts):+.2f}" in text
    uncalibrated = made_run(tmp_path / "run", in_memory(NAMES, COUNTS, TESTED), calibrated=False)
    assert "What calibration did to the margins" not in read(write_page(uncalibrated)).text


def test_the_weakest_class_is_named(trained):
    run = FinishedRun.read(trained[0])
    recalls = {entry["name"]: entry["recall"] for entry in run.result["metrics"]["per_class"]}
    row, equal = findings.weakest(run)
    assert row.recall == recalls[row.name] == min(recalls.values())
    assert equal == sum(recall == row.recall for recall in recalls.values())
    assert f"weakest on the class “{row.name}”, where {row.right} of 24 are right" in read(trained[1]).text


def test_pictures_are_the_images_of_the_errors(trained):
    folder, written = trained
    images = read(written).named("img")
    wrong = int((FinishedRun.read(folder).predicted != FinishedRun.read(folder).labels).sum())
    assert 0 < min(wrong, findings.MOST_ERRORS) <= len(images)
    assert all(each["src"].startswith("data:image/png;base64,") and each["alt"] for each in images)
    assert written.pictures == len({each["src"] for each in images})
    assert written.notes == ()


def test_every_setting_has_its_source(trained):
    folder, written = trained
    sources = json.loads((folder / "protocol.json").read_text())["sources"]
    text = read(written).text
    for name, source in sources.items():
        assert name in text
        assert re.sub(r"\s+", " ", source)[:500] in text
    assert "set by the user; the recipe has 60" in text


def test_the_page_is_a_function_of_the_run(trained, tmp_path):
    folder, written = trained
    again = write_page(folder, tmp_path / "new folder" / "a.html")
    assert again.path.read_bytes() == written.path.read_bytes()
    assert again.size == len(written.path.read_bytes())


def test_nothing_is_loaded(trained, photographed):
    for written in (trained[1], write_page(photographed[0])):
        page = read(written)
        policy = next(each["content"] for each in page.named("meta") if "http-equiv" in each)
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert not {"link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
        loaded = [each.get(key, "") for _, each in page.tags for key in ("src", "href", "xlink:href", "data", "action")]
        assert {url.partition(":")[0] for url in loaded if url and not url.startswith("#")} == {"data"}


def test_names_of_every_kind_stay_text(tmp_path):
    data = in_memory(EVIL, [200, 100, 60, 30, 20, 12, 8, 5, 3, 1], [30] * 5 + [7, 3, 2, 1, 0])
    page = read(write_page(made_run(tmp_path / "run", data)))
    assert len(page.named("script")) == 1
    assert not [each for _, each in page.tags if any(name.startswith("on") for name in each)]
    assert not page.named("img")
    text = page.text
    for name in (EVIL[0], EVIL[1], EVIL[2], EVIL[4], EVIL[7], EVIL[8]):
        assert name in text
    assert r"two\nlines\tand \x07 a bell" in text
    assert "x" * 79 + "…" in text
    assert "1 class has no test image, so nothing is known about it: “http://example.com/picture.png”" in text


def test_the_titles_hold_the_whole_of_a_long_name(tmp_path):
    names = ["a" * 200 + str(at) for at in range(3)]
    page = read(write_page(made_run(tmp_path / "run", in_memory(names, [30, 9, 4], [5, 5, 5]))))
    assert set(names) <= {each.get("title") for each in page.named("bdi")}


def test_a_thousand_classes_and_more_stay_bounded(tmp_path):
    classes = findings.MOST_CLASSES + 7
    names = [f"species {at}" for at in range(classes)]
    run = made_run(tmp_path / "run", in_memory(names, np.arange(classes, 0, -1), [2] * classes), calibrated=False)
    written = write_page(run)
    text = read(written).text
    assert written.size < 2_000_000
    assert "The table has the 1,000 classes of the lowest recall; 7 others are left out here." in text
    rows = (tmp_path / "run" / "report.csv").read_text().splitlines()
    assert len(rows) == 1008
    assert "1,007 classes do not fit" in text
    assert "This run has no calibration step." in text
    rows = findings.class_rows(FinishedRun.read(run))
    assert len(rows) == 1000
    assert [row.n_train for row in rows] == sorted((row.n_train for row in rows), reverse=True)


def test_a_reduced_map_loses_no_large_cell(tmp_path):
    classes = 1003
    run = FinishedRun.read(
        made_run(tmp_path / "run", in_memory([str(at) for at in range(classes)], [1] * classes, [2] * classes))
    )
    shares = findings.confusion_shares(run)
    assert shares.shape[0] <= 500
    assert shares.max() == run.confusion.counts.max() / 2
    step = -(-classes // 500)
    wrong = run.confusion.target != run.confusion.predicted
    true, predicted, images = (column[wrong] for column in run.confusion)
    assert (shares[true // step, predicted // step] >= images / 2).all()


def test_photographs_are_named_by_their_files(photographed):
    run, _ = photographed
    written = write_page(run)
    page = read(written)
    wrong = findings.confident_errors(FinishedRun.read(run))
    files = [FinishedRun.read(run).test_images[each.row].path for each in wrong]
    assert files
    assert all(file in page.text for file in files)
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in page.named("img"))
    assert "<b>moss</b>" in page.text
    assert not page.named("b")


def test_the_split_is_told(photographed):
    run = FinishedRun.read(photographed[0])
    rows = findings.split_rows(run)
    assert [(row["name"], row["images"], row["classes"]) for row in rows] == [("Training", 160, 4), ("Test", 44, 4)]


def test_a_cross_validation_is_told_as_one(soil):
    written = write_page(soil)
    text, run = read(written).text, FinishedRun.read(soil)
    assert "2 folds: each image was tested by a model that was trained on the other folds" in text
    assert "The probabilities are out-of-fold" in text
    assert "Left out because they cannot be read: 1" in text
    assert "clay/broken.jpg" in text
    assert "Images that belong together, such as copies or a burst: 2 in 1 group" in text
    wrong = findings.confident_errors(run)
    assert wrong
    assert written.pictures > 0
    assert all(run.test_images[each.row].path in text for each in wrong)


def test_one_fold_is_not_a_cross_validation(soil):
    text = read(write_page(soil / "fold-1")).text
    assert "out-of-fold" not in text
    assert "Only images that the classifier was not trained on are judged" in text


def test_labels_of_validation_images_are_judged_as_well(photographed, tmp_path):
    run = shutil.copytree(photographed[0], tmp_path / "run")
    before = FinishedRun.read(run)
    tested = before.test_images
    labels, logits = torch.arange(4).repeat(5), 9 * torch.eye(4).repeat(5, 1)
    logits[7] = torch.tensor([20.0, 0, 0, 0])  # row 7 has the label 3
    Predictions(logits, labels, logits.clone()).save(run, VALIDATION)
    held = [ImageRow(tested[0].path.replace("0 <b>", f"{at} <b>"), NAMES[at % 4], "validation") for at in range(20)]
    write_images(run, [*before.images, *held])
    found = FinishedRun.read(run)
    doubts, number = findings.label_errors(found)
    assert (doubts[0].row, doubts[0].given, doubts[0].other) == (len(tested) + 7, NAMES[3], NAMES[0])
    text = read(write_page(run)).text
    assert f"Among 44 test images and 20 validation images, it finds {number} that" in text
    assert held[7].path in text
    write_images(run, [*before.images, *held[1:]])
    with pytest.raises(DataError, match="must have one validation row per prediction, 20, got 19"):
        write_page(run)


def test_validation_images_that_are_gone_are_told(trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    labels, logits = torch.arange(10).repeat(2), 9 * torch.eye(10).repeat(2, 1)
    logits[3] = torch.tensor([20.0] + [0] * 9)
    Predictions(logits, labels, logits.clone()).save(run, VALIDATION)
    written = write_page(run)  # the run's data set has no validation images: each is told, and none is shown
    assert "the data set has no validation image 3 any more" in written.notes[0]
    assert "validation image 3" in read(written).text


def test_a_photograph_that_is_gone_is_told(photographed, tmp_path):
    run, root = photographed
    row = findings.confident_errors(FinishedRun.read(run))[0].row
    file = root / FinishedRun.read(run).test_images[row].path
    content = file.read_bytes()
    try:
        file.write_bytes(content[:300] + bytes(len(content) - 300))  # as long as it was, and damaged
        written = write_page(run, tmp_path / "a.html")
    finally:
        file.write_bytes(content)
    assert len(written.notes) == 1
    assert str(file) in written.notes[0]
    assert written.pictures > 0


def test_other_images_give_no_pictures(tmp_path):
    written = write_page(made_run(tmp_path / "run", in_memory(NAMES, COUNTS, TESTED)))
    assert written.pictures == 0
    assert "are other ones now: the train images there have the fingerprint" in written.notes[0]
    assert written.notes[0] in read(written).text.replace("&#39;", "'")


def test_the_pictures_have_a_budget():
    drawn = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    one = len(thumbnails.encoded(drawn[0]).url)
    made = thumbnails.Thumbnails(lambda row: drawn[row], most=int(3.5 * one))
    made.make([4, 4, 5, 6, 7, 8])
    assert (len(made), made.left_out) == (3, {7, 8})
    assert made.of(4) == thumbnails.encoded(drawn[4])
    assert made.of(8) is None


def test_a_perfect_run_says_so(tmp_path):
    run = made_run(tmp_path / "run", in_memory(NAMES, COUNTS, TESTED), right=1.0, calibrated=False, seed=5)
    found = FinishedRun.read(run)
    assert (found.predicted == found.labels).all()
    text = read(write_page(run)).text
    assert "no class has an error." in text
    assert text.count("every test image is predicted right") == 2
    assert "100.0 %" in text


def test_a_folder_without_a_run_is_no_unfinished_run(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            DataError, match=r"holds no run: .*result.json is missing; name the folder that `lt-fast tr"
        ):
            write_page(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "result.json").unlink(), "the run has not finished; `lt-fast train --resume"),
        (lambda run: (run / "predictions.safetensors").unlink(), "lt-fast eval"),
        (lambda run: (run / "protocol.json").write_text("{}"), "protocol.json is damaged: data is missing"),
        (lambda run: (run / "metrics.csv").write_text("epoch\n1\n"), "metrics.csv"),
        (lambda run: (run / "images.csv").write_text(f"{','.join(COLUMNS)}\na,b,test,,\n"), "must have one test row"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path, damage, words):
    run = made_run(tmp_path / "run", in_memory(NAMES, COUNTS, TESTED))
    damage(run)
    with pytest.raises(DataError, match=re.escape(words)):
        write_page(run)
    assert not (run / PAGE).exists()


def test_the_command(trained, tmp_path, capsys):
    file = tmp_path / "a.html"
    assert main(["report", str(trained[0]), "--out", str(file), "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["report"] == str(file)
    assert found["bytes"] == file.stat().st_size
    assert found["pictures"] > 0
    assert "open it in a browser" in err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "a run directory is needed: lt-fast report runs/NAME"),
        (["RUN", "--out", ""], 2, "must name a file, got ''"),
        (["RUN", "--root", "."], 2, "--root is for data sets of files, got digits-lt; leave it out"),
        (["/nowhere"], 3, "/nowhere/result.json is missing"),
        (["RUN", "--out", "/proc/a/b.html"], 3, "name another file with --out"),
    ],
)
def test_wrong_words(trained, capsys, words, status, said):
    assert main(["report", *[str(trained[0]) if word == "RUN" else word for word in words], "--quiet"]) == status
    assert said in capsys.readouterr().err


def test_photographs_that_were_moved_are_found_by_root(photographed, tmp_path):
    run, root = photographed
    moved = shutil.copytree(root, tmp_path / "moved")
    copy = moved / "run"
    config = json.loads((copy / "config.json").read_text())
    config["data_options"]["path"] = str(tmp_path / "gone")
    config["model"]["name"] = "not_installed.here:network"
    (copy / "config.json").write_text(json.dumps(config))
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(result | {"config": config}))
    assert "name their folder now with --root" in write_page(copy).notes[0]
    assert write_page(copy, root=moved).pictures == write_page(run).pictures
    with pytest.raises(DataError, match="is missing, where the photographs of"):
        write_page(copy, root=tmp_path / "gone")


def test_text_is_shortened():
    assert shortened("ab\ud800\x9b", 9) == r"ab\ud800\x9b"
    assert len(shortened("é" * 500, 80)) == 80
