"""``Registry``: lazy, open, and helpful about a name that it does not know or that is taken."""

import subprocess
import sys

import pytest

import lt_fast.counts
import lt_fast.registry
from lt_fast.errors import DataError, UsageError
from lt_fast.registry import LOSSES, REGISTRIES, SCHEDULES, Registry, load_file, register

METHODS = Registry("method", {"ldam_drw": "lt_fast.errors:UsageError", "mammc": "lt_fast.errors:DataError"})


@pytest.fixture
def schedules():
    """The registry of schedules, without what a test adds."""
    before = dict(SCHEDULES._registered)
    yield SCHEDULES
    SCHEDULES._registered.clear()
    SCHEDULES._registered.update(before)


def constant(base):
    return lambda *_: base


def test_it_is_a_mapping():
    assert list(METHODS) == ["ldam_drw", "mammc"]
    assert len(METHODS) == 2
    assert "mammc" in METHODS
    assert 7 not in METHODS
    assert METHODS["ldam_drw"] is UsageError
    assert dict(METHODS.items())["ldam_drw"] is UsageError


def test_it_cannot_be_written_by_item():
    with pytest.raises(TypeError, match="does not support item assignment"):
        METHODS["other"] = UsageError


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("ldam-drw", "; did you mean 'ldam_drw'?"),
        ("LDAM_DRW", "; did you mean 'ldam_drw'?"),
        ("mamc", "; did you mean 'mammc'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest(asked, hint):
    with pytest.raises(UsageError) as raised:
        METHODS[asked]
    assert str(raised.value) == f"method must be one of ldam_drw, mammc, got {asked!r}{hint}"


def test_a_name_is_imported_when_it_is_asked_for_and_not_before(tmp_path, monkeypatch):
    (tmp_path / "loud_module.py").write_text("thing = 'heard'")
    monkeypatch.syspath_prepend(tmp_path)
    lazy = Registry("sound", {"loud": "loud_module:thing"})
    assert "loud" in lazy
    assert list(lazy) == ["loud"]
    assert "loud_module" not in sys.modules
    assert lazy["loud"] == "heard"
    assert "loud_module" in sys.modules


def test_listing_names_imports_no_torch():
    code = "import sys; from lt_fast.registry import REGISTRIES as r; print({k: list(v) for k, v in r.items()}); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("ldam_drw", "maximum_margin", "unimix", "shuffled", "resnet32", "digits-lt", "margin", "cp_mix"):
        assert f"'{name}'" in done.stdout


def test_every_component_of_the_package_can_be_loaded():
    for registry in REGISTRIES.values():
        for name in registry:
            assert registry[name] is not None


def test_a_registered_component_is_found_by_its_name(schedules):
    assert register("schedule", "flat")(constant) is constant
    assert schedules["flat"] is constant
    assert "flat" in list(schedules)
    assert "test_registry.py" in schedules.where("flat")
    register("schedule", "flat")(constant)  # the same once more, as a notebook does
    with pytest.raises(UsageError, match=r"schedule 'flat' is registered twice: by .*test_registry.py:\d+ and by .*;"):
        register("schedule", "flat")(lambda **_: None)
    other = register("schedule", "flat", replace=True)(lambda **_: None)
    assert schedules["flat"] is other


def test_names_of_the_package_are_taken(schedules):
    with pytest.raises(
        UsageError, match=r"'cosine' is registered twice: by lt_fast.training.schedules and by .*py:\d+"
    ):
        register("schedule", "cosine")(constant)
    with pytest.raises(UsageError, match=r"loss 'ldam' is registered twice: by \S*losses.ldam\S* and by "):
        register("loss", "ldam")(constant)
    assert LOSSES["ldam"].__name__ == "LDAMLoss"


@pytest.mark.parametrize("name", ["", "a b", "timm:x", "a.b", 3])
def test_names_that_no_command_line_takes(schedules, name):
    with pytest.raises(UsageError, match="must consist of letters, digits, _ and -"):
        register("schedule", name)(constant)


def test_an_unknown_kind():
    with pytest.raises(UsageError, match=r"kind must be one of method, .*, got 'los'; did you mean 'loss'\?"):
        register("los", "x")


def test_a_network_is_not_imported_by_name():
    with pytest.raises(
        UsageError, match=r"model must be one of .*, package.module:factory, .*, torchvision:NAME, got 'os'"
    ):
        REGISTRIES["model"]["os"]
    for place in ("os:system", "shutil:rmtree", "lt_fast.models:CosineHead.fill", "torch:load"):
        with pytest.raises(UsageError, match="model must"):
            REGISTRIES["model"][place]
    assert REGISTRIES["model"]["torchvision:resnet18"].args == ("torchvision:resnet18",)


# --- files ------------------------------------------------------------------------------------------------------------

FILE = """
from lt_fast.registry import register

@register("schedule", "flat")
def flat(base: float):
    return lambda epoch, step, steps: base
"""


def test_a_file_is_run_once_and_again_when_it_has_changed(schedules, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE)
    first = load_file(path)
    assert first.of("schedule") == ["flat"]
    assert first.of("loss") == []
    made = schedules["flat"]
    assert load_file(path) == first
    (tmp_path / "copy.py").write_text(FILE)
    assert load_file(tmp_path / "copy.py") == first._replace(path=tmp_path / "copy.py")
    assert schedules["flat"] is made
    path.write_text(FILE.replace("base", "rate").replace('"flat"', '"even"'))
    assert load_file(path).of("schedule") == ["even"]
    assert "flat" not in schedules
    assert schedules["even"](rate=1.0)(0, 0, 1) == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", r"own.py cannot be run: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = (", r"own.py cannot be run: SyntaxError"),
        (FILE + "1 / 0", r"own.py cannot be run: ZeroDivisionError"),
        (FILE.replace("flat", "cosine"), r"schedule 'cosine' is registered twice: by lt_fast.* and by .*own.py:4"),
    ],
)
def test_a_file_that_fails_registers_nothing(schedules, tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_file(tmp_path / "own.py")
    assert "flat" not in schedules


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"recipe file .*none.py cannot be read \(No such file or directory\); name"):
        load_file(tmp_path / "none.py")


