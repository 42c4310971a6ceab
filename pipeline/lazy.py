"""What is loaded on first use: names of a package, so that one does not load all; extras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], list[str]]:
    """``__getattr__`` and ``__all__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        homes: the names by the module of the package that defines them.
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return get, sorted(module_of)


def load_optional(module: str, *, need: str, extra: str) -> ModuleType:
    """Import a library that is not always installed.

    Args:
        module: its name.
        need: what needs it, such as ``DICOM needs``.
        extra: of this project, which installs it.

    Raises:
        ModuleNotFoundError: it is not installed; says how to.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        how = f"pip install 'attention-unet-pipeline[{extra}]'"
        raise ModuleNotFoundError(
            f"{need} {module.replace('_', '-')}: {how}", name=module
        ) from error
