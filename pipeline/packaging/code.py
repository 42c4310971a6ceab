"""The modules that a bundle needs, as the package ``scripts`` that travels with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..bundle.configs import texts
from ..errors import InputError

PROJECT = "pipeline"
# The only name that MONAI Label keeps apart for each bundle that it serves.
TRAVELS_AS = "scripts"
FOLDER = Path(__file__).parents[1]
NAME = re.compile(rf"\b{PROJECT}((?:\.[A-Za-z_]\w*)+)")


def rename_project(content: Any) -> Any:
    """Replace ``pipeline`` by ``scripts`` in the names of components in a config."""
    if isinstance(content, dict):
        return {name: rename_project(value) for name, value in content.items()}
    if isinstance(content, list):
        return [rename_project(value) for value in content]
    return NAME.sub(rf"{TRAVELS_AS}\1", content) if isinstance(content, str) else content


def collect_modules(configs: Iterable[Any]) -> dict[str, bytes]:
    """Find the code that some configs need: each module's content, by path in the package.

    Every import of the named modules is followed, also inside functions, but not those for type
    checkers only. Each package on the way comes with its ``__init__.py`` and what that imports.

    Args:
        configs: contents of JSON files that name components as ``pipeline.<part>.<name>``.

    Raises:
        InputError: no module has a name.
    """
    names = (match[0] for each in configs for text in texts(each) for match in NAME.finditer(text))
    waiting = {find_module(name) for name in names}
    found: dict[str, bytes] = {}
    while waiting:
        path = waiting.pop()
        inside = path.relative_to(FOLDER)
        if (travelling := f"{TRAVELS_AS}/{inside.as_posix()}") not in found:
            found[travelling] = path.read_bytes()
            waiting |= find_imported(path)
            waiting |= {FOLDER / folder / "__init__.py" for folder in inside.parents}
    return found


def find_module(name: str) -> Path:
    """Find the file of a dotted name: of its longest part that is a module.

    A name that a package loads on first use leads to the module that defines it.

    Raises:
        InputError: no module has this name.
    """
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        path = FOLDER.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            home = read_lazy_homes(path / "__init__.py").get(parts[end]) if parts[end:] else None
            return path / f"{home or '__init__'}.py"
    raise InputError(f"{name}: no module of {PROJECT} has this name; correct it in the config.")


def read_lazy_homes(path: Path) -> dict[str, str]:
    """The module of each name that the package at ``path`` passes to ``lazy``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy":
            homes = ast.literal_eval(node.args[1])
            return {name: module for module, names in homes.items() for name in names}
    return {}


def find_imported(path: Path) -> set[Path]:
    """Find the files of this project that a module imports, which it does by relative names."""
    package = [PROJECT, *path.relative_to(FOLDER).parts[:-1]]
    files = set()
    for node in walk_imports(ast.parse(path.read_text())):
        base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
        names = (".".join([*filter(None, base), alias.name]) for alias in node.names)
        files |= {find_module(name) for name in names}
    return files


def walk_imports(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """The relative imports below a node, except those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.level:
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from walk_imports(ast.Module(child.orelse, []))
        else:
            yield from walk_imports(child)