# --- installed packages -----------------------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a folder of the import path look like an installed package with entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, entry_points, source=""):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        lt_fast.registry._entry_points.cache_clear()

    yield make
    lt_fast.registry._entry_points.cache_clear()
    for name in [name for name in sys.modules if name.startswith("installed_")]:
        del sys.modules[name]


def test_entry_points_are_components(schedules, install):
    install("installed_flat", "[lt_fast.schedules]\nflat = installed_flat:flat\n", FILE)
    assert "flat" in list(schedules)
    assert "installed_flat" not in sys.modules
    assert schedules["flat"](base=2.0)(0, 0, 1) == 2.0  # the module registers the same function by itself too
    assert "package installed_flat" in schedules.where("flat")


def test_a_broken_entry_point_is_named_when_it_is_used(schedules, install):
    install("installed_bad", "[lt_fast.schedules]\nbad = installed_bad:missing\n[lt_fast.recipes]\nworse = nowhere:X\n")
    assert "bad" in list(schedules)
    with pytest.raises(UsageError, match=r"schedule 'bad' cannot be loaded from installed_bad:missing of the package"):
        schedules["bad"]
    with pytest.warns(UserWarning, match=r"recipe 'worse' cannot be loaded .*ModuleNotFoundError.*; mend or uninstall"):
        working = lt_fast.registry.RECIPES.working()
    assert "ce" in working
    assert "worse" not in working


def test_two_packages_with_one_name(schedules, install):
    for name in ("installed_one", "installed_two"):
        install(name, f"[lt_fast.schedules]\nflat = {name}:flat\ncosine = {name}:flat\n", "def flat(base): pass")
    with pytest.raises(
        UsageError, match=r"'flat' is registered twice: by installed_...:flat of .* and by installed_...:"
    ):
        schedules["flat"]
    with pytest.raises(
        UsageError, match=r"schedule 'cosine' is registered twice: by lt_fast.training.schedules and by"
    ):
        schedules["cosine"]
    assert schedules["multistep"].__name__ == "multistep"
