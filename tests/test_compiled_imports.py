"""What import-linter cannot see: who may import the compiled module, which has no Python source to follow."""

import ast
from pathlib import Path

import pytest

import lt_fast

PACKAGE = Path(lt_fast.__file__).parent
MAY_IMPORT_RUST = {"sampling", "data", "datasets", "mixing", "counts.py"}
SOURCES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported_names(source: str) -> set[str]:
    """Every dotted name that an import statement anywhere in ``source`` brings in."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def imports_rust(source: str) -> bool:
    return any("_rust" in name.split(".") for name in imported_names(source))


def test_the_check_sees_every_form_of_import() -> None:
    forms = [
        "import lt_fast._rust",
        "from lt_fast import _rust",
        "from lt_fast._rust import uniform",
        "from . import _rust",
    ]
    assert all(imports_rust(form) for form in forms)
    assert not imports_rust("from lt_fast.counts import ClassCounts")


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_only_packages_that_draw_import_the_rust_module(source: Path) -> None:
    if source.parts[0] not in MAY_IMPORT_RUST:
        assert not imports_rust((PACKAGE / source).read_text(encoding="utf-8"))


def test_the_rust_module_is_used() -> None:
    assert any(imports_rust((PACKAGE / source).read_text(encoding="utf-8")) for source in SOURCES)
