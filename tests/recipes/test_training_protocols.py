"""Training protocols: published values over any recipe, what of a recipe stays, and refusals in words."""

import re

import pytest

import reference
from lt_fast.datasets import long_tailed_counts, validation_split
from lt_fast.datasets.validation import held_out_counts
from lt_fast.errors import UsageError
from lt_fast.experiment import resolve, run_name, sources_of, training_protocol_of, values_of
from lt_fast.experiment.build import make_schedule
from lt_fast.experiment.config import flattened, method_name
from lt_fast.experiment.lengths import training_images
from lt_fast.recipes import RECIPES, TRAINING_PROTOCOLS, Spec, TrainingProtocol, cited, register

FITTING = [(name, data) for name, protocol in TRAINING_PROTOCOLS.items() for data in protocol.on]
TABLE_1 = ("ce", "mam", "mc", "mam_drw", "mammc")


def resolved(method, data, protocol, overrides=None, **given):
    name, _, mode = data.partition("-scratch")[0], "", "scratch" if data.endswith("-scratch") else None
    return resolve(method, name, overrides, protocol=protocol, mode=mode, **given)


def shared(config):
    """What a protocol decides: everything that is not a part of the method or of stage 2."""
    own = ("method", "loss", "mixer", "reweight", "calibrator", "model.head", "defer_until")
    return {name: value for name, value in flattened(config).items() if not name.startswith(own)}


@pytest.mark.parametrize(("protocol", "data"), FITTING)
def test_every_value_names_its_source(protocol, data):
    for method in ("mammc", "mam_drw"):
        given = {"mode": "scratch"} if data.endswith("-scratch") else {}
        stated = values_of(method, data.removesuffix("-scratch"), protocol=protocol, **given)
        for value, source in stated.values():
            assert len(source) > 5 or value is None
            assert re.search(r"ours: .{10}|/|paper|torch|part of|seed|recipes", source), source


@pytest.mark.parametrize(("protocol", "data"), FITTING)
def test_every_recipe_is_trained_alike(protocol, data):
    first = shared(resolved("ce", data, protocol))
    for method in ("mam_drw", "ldam_drw", "mc", "logit_adjustment", "lade", "balanced_softmax", "disalign"):
        assert shared(resolved(method, data, protocol)) == first | (
            {"transform": first["transform"]} if "transform" not in first else {}
        )


def test_table_1_of_the_mammc_paper_is_one_protocol():
    for data in ("cifar10-lt", "cifar100-lt"):
        rows = [resolve(method, data, protocol="mammc-paper") for method in TABLE_1]
        assert all(shared(row) == shared(rows[0]) for row in rows)
        assert (rows[0]["epochs"], rows[0]["batch_size"], rows[0]["optimizer"]["weight_decay"]) == (200, 256, 2e-4)
        assert rows[0]["schedule"] == {"name": "cosine", "warmup": 0.0}
        assert [row["mixer"] and row["mixer"]["name"] for row in rows] == [None, "mam", None, "mam", "mam"]
        assert [row.get("defer_until") for row in rows] == [None, None, None, 0.8, None]
        calibrators = [row["calibrator"] for row in rows]
        assert calibrators[2] == calibrators[4]
        assert (calibrators[2]["epochs"], calibrators[2]["batch_size"], calibrators[2]["lr"]) == (10, 256, 0.05)
    strong = resolve("ce", "cifar100-lt", protocol="mammc-paper-autoaugment")["transform"]
    assert strong == resolve("mammc_autoaugment", "cifar100-lt")["transform"]


