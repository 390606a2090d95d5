"""Every file of ``examples/`` runs as a reader would run it; what the page on training loops shows is part of them."""

import importlib.util
import json
import re
import socket
import warnings
from pathlib import Path

import pytest
import torch

import forked

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, PAGE = ROOT / "examples", ROOT / "docs" / "training-loops.md"
ROW = re.compile(r"^(\S.{31}) *(\d+\.\d) +(\d+\.\d)$", flags=re.MULTILINE)
INDEX = (EXAMPLES / "README.md").read_text(encoding="utf-8")
PLAIN = ["accelerate_loop", "custom_recipe", "hf_trainer", "lightning_module", "plain_loop", "timm_mixup"]
PARTS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def lines_of(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_every_example_is_run_here_and_listed():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted([*PLAIN, "torchrun_ddp"])
    files = [path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}]
    assert [name for name in files if f"]({name})" not in INDEX] == []


def check(name, done):
    """Ours finds more of the rare classes than plain training, about as much as the index says."""
    assert done.returncode == 0, done.stderr
    assert f"{ROOT}/" not in "".join(re.findall(r"^.*Warning: .*$", done.stderr, flags=re.MULTILINE))
    (_, overall, few), *ours = [(name, float(a), float(b)) for name, a, b in ROW.findall(done.stdout)]
    assert 60 < overall < 90
    assert ours
    assert all(each[1] > overall + 4 and each[2] > few + 8 for each in ours), done.stdout
    said = re.search(rf"^\| \[{name}\.py\].*\| (.*) → (.*) \| (.*) → (.*) \|$", INDEX, flags=re.MULTILINE)
    assert [overall, ours[0][1], few, ours[0][2]] == pytest.approx([float(each) for each in said.groups()], abs=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_an_example_shows_what_ours_gains(name, tmp_path):
    check(name, forked.run([EXAMPLES / f"{name}.py"], cwd=tmp_path))


@pytest.mark.slow
def test_the_example_of_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", 2, f"--master-port={port}"]
    done = forked.run([*launch, EXAMPLES / "torchrun_ddp.py"], cwd=tmp_path)
    assert "2 processes" in done.stdout
    check("torchrun_ddp", done)


def test_the_recipe_is_taken_by_the_command_line(tmp_path):
    short = ["--data", "digits-lt", "--epochs", "1", "--quiet", "--no-plots", "--set", "most=5", "--json"]
    words = ["-m", "lt_fast.cli", "train", "--recipe", EXAMPLES / "custom_recipe.py", *short, "--run", "run"]
    done = forked.run(words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["loss"] == {"name": "capped_prior", "most": 5.0}


@pytest.mark.slow
def test_the_notebook_runs_and_is_stored_without_outputs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the Jupyter libraries
        import nbformat
        from nbclient import NotebookClient

        book = nbformat.read(EXAMPLES / "long_tail.ipynb", as_version=4)
        nbformat.validate(book)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)
        NotebookClient(book, timeout=forked.LONGEST, kernel_name="python3").execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    printed = "".join(output.get("text", "") for output in outputs)
    few = dict(re.findall(r"^(\S.*?) +all 0\.\d+, few (0\.\d+), ECE", printed, flags=re.MULTILINE))
    assert float(few["LDAM-DRW"]) > float(few["cross entropy"]) + 0.08
    assert float(few["cross entropy, calibrated"]) > float(few["cross entropy"]) + 0.08


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS, ids=lambda text: text.splitlines()[0][:40])
def test_a_part_on_the_page_stands_in_an_example(part):
    """Line by line, apart from the indentation; the subclass of the Trainer is run below."""
    texts = ["\n".join(lines_of(path.read_text(encoding="utf-8"))) for path in EXAMPLES.glob("*.py")]
    assert any("\n".join(lines_of(part)) in text for text in texts) or "class MeanLossTrainer" in part


# --- the scale of a loss in the Trainer of Hugging Face ---------------------------------------------------------------


@pytest.fixture(scope="module")
def hf():
    """The example as a module; importing transformers warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = importlib.util.spec_from_file_location("hf_trainer", EXAMPLES / "hf_trainer.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def network(name):
    """A tiny image classifier without randomness in its forward pass, the same one each time."""
    import transformers

    sizes = {
        "ViT": {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
        "ResNet": {"embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic"},
        "ConvNext": {"num_stages": 1, "hidden_sizes": [4], "depths": [1], "patch_size": 4},
    }[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(num_channels=1, num_labels=10, **sizes)
    return getattr(transformers, f"{name}ForImageClassification")(config)


def change(hf, folder, name, *, batches, size, trainer=None, **options):
    """How far one step of SGD moves the classifier, over ``batches`` accumulated batches of ``size``."""
    model = network(name)
    layer = list(model.parameters())[-1]
    before = layer.detach().clone()
    settings = {"gradient_accumulation_steps": batches, "per_device_train_batch_size": size, "max_steps": 1}
    settings |= {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    settings |= {"use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = hf.TrainingArguments(output_dir=folder, **settings)
        trainer = trainer or hf.LongTailTrainer
        trainer(model, arguments, train_dataset=hf.Digits(hf.lt.datasets.digits_lt()), **options).train()
    return layer.detach() - before


@pytest.fixture(scope="module")
def weighted(hf):
    counts = hf.lt.datasets.digits_lt().class_counts
    return hf.lt.losses.LDAMLoss(counts, scale=1.0, weight=hf.lt.losses.inverse_frequency_weights(counts))


@pytest.fixture(scope="module")
def right(hf, weighted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("right")
    return change(hf, folder, "ViT", batches=4, size=8, compute_loss_func=hf.ScaledLoss(weighted))


def test_the_scaled_loss_does_not_depend_on_how_a_step_is_divided(hf, weighted, right, tmp_path):
    whole = change(hf, tmp_path, "ViT", batches=1, size=32, compute_loss_func=hf.ScaledLoss(weighted))
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(right, whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("switch", "factor"), [(False, 1), (None, 4)])
def test_the_subclass_on_the_page_needs_its_switch(hf, weighted, right, switch, factor, tmp_path):
    (code,) = [part for part in PARTS if "class MeanLossTrainer" in part]
    names = {"Trainer": hf.LongTailTrainer, "criterion": weighted}
    exec(code, names)
    trainer = names["MeanLossTrainer"]
    assert trainer.loss_is_scaled_for_ga is False
    trainer.loss_is_scaled_for_ga = switch
    found = change(hf, tmp_path, "ViT", batches=4, size=8, trainer=trainer)
    torch.testing.assert_close(found, factor * right, rtol=1e-4, atol=1e-7)


def test_the_mean_alone_is_too_large(hf, weighted, right, tmp_path):
    def mean(outputs, labels, num_items_in_batch):
        return weighted(outputs.logits, labels)

    found = change(hf, tmp_path, "ViT", batches=4, size=8, compute_loss_func=mean)
    torch.testing.assert_close(found, 4 * right, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "factor"), [("ViT", 1), ("ConvNext", 1), ("ResNet", 4)])
def test_how_a_network_s_own_loss_is_scaled(hf, name, factor, tmp_path):
    plain = hf.ScaledLoss(hf.lt.losses.CrossEntropyLoss(10 * [1]))
    right = change(hf, tmp_path, name, batches=4, size=8, compute_loss_func=plain)
    found = change(hf, tmp_path, name, batches=4, size=8)
    torch.testing.assert_close(found, factor * right, rtol=1e-4, atol=1e-7)
