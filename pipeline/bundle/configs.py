"""The config of a bundle: its files laid over each other, and what follows from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line, suggestion
from ..files import read_json
from .ids import READ_LATER, Role, of_role, read_by_monai

CONFIG_FILES = (".json", ".yaml", ".yml")
_REFERENCE = re.compile(r"@(\w+)")  # of an expression to a top-level id
_NESTED = re.compile(r"#|::")  # between an id and one inside it


class Config:
    """The ids of a bundle and their values.

    Attributes:
        content: values as JSON holds them, expressions and references included.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = deepcopy(dict(content))

    @classmethod
    def read(cls, *paths: Path, fix: str = "give the path of a JSON file.") -> Config:
        """Files, each laid over those before it, as ``monai.bundle run`` does.

        Raises:
            InputError: names the file that is missing or malformed.
        """
        config = cls({})
        for path in paths:
            config = config.with_changes(read_overlay(path, fix), source=str(path))
        return config

    def with_changes(self, changes: Mapping[str, Any], *, source: str = "") -> Config:
        """The config with other values: an overlay's, or those of a command line.

        Args:
            changes: values by id; ``a#b`` is ``b`` inside ``a``, and ``+a`` adds to ``a``.
            source: file or option that they come from, for the error.

        Raises:
            InputError: an id has no place in the config.
        """
        if not any(_NESTED.search(name) or name.startswith("+") for name in changes):
            return Config(self.content | dict(changes))
        from monai.bundle import ConfigParser
        from monai.bundle.utils import merge_kv

        parser = ConfigParser(deepcopy(self.content))
        for name, value in changes.items():
            try:
                merge_kv(parser, name, deepcopy(value))
            except Exception as error:  # MONAI raises about anything
                raise InputError(
                    f"{source or 'the config'}: {name} {value!r} has no place in the config "
                    f"({one_line(error)})."
                ) from None
        return Config({name: v for name, v in parser.get().items() if name != "_meta_" or v})

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a top-level id, expressions as they stand."""
        return self.content.get(name, default)

    def built(self, name: str) -> Any:
        """A value with its expressions and references resolved, and its components built.

        Raises:
            InputError: names the id and the first cause; a component may raise about anything.
        """
        from monai.bundle import ConfigParser

        try:
            return ConfigParser(deepcopy(self.content)).get_parsed_content(name)
        except Exception as error:
            raise InputError(f"{name}: {one_line(first_cause(error), 500)}") from error

    def with_references(self, names: Iterable[str]) -> dict[str, Any]:
        """The values of some ids, and of all ids that they refer to."""
        found: dict[str, Any] = {}
        left = list(names)
        while left:
            name = left.pop()
            if name in self.content and name not in found:
                found[name] = self.content[name]
                left += references(found[name])
        return found

    def as_trained(self, training: Mapping[str, Any]) -> Config:
        """The config with all that decides the model as it was in a training.

        So the network's overlay, its widths and the preprocessing are those of the training, and
        what these refer to comes along. How many parts of a region to keep stays the config's own,
        for those of its regions that the training had.

        Args:
            training: the merged config of the training; empty for the config as it is.
        """
        new = of_role(self.content.keys() & training.keys(), Role.MODEL)
        content = dict(self.content)
        while new:
            content |= {name: training[name] for name in new}
            referred = references([training[name] for name in new])
            new = (referred & training.keys()) - content.keys()
        regions, kept = content.get("regions"), content.get("components")
        if isinstance(regions, Mapping) and isinstance(kept, Mapping):
            content["components"] = {name: kept[name] for name in kept if name in regions}
        return Config(content)

    def check_ids(self, given: Mapping[str, Any], *, where: str = "--") -> None:
        """Refuse ids that nothing in the config reads: MONAI accepts any id in silence.

        Args:
            given: values by id that a user sets.
            where: what stands before the id in an error.

        Raises:
            InputError: names the id and the nearest one.
        """
        read = self.content.keys() & (references(self.content) | read_by_monai() | READ_LATER)
        for name, value in given.items():
            if top_level(name) not in read:
                hint = suggestion(name, read - of_role(read, Role.ASSEMBLY))
                raise InputError(
                    f"{where}{name} {value}: nothing in the bundle reads this id; {hint}"
                )


def read_overlay(path: Path, fix: str) -> dict[str, Any]:
    """The content of a config file, JSON or, by its suffix, YAML.

    Raises:
        InputError: names the file that is missing or malformed.
    """
    if path.suffix not in CONFIG_FILES[1:]:
        return read_json(path, fix)
    from monai.bundle import ConfigParser

    try:
        return dict(ConfigParser.load_config_file(path))
    except Exception as error:  # YAML raises about anything
        raise InputError(f"{path}: it cannot be read as YAML ({one_line(error)}); {fix}") from None


def digest_config(path: Path) -> str:
    """SHA-256 of what a config file says, which does not change with its notes and layout."""
    content = without_notes(read_overlay(path, "give a config file."))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def without_notes(content: Any) -> Any:
    """A part of a config without the texts under ``_desc_``."""
    if isinstance(content, Mapping):
        return {k: without_notes(value) for k, value in content.items() if k != "_desc_"}
    if isinstance(content, list):
        return [without_notes(value) for value in content]
    return content


def references(content: Any) -> set[str]:
    """The top-level ids that a part of a config refers to."""
    return {name for text in texts(content) for name in _REFERENCE.findall(text)}


def texts(node: Any) -> Iterator[str]:
    """Every text in a config."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping | Sequence):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from texts(value)


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text that is not an expression, null, or several of such."""
    if isinstance(value, list):
        return all(is_plain(each) for each in value)
    if isinstance(value, Mapping):
        return "_target_" not in value and all(is_plain(each) for each in value.values())
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%"))
    return isinstance(value, bool | int | float) or value is None


def top_level(name: str) -> str:
    """``train`` of ``train#trainer`` or ``+train``."""
    return _NESTED.split(name.lstrip("+"))[0]


def as_json(value: Any) -> Any:
    """A value as JSON keeps it: what JSON does not know becomes a text."""
    return json.loads(json.dumps(value, default=str))


def first_cause(error: BaseException, kinds: type | tuple[type, ...] = InputError) -> BaseException:
    """The nearest of these kinds among an error and its causes, else the first cause."""
    while not isinstance(error, kinds) and (cause := error.__cause__ or error.__context__):
        error = cause
    return error