@pytest.mark.parametrize("data", ["cifar10-lt", "cifar100-lt"])
@pytest.mark.parametrize("ratio", [10, 50, 100, 200])
def test_marc_is_what_the_recipes_with_autoaugment_have(data, ratio):
    for method in ("mc", "mammc"):
        ours, theirs = (
            resolve(method, data, protocol="marc", imbalance_ratio=ratio),
            resolve(f"{method}_autoaugment", data, imbalance_ratio=ratio),
        )
        # The protocol has the first weights of the source's classifier, too, and runs stage 2 as the source does.
        own = ("recipe", "protocol", "model", "calibrator")
        assert {key: value for key, value in ours.items() if key not in own} == {
            key: value for key, value in theirs.items() if key not in own
        }
    assert ours["model"]["uniform_head"]
    batches = -(
        -int(
            long_tailed_counts(
                500 if "100" in data else 5000, 100 if "100" in data else 10, imbalance_ratio=ratio
            ).sum()
        )
        // 512
    )
    stage_2 = ours["calibrator"]
    assert (stage_2["epochs"], stage_2["warmup_epochs"]) == (-(-2000 // batches), -(-800 // batches))
    assert (stage_2["as_published"], stage_2["lr"], stage_2["peak_lr"]) == (True, 0.05, 0.1)


def test_the_length_follows_the_images():
    images = int(long_tailed_counts(500, 100, imbalance_ratio=37, profile="step").sum())
    config = resolve("ce", "cifar100-lt", protocol="marc", imbalance_ratio=37, profile="step")
    assert config["epochs"] == round(13_000 * 512 / images)
    assert f"{images:,}" in sources_of(config)["epochs"]


def test_imbalanced_dl_is_its_code():
    config = resolve("mam_drw", "cifar100-lt", protocol="imbalanced-dl")
    assert (config["model"], config["method"]["unmixed_pass"]) == (
        {"name": "resnet32", "head": "linear", "bias": False, "uniform_head": True},
        True,
    )
    assert [round(300 * part) for part in (*config["schedule"]["milestones"], config["defer_until"])] == [150, 250, 250]
    assert (config["epochs"], resolve("ce", "cifar10-lt", protocol="imbalanced_dl")["epochs"]) == (300, 200)
    assert resolve("ce", "cifar10-lt", protocol="lade")["model"]["last_blocks"] == 2


def test_logit_adjustment_is_its_code():
    config = resolve("ce", "cifar100-lt", protocol="logit-adjustment")
    assert (config["model"]["name"], config["sampler"]["drop_last"]) == ("resnet32_bottleneck", True)
    transform = config["transform"]
    assert (transform["crop_padding"], transform["mean"], transform["std"]) == (2, [0.5] * 3, [1.0] * 3)
    rate = make_schedule(config)
    steps = 10_847 // 128
    for epoch, step in ((0, 0), (3, 7), (21, 83), (22, 0), (690, 83), (691, 0), (1058, 5), (1059, 0), (1290, 0)):
        assert rate(epoch, step, steps) == pytest.approx(reference.logit_adjustment_rate(epoch * steps + step, steps))
    assert (
        resolve("lobm", "cifar100-lt", protocol="logit-adjustment")["sampler"]
        == (resolve("lobm", "cifar100-lt")["sampler"])
    )


def test_overrides_lie_over_a_protocol():
    config = resolve("ce", "cifar10-lt", {"epochs": 3, "transform": "autoaugment"}, protocol="mammc-paper")
    assert (config["epochs"], config["batch_size"], config["transform"]["name"]) == (3, 256, "autoaugment")
    assert sources_of(config)["epochs"].startswith("set by the user; the protocol has 200 (MAMMC paper")
    assert run_name(config) == "ce-mammc-paper-cifar10-lt-100-0-epochs=3-transform=autoaugment"
    assert method_name(config) == "ce by mammc-paper"
    assert resolve("ce", "cifar10-lt", flattened(config), protocol="mammc-paper") == config


def test_a_network_of_the_recipe_or_of_the_user_stays():
    bigger = RECIPES["ce"].derive("bigger", model=Spec("digits_net"))
    register(bigger)
    try:
        assert resolve("bigger", "cifar10-lt", protocol="lade")["model"] == {"name": "digits_net"}
    finally:
        RECIPES.forget("bigger")
    usual = resolve("ce", "photographs", protocol="marc", mode="scratch")
    assert usual["model"]["name"] == "torchvision:resnext50_32x4d"
    given = {"protocol": "marc", "mode": "scratch", "model": "timm:resnet18"}
    assert resolve("ce", "photographs", **given)["model"]["name"] == "timm:resnet18"


@pytest.mark.parametrize("protocol", ["marc", "mammc-paper", "logit-adjustment"])
def test_what_a_method_needs_of_its_network_stays(protocol):
    assert resolve("bbn", "cifar100-lt", protocol=protocol)["model"]["name"] == "bbn"
    ride = resolve("ride", "cifar100-lt", protocol=protocol)["model"]
    assert (ride["name"], ride["experts"], ride["head"]) == ("resnet32", 3, "cosine")
    other = "resnet32_bottleneck" if protocol == "logit-adjustment" else "resnet32"
    for method in ("cp_mix", "hybrid_sc", "ldam_drw"):
        assert resolve(method, "cifar100-lt", protocol=protocol)["model"]["name"] == other


@pytest.mark.parametrize(("protocol", "data"), FITTING)
def test_every_recipe_has_a_configuration_by_every_protocol(protocol, data):
    for method in RECIPES:
        assert resolved(method, data, protocol)["protocol"] == protocol


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "epochs"),
    [({"steps": 700}, 107), ({"steps": "1"}, 1), ({"images": 41_700}, 100), ({"images": "1e4"}, 24)],
)
def test_a_length_in_steps_or_images(length, epochs):
    config = resolve("ce", "digits-lt", length)
    assert (config["epochs"], config["length"]) == (epochs, {name: int(float(n)) for name, n in length.items()})
    assert sources_of(config)["epochs"].startswith("set by the user: ")
    assert run_name(config).startswith(f"ce-digits-lt-50-0-{next(iter(length))}=")
    again = resolve("ce", "digits-lt", flattened(config), length=config["length"])
    assert again == config


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5])
def test_the_images_held_out_are_not_trained_on(fraction):
    counts = long_tailed_counts(150, 10, imbalance_ratio=50)
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    held_out = validation_split(labels, fraction)[1]
    assert held_out_counts(counts, fraction).sum() == len(held_out)
    assert training_images("digits-lt", 50, "exp", fraction) == 417 - len(held_out)
    config = resolve("ce", "digits-lt", {"images": 41_700, "validation": fraction})
    assert config["epochs"] == round(41_700 / (417 - len(held_out)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"steps": 10, "epochs": 3}, "the length must be given once, got 3 epochs and 10 steps"),
        ({"steps": 10, "images": 3}, "the length must be given once, got 10 steps and 3 images"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"images": "many"}, "images must be an integer"),
        ({"steps": 10**12}, "epochs must be <= 1000000, got "),
    ],
)
def test_lengths_that_are_none(overrides, message):
    with pytest.raises(UsageError, match=message):
        resolve("ce", "digits-lt", overrides)


