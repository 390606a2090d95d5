"""One page per public package, written from ``__all__``, and one of the command line, from its own help."""

import contextlib
import importlib
import inspect
import io
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sphinx.application import Sphinx

import extensions.repository
import lt_fast
from lt_fast.cli.parser import COMMANDS, parse
from lt_fast.registry import Registry

PACKAGES = sorted(name for name in lt_fast.__all__ if inspect.ismodule(getattr(lt_fast, name)))
# Modules that a plug-in or a loop of one's own imports, next to the packages of `lt_fast.__all__`.
MODULES = ("batch", "errors", "ranks", "registry")
_HIGHLIGHT = ".. highlight:: default\n"  # code that is Python, as far as it can be read


def public_names(module: ModuleType) -> list[str]:
    """Return the public names of a module: its ``__all__``, or what it defines without an underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        if not isinstance(value, TypeVar)
    ]


def page_of(name: str) -> str:
    """Return the reStructuredText of the page of ``lt_fast.<name>``."""
    module = importlib.import_module(f"lt_fast.{name}")
    names = public_names(module)
    parts = [
        _title(f"lt_fast.{name}"),
        _HIGHLIGHT,
        f".. automodule:: lt_fast.{name}\n   :no-members:\n",
        *_table(module, names),
    ]
    for heading, kind in (("Classes", "class"), ("Functions", "function"), ("Values", "data")):
        chosen = [each for each in names if _kind(getattr(module, each)) == kind]
        if chosen:
            parts += [_title(heading, "-"), *(_entry(module, each, kind) for each in chosen)]
    return "\n".join(parts)


def top_page() -> str:
    """Return the page of what ``lt_fast`` itself has: a class and the functions that need no package's name."""
    names = sorted(set(lt_fast.__all__) - set(PACKAGES))
    entries = [_entry(lt_fast, name, _kind(getattr(lt_fast, name))) for name in names]
    return "\n".join([_title("lt_fast"), _HIGHLIGHT, ".. automodule:: lt_fast\n   :no-members:\n", *entries])


def command_page() -> str:
    """Return the page of the command line: the help of every command, as it prints it."""
    parts = [_title("Command line"), "What ``lt-fast COMMAND --help`` prints.\n"]
    for words in ([], *([command] for command in COMMANDS)):
        parts += [_title(" ".join(["lt-fast", *words]), "-"), _literal(_help(words))]
    return "\n".join(parts)


def index(names: Iterable[str]) -> str:
    """Return the index of the API pages of ``lt_fast`` and of ``names`` in it."""
    rows = [
        f"   * - :doc:`lt_fast.{name} <{name}>`\n     - {_summary(importlib.import_module(f'lt_fast.{name}'))}"
        for name in names
    ]
    own = "   * - :doc:`lt_fast <lt_fast>`\n     - ``ClassCounts``, and the functions that belong to no package."
    pages = "\n".join(f"   {name}" for name in ("lt_fast", *names, "command-line"))
    return "\n".join([
        _title("API"),
        "Every public name with its signature. ``lt`` is short for ``lt_fast`` on all pages.\n",
        ".. list-table::\n   :class: names\n   :widths: 30 70\n",
        own,
        *rows,
        f"\n.. toctree::\n   :hidden:\n\n{pages}\n",
    ])  # fmt: skip


def write_pages(app: Sphinx) -> None:
    """Write all pages into ``docs/api/``, where Sphinx finds them."""
    names = app.config.api_modules
    pages = {name: page_of(name) for name in names}
    pages |= {"lt_fast": top_page(), "command-line": command_page(), "index": index(names)}
    texts = {f"{name}.rst": text for name, text in pages.items()}
    extensions.repository.write_generated(Path(app.srcdir) / "api", texts)


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "class"
    return "function" if inspect.isroutine(value) else "data"


def _table(module: ModuleType, names: Iterable[str]) -> Iterator[str]:
    yield ".. list-table::\n   :class: names\n   :widths: 40 60\n"
    for name in names:
        yield f"   * - :py:obj:`{name} <{module.__name__}.{name}>`\n     - {_summary(getattr(module, name))}"
    yield ""


def _summary(value: Any) -> str:
    """Return the first sentence of a docstring; of a value, what it is."""
    if isinstance(value, Registry):
        return f"Names to components: every {value.kind.replace('_', ' ')}."
    if isinstance(value, Mapping):
        return "Names, and what each stands for."
    if _kind(value) == "data" and not inspect.ismodule(value):
        return f"``{value!r}``"
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def _entry(module: ModuleType, name: str, kind: str) -> str:
    value = getattr(module, name)
    if kind != "data":
        return f".. auto{kind}:: {module.__name__}.{name}\n{_options(value) if kind == 'class' else ''}"
    text = "\n\n".join([_summary(value), *_entries(value)])
    return f".. py:data:: {module.__name__}.{name}\n\n{textwrap.indent(text, '   ')}\n"


def _options(value: type) -> str:
    options = f"   :members: {', '.join(_members(value))}".rstrip() + "\n"
    if fields := getattr(value, "_fields", ()):
        options += f"   :exclude-members: {', '.join(fields)}\n"  # a named tuple's, which its docstring explains
    return options if value.__bases__ == (object,) else f"{options}   :show-inheritance:\n"


def _members(value: type) -> list[str]:
    """Return the members of a class that inherits some from a class without an entry; of any other none."""
    hidden = [base for base in value.__mro__[1:] if base.__module__.startswith("lt_fast.") and not _has_entry(base)]
    names = dict.fromkeys(name for each in (value, *hidden) for name in vars(each) if not name.startswith("_"))
    members = {name: getattr(value, name) for name in names} if hidden else {}
    return [name for name, each in members.items() if callable(each) or isinstance(each, property)]


def _has_entry(value: type) -> bool:
    package = importlib.import_module(".".join(value.__module__.split(".")[:2]))
    return value.__name__ in public_names(package)


def _entries(value: Any) -> Iterator[str]:
    """Yield what a mapping has, in one paragraph."""
    if not isinstance(value, Mapping):
        return
    if not isinstance(value, Registry) and all(isinstance(each, str) for each in value.values()):
        yield "\n".join(f"- ``{name}``: {text}" for name, text in value.items())
    else:
        yield ", ".join(f"``{name}``" for name in sorted(value))


def _help(words: list[str]) -> str:
    shown = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "88"
    try:
        with contextlib.redirect_stdout(shown):
            parse([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return shown.getvalue()


def _literal(text: str) -> str:
    return ".. code-block:: text\n\n" + textwrap.indent(text, "   ") + "\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for pages."""
    app.add_config_value("api_modules", [*PACKAGES, *MODULES], "env", list)
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
