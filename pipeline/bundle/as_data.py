"""What a checkpoint says of its training is data: it can set values, and bring no code.

MONAI evaluates texts of a config, imports what they name and calls it. A bundle is code, which its
user chose; a file beside weights from somewhere is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from .configs import CONFIG_FILES, Config, is_plain, read_overlay, top_level

_NOTE = "_desc_"
_CONSTANTS = {"$None": None, "$True": True, "$False": False}  # as a command line may write them


def take_settings(
    config: Config,
    trained: Mapping[str, Any],
    bundle: Path,
    *,
    overlays: Iterable[Mapping[str, Any]] = (),
    source: str,
) -> Config:
    """A bundle's config with all that decides the model as it was in a training.

    Where a setting names code, or holds an expression, every key and text in it has to stand letter
    by letter in a config file of the bundle, or in an overlay of the user, under the same id; a
    text also under the same key, since MONAI imports what some keys name. A setting without code
    may have any value, and so may a number.

    Args:
        config: one of the bundle's.
        trained: what the training left, see `read_config`.
        bundle: its folder; all files of ``configs/`` count.
        overlays: that the user gave.
        source: what the training's config comes from, for the error.

    Raises:
        InputError: names the id, and the first text that the bundle does not have.
    """
    trained = {
        name: _CONSTANTS.get(value, value) if isinstance(value, str) else value
        for name, value in trained.items()
    }
    taken = config.as_trained(trained)
    new = {
        name: value
        for name, value in taken.content.items()
        if name in trained and value != config.get(name)
    }
    if not new:
        return taken
    own: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    files = [path for path in (bundle / "configs").rglob("*") if path.suffix in CONFIG_FILES]
    for content in (*(read_overlay(path, "correct it.") for path in files), *overlays):
        for name, value in content.items():
            own[top_level(name)].append((name, value))
    for name, value in new.items():
        if is_plain(value) and all(is_plain(each) for _, each in own[name]):
            continue
        known = {word for id, each in own[name] for word in _words(each, _last_key(id))}
        if strange := [word for word in _words(value, name) if word not in known]:
            texts = [text or key for key, text in strange]
            worst = min(texts, key=lambda text: (is_plain(text), text.startswith("_")))
            raise InputError(
                f"{source}: its setting {name} has {one_line(ValueError(worst), 150)!r}, which is "
                f"in no config of {bundle} and could run code; if you trust it, give --config with "
                "the overlay that it comes from, or with the config.json of the training."
            )
    return taken


def _words(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in a part of a config with the key that it stands under, and every key alone.

    A note is for readers, unless MONAI would evaluate it.
    """
    if isinstance(node, str):
        yield key, node.replace("#", "::")  # MONAI writes an id in one of two ways
    elif isinstance(node, Mapping):
        for inner, value in node.items():
            if inner != _NOTE or not is_plain(value):
                yield inner, ""
                yield from _words(value, inner)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _words(value, key)


def _last_key(id: str) -> str:
    """The key of what an id names: ``lr`` of ``optimizer#lr``, ``steps`` of ``a#steps#0``."""
    keys = [key for key in id.lstrip("+").replace("::", "#").split("#") if not key.isdecimal()]
    return keys[-1]