@pytest.mark.parametrize(
    ("data", "images"), [("imagenet-lt", 115_846), ("places-lt", 62_500), ("inaturalist-2018", 437_513)]
)
def test_the_length_of_a_published_list_is_known(data, images):
    config = resolve("ce", data, {"images": 7 * images})
    assert (config["epochs"], config["length"]) == (7, {"images": 7 * images})
    with pytest.raises(UsageError, match=f"--images must be left out for {data}, whose number of training images"):
        resolve("ce", data, {"images": 7 * images, "validation": 0.1})


def test_the_length_of_photographs_is_given_in_epochs():
    with pytest.raises(UsageError, match="--steps must be left out for photographs, whose number of training images"):
        resolve("ce", "photographs", {"steps": 5})


# --- registering and refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ("cifar10-lt", {"protocol": "mark"}, r"protocol must be one of .*, got 'mark'; did you mean 'marc'\?"),
        ("cifar10-lt", {"protocol": 3}, "protocol must be one of .*, got 3"),
        ("digits-lt", {"protocol": "marc"}, "marc is stated for cifar10-lt, .*, got digits-lt; leave --protocol out"),
        ("photographs", {"protocol": "marc"}, "got photographs-finetune; add --scratch"),
        ("photographs", {"protocol": "lade", "mode": "scratch"}, "got photographs-scratch; leave --protocol out"),
    ],
)
def test_protocols_that_are_none_or_do_not_fit(data, given, message):
    with pytest.raises(UsageError, match=message):
        resolve("ce", data, **given)


def test_a_protocol_of_ones_own():
    own = TrainingProtocol(
        "own",
        "ours",
        on={"digits-lt": lambda images: {"epochs": cited(images, "ours: one for each image")}},
        optimizer=Spec(cited("adamw", "ours: for the test"), weight_decay=cited(0.1, "ours: for the test")),
        calibrator=Spec("margin", epochs=cited(3, "ours: for the test")),
    )
    try:
        assert register(own) is training_protocol_of("own")
        config = resolve("mammc", "digits-lt", protocol="own")
        assert (config["epochs"], config["optimizer"]) == (417, {"name": "adamw", "weight_decay": 0.1})
        assert (config["calibrator"]["epochs"], resolve("crt", "digits-lt", protocol="own")["calibrator"]) == (
            3,
            resolve("crt", "digits-lt")["calibrator"],
        )
        longer = register(own.derive("longer", batch_size=cited(8, "ours: for the test")))
        assert resolve("ce", "digits-lt", protocol="longer")["batch_size"] == 8
        assert longer.settings_for("digits-lt", 5)["epochs"].value == 5
        with pytest.raises(TypeError, match="images must be given for training protocol 'own'"):
            own.settings_for("digits-lt")
    finally:
        TRAINING_PROTOCOLS.forget("own")
        TRAINING_PROTOCOLS.forget("longer")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixer": None}, "training protocol 'p' must not remove mixer; a recipe alone does"),
        ({"calibrator": Spec(epochs=cited(3, "x"))}, r"must name the calibrator whose options it changes: Spec\(NAME"),
        ({"epoch": cited(3, "x")}, r"got 'epoch'; did you mean 'epochs'\?"),
    ],
)
def test_settings_that_no_protocol_has(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainingProtocol("p", "ours", on={"digits-lt": settings})
    late = TrainingProtocol("p", "ours", on={"digits-lt": lambda _: settings})
    with pytest.raises(UsageError, match=message):
        late.settings_for("digits-lt", 5)


def test_an_option_that_the_network_does_not_have_is_refused():
    own = TrainingProtocol("own", "ours", on={"digits-lt": {"model": Spec(bias=cited(False, "ours: for the test"))}})
    register(own)
    try:
        with pytest.raises(UsageError, match=r"own sets model.bias, which the model digits_net does not have; leave"):
            resolve("ce", "digits-lt", protocol="own")
    finally:
        TRAINING_PROTOCOLS.forget("own")


def test_a_length_in_steps_needs_a_data_set_that_tells_its_images():
    own = TrainingProtocol("own", "ours", on={"photographs-scratch": lambda _: {}})
    register(own)
    try:
        with pytest.raises(UsageError, match="protocol own has its length in steps on photographs, whose number of"):
            resolve("ce", "photographs", protocol="own", mode="scratch")
    finally:
        TRAINING_PROTOCOLS.forget("own")
