"""A bundle's config for certain weights: as they were trained, and as the user says."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, suggestion
from .as_data import take_settings
from .as_trained import check_recorded, shorten
from .configs import Config, read_overlay, top_level
from .ids import Role, row
from .trained import MEMBERS, as_ensemble, record_of, without_ensemble

# Parts that this project looks into before MONAI builds them.
_PARTS = ("regions", "channel_names", "roi_size", "network_def#_target_")
_PARTS += ("preprocessing#transforms", "postprocessing#transforms")


@dataclass(frozen=True)
class Given:
    """What a user says of a model on the command line.

    Attributes:
        overlays: contents of config files, by their paths.
        values: by id, and the option that each stands in.
        only_model: of overlays only what decides the model counts.
    """

    overlays: Mapping[Path, Mapping[str, Any]]
    values: Mapping[str, tuple[str, Any]]
    only_model: bool = False

    @classmethod
    def read(
        cls,
        configs: Path,
        overlays: Sequence[str | Path],
        overrides: Sequence[str] = (),
        *,
        only_model: bool = False,
    ) -> Given:
        """Read overlays and texts such as ``roi_size=[224,224]`` or ``inferer#overlap=0.5``.

        Args:
            configs: folder of the bundle's configs, where an overlay may be too.
            overlays: config files.
            overrides: ids and values.
            only_model: see above; a value of another id is refused.

        Raises:
            InputError: a file is missing or malformed, or a text is not an id with its value.
        """
        paths = [find_overlay(str(overlay), configs) for overlay in overlays]
        values = {}
        for text in overrides:
            name, value = _split(text)
            known = row(top_level(name))
            if only_model and known.role is not Role.MODEL:
                raise InputError(f"--set {text}: it is not a setting of the model; leave it out.")
            if known.in_predict:
                raise InputError(f"--set {text}: {known.in_predict}.")
            if name in values:
                raise InputError(f"--set {text}: {values[name][0]} is given too; give one of them.")
            values[name] = text, value
        contents = {path: read_overlay(path, "correct the file.") for path in paths}
        return cls(contents, values, only_model)

    @property
    def ids(self) -> set[str]:
        """The top-level ids that the user says something of."""
        names = [*self.values, *(name for each in self.overlays.values() for name in each)]
        return {top_level(name) for name in names}

    def lay_over(self, config: Config) -> Config:
        """The config with the overlays, and then the values.

        Of a training's own ``config.json`` only what decides the model counts.

        Raises:
            InputError: an id has no place in the config.
        """
        for path, content in self.overlays.items():
            if content.keys() >= {"network_def", "train", "validate"}:
                config = config.as_trained(content)
            else:
                changes = record_of(content) if self.only_model else content
                config = config.with_changes(changes, source=f"config {path}")
        for name, (text, value) in self.values.items():
            if (top := top_level(name)) not in config.content:
                hint = suggestion(top, (id for id in config.content if not id.startswith("_")))
                raise InputError(f"--set {text}: the bundle has no id {top}; {hint}")
            config = config.with_changes({name: value}, source=f"--set {text}")
        return config


NOTHING = Given({}, {})


def settle(
    config: Config,
    trained: Mapping[str, Any],
    given: Given,
    bundle: Path,
    *,
    source: str,
    chosen: Mapping[str, Any] | None = None,
) -> Config:
    """Put the config of a bundle together for the weights of a training, or of an ensemble.

    Args:
        config: one of the bundle's.
        trained: what the training left, see `read_config`; empty if it left nothing.
        given: what the user says; it counts most.
        bundle: its folder.
        source: the weights as the user gave them, for an error.
        chosen: the postprocessing of an evaluation.

    Raises:
        InputError: the training brings code, the settings of the network are unknown, or it has
            another number of dimensions than the bundle.
    """
    config = Config(without_ensemble(config.content))  # of a package
    own, now = (_part(each, "network_def#spatial_dims") for each in (config, Config(trained)))
    if own in (2, 3) and now in (2, 3) and own != now:
        raise InputError(
            f"{source}: its network takes {now}D images and the bundle {bundle} {own}D ones; give "
            "the bundle that it was trained with."
        )
    overlays = given.overlays.values()
    found = take_settings(config, trained, bundle, overlays=overlays, source=source)
    for part in _PARTS:
        own, now = (_part(each, part) for each in (config, found))
        if own is not None and type(own) is not type(now):
            raise InputError(f"{source}: its {part} is {shorten(now)}; give other weights.")
    found = given.lay_over(found.with_changes(chosen or {}))
    found = Config(as_ensemble(found.content, trained.get(MEMBERS, 1)))
    check_recorded(found, trained.keys() | given.ids, source=source, option="--set {}={}")
    return found


def _part(config: Config, name: str) -> Any:
    """The value of an id, or of one inside it; None if it is not there."""
    value = config.content
    for key in name.split("#"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def find_overlay(name: str, configs: Path) -> Path:
    """A config file by its path, or by its name in the bundle's ``configs``.

    Raises:
        InputError: there is none, or one at both places.
    """
    found = [path for path in (Path(name), configs / name) if path.is_file()]
    if not found:
        raise InputError(
            f"config {name}: this file does not exist, here or in {configs}; give a JSON file that "
            "changes ids of the bundle."
        )
    if not all(path.samefile(found[0]) for path in found):
        raise InputError(
            f"config {name}: there is one here and one in {configs}; give {found[0].resolve()} or "
            f"{found[1].resolve()}."
        )
    return found[0]


def _split(text: str) -> tuple[str, Any]:
    """An id and its value from ``id=value``; the value is Python or JSON, or else a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--set {text}: write it as id=value, such as roi_size=[224,224].")
    for read in (ast.literal_eval, json.loads):
        try:
            return name, read(value)
        except (ValueError, SyntaxError):
            continue
    return name, value
