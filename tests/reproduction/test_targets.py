"""Every target: its rows resolve or say why not, and every published number belongs to a row."""

from pathlib import Path

import pytest

from lt_fast.errors import UsageError
from lt_fast.experiment import resolve
from lt_fast.experiment.config import flattened, given_of
from lt_fast.registry import TRAINING_PROTOCOLS
from lt_fast.reproduction import TARGETS, Row, Tail, Target, plan, published, register_target, rows_on, target_of
from lt_fast.reproduction.numbers import MEMORY, METRICS, READ, targets_with_numbers
from lt_fast.reproduction.planning import chosen_rows, recipe_hash
from lt_fast.reproduction.target import OWN

RUNS = Path("runs")


def resumable(config):
    """Whether a run that is stopped finds its configuration again."""
    return resolve(config["recipe"], config["data"], flattened(config), **given_of(config)) == config


@pytest.mark.parametrize("name", TARGETS)
def test_every_row_resolves_or_says_why_not(name):
    found = plan(target_of(name), RUNS, seeds=1)
    assert len(found.rows) == len(TARGETS[name].rows)
    for each in found.rows:
        assert bool(each.jobs) != bool(each.reason)
        if each.jobs:
            assert each.jobs[0].config["recipe"] == each.row.recipe
            assert each.jobs[0].config["data"] == each.row.tail.data
            assert resumable(each.jobs[0].config)
    folders = [job.folder for job in found.jobs()]
    assert len(folders) == len(set(folders))


@pytest.mark.parametrize("name", TARGETS)
def test_every_published_number_belongs_to_a_row_and_has_a_source(name):
    target = TARGETS[name]
    places = {row.place for row in target.rows}
    assert set(published(name)) <= places
    for numbers in published(name).values():
        assert set(numbers) <= set(METRICS)
        for number in numbers.values():
            assert 0 < number.accuracy < 100
            assert number.sure in (READ, MEMORY)
            assert number.source
    assert set(target.metrics) <= set(METRICS)
    assert bool(published(name)) or target.lost


def test_the_file_has_numbers_of_known_targets_alone():
    assert targets_with_numbers() <= set(TARGETS)


def test_the_tables_of_the_papers_are_there():
    wanted = {f"mammc-table-{number}" for number in (1, 2, 3)} | {"mammc-figure-1", "mm", "ldam-table-2"}
    wanted |= {f"cp-mix-table-{number}" for number in (1, 2, 3, 4, 7, 8, 9)} | {"decouple", "balms", "marc"}
    wanted |= {f"cp-mix-figure-{number}" for number in (2, 3, 4, 5, 6)} | {"mm-settings", "mm-class-errors"}
    assert wanted <= set(TARGETS)


def test_an_error_is_read_as_an_accuracy_and_memory_is_unverified():
    row = next(row for row in TARGETS["ldam-table-2"].rows if row.label == "LDAM-DRW")
    number = TARGETS["ldam-table-2"].published(row)["overall"]
    assert (number.accuracy, number.printed, number.verified) == (77.03, "22.97 % error", True)
    step = row._replace(tail=Tail("cifar10-lt", 100.0, "step"))
    assert not TARGETS["ldam-table-2"].published(step)["overall"].verified


def test_rows_are_chosen_by_label_recipe_data_and_ratio():
    target = TARGETS["mammc-table-2"]
    assert {row.label for row in chosen_rows(target, ["mammc", "LDAM-DRW"])} == {"LDAM-DRW", "MAMMC"}
    assert {row.label for row in chosen_rows(target, ["decouple-crt"])} == {"Decouple-cRT"}
    (row,) = chosen_rows(target, ["focal"], "cifar100-lt", 200.0)
    assert row.tail == Tail("cifar100-lt", 200.0)


def test_what_does_not_exist_is_one_line():
    target = TARGETS["mammc-table-1"]
    with pytest.raises(UsageError, match=r"target must be one of mammc-table-1, .* got 'mammc_table1'; did you mean"):
        target_of("mammc_table1")
    with pytest.raises(UsageError, match=r"rows must be some of .* got 'mamc'; did you mean"):
        chosen_rows(target, ["mamc"])
    with pytest.raises(UsageError, match=r"mammc-table-1 must have a row .* got data 'places-lt'; it has cifar10-lt "):
        chosen_rows(target, [], "places-lt")
    with pytest.raises(UsageError, match=r"protocol must be one of own, .* got 'mark'"):
        plan(target, RUNS, protocol="mark")


def test_a_setting_that_no_row_can_take_is_one_line():
    said = "mammc-table-1 must have a row that can be run, but epochs must be an integer, got 'many'"
    with pytest.raises(UsageError, match=said):
        plan(TARGETS["mammc-table-1"], RUNS, data="cifar10-lt", protocol=OWN, overrides={"epochs": "many"})


def test_targets_are_registered_once_and_their_rows_differ():
    with pytest.raises(UsageError, match="target 'mm' is registered twice"):
        register_target(TARGETS["mm"])
    twice = Target("new", "New", "nobody", (Row("CE", Tail("digits-lt"), "ce"),) * 2)
    with pytest.raises(UsageError, match="must differ in label or data"):
        register_target(twice)
    assert "new" not in TARGETS


def test_a_target_has_its_training_protocol_where_that_is_stated():
    found = plan(TARGETS["mammc-table-1"], RUNS, seeds=1, rows=["ResNet-32"], data="cifar10-lt")
    config = found.jobs()[0].config
    assert (found.protocol, config["protocol"], config["batch_size"], config["epochs"]) == (
        "mammc-paper", "mammc-paper", 256, 200,
    )  # fmt: skip
    longer = plan(TARGETS["mammc-table-1"], RUNS, seeds=1, rows=["MAMMC"], data="cifar10-lt", protocol="marc")
    config = longer.jobs()[0].config
    assert config["epochs"] * -(-12_406 // config["batch_size"]) >= 13_000
    assert "protocol" not in plan(TARGETS["balms"], RUNS, seeds=1, data="places-lt").jobs()[0].config
    own = plan(TARGETS["mammc-table-1"], RUNS, seeds=1, rows=["ResNet-32"], data="cifar10-lt", protocol=OWN)
    assert own.jobs()[0].config["batch_size"] == 128


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_protocols_of_a_target_exist(target):
    assert {target.protocol, *target.protocols} <= {OWN, *TRAINING_PROTOCOLS}
    assert target.protocol in target.protocols or not target.protocols


def test_rows_that_need_the_same_run_share_it():
    tail = Tail("digits-lt", 50.0)
    target = Target("shared", "Shared", "nobody", rows_on((tail,), ("CE", "ce"), ("ERM", "ce")))
    assert len(plan(target, RUNS, seeds=2).jobs()) == 2


def test_the_hash_of_a_recipe_does_not_depend_on_seeds():
    first, second = (resolve("ce", "digits-lt", seed=seed) for seed in (0, 1))
    assert recipe_hash(first) == recipe_hash(second)
    assert recipe_hash(first) != recipe_hash(resolve("ce", "digits-lt", {"epochs": 3}))
