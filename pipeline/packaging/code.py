"""The modules that a bundle's JSON names, as the package ``scripts`` that travels with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..bundle.configs import texts
from ..errors import InputError

PROJECT = "pipeline"
# The one name that MONAI Label keeps apart for each bundle that it serves.
TRAVELS_AS = "scripts"
FOLDER = Path(__file__).parents[1]
NAME = re.compile(rf"\b{PROJECT}((?:\.[A-Za-z_]\w*)+)")


def renamed(content: Any) -> Any:
    """A config whose components come from ``scripts`` instead of ``pipeline``."""
    if isinstance(content, dict):
        return {name: renamed(value) for name, value in content.items()}
    if isinstance(content, list):
        return [renamed(value) for value in content]
    return NAME.sub(rf"{TRAVELS_AS}\1", content) if isinstance(content, str) else content


def scripts(configs: Iterable[Any]) -> dict[str, bytes]:
    """The code that some configs need: path in the bundle and content of each module.

    Follows every import of the modules that the configs name, those inside functions as well, but
    not those for type checkers only. A package that is passed on the way comes with its
    ``__init__.py``, and so with what that imports.

    Args:
        configs: contents of JSON files that name components as ``pipeline.<part>.<name>``.

    Raises:
        InputError: a name that no module has, or code that would not run under another name.
    """
    waiting = {module_of(name) for config in configs for name in names(config)}
    found: dict[str, bytes] = {}
    while waiting:
        path = waiting.pop()
        travelling = f"{TRAVELS_AS}/{path.relative_to(FOLDER).as_posix()}"
        if travelling in found:
            continue
        found[travelling] = path.read_bytes()
        waiting |= imported(path)
        for folder in path.relative_to(FOLDER).parents:
            waiting.add(FOLDER / folder / "__init__.py")
    return found


def names(content: Any) -> Iterator[str]:
    """Every ``pipeline.<part>.<name>`` in a config."""
    for text in texts(content):
        yield from (match[0] for match in NAME.finditer(text))


def module_of(name: str) -> Path:
    """The file that a dotted name leads to: its longest part that is a module.

    A name that a package loads on first use leads to the module that defines it.
    """
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        path = FOLDER.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            home = lazy_homes(path / "__init__.py").get(parts[end]) if parts[end:] else None
            return path / f"{home or '__init__'}.py"
    raise InputError(f"{name}: no module of {PROJECT} has that name; correct it in the config.")


def lazy_homes(path: Path) -> dict[str, str]:
    """The module of each name that a package gives to ``lazy``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy":
            homes = ast.literal_eval(node.args[1])
            return {name: module for module, names in homes.items() for name in names}
    return {}


def imported(path: Path) -> set[Path]:
    """The files of this project that a module imports."""
    package = [PROJECT, *path.relative_to(FOLDER).parts[:-1]]
    files = set()
    for node in imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import) or node.level == 0:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in [*modules, getattr(node, "module", None) or ""]:
                if module.split(".")[0] == PROJECT:
                    raise InputError(f"{path}: it imports {module}; make the import relative.")
            continue
        base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
        for alias in node.names:
            files.add(module_of(".".join([*filter(None, base), alias.name])))
    return files


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements below a node that are carried out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(child)
