"""The plan of an experiment: a small JSON file, checked before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from ..bundle.listing import ALL
from ..bundle.rules import FOLD
from ..errors import InputError, suggestion
from ..files import read_json

# Names become folders, so they are words that every file system takes.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.+-]*$", max_length=80)]
Seed = Annotated[int, Field(ge=0)]
Ids = dict[str, Any]


def check_fold(value: Any) -> Any:
    """Take a number, or the word for all cases."""
    if not FOLD.holds(value):
        raise ValueError('give folds, such as 0 and 1, or "all"')
    return value


Fold = Annotated[Any, AfterValidator(check_fold)]


class Part(BaseModel):
    """A part of the plan; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Variation(Part):
    """What a network changes: overlays after the common ones, then overrides.

    ``title`` is its name in a comparison's report.
    """

    title: str = ""
    overlays: list[str] = []
    overrides: Ids = {}


class Evaluate(Part):
    """The cases and the checkpoint that a trained network is evaluated with."""

    section: Literal["validation", "testing"] = "validation"
    checkpoint: Literal["last", "best"] = "last"
    overrides: Ids = {}


class Float(Part):
    """A number between two others, uniform or, with ``log``, uniform in its logarithm."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False


class Int(Part):
    """A whole number between two others."""

    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1


class Categorical(Part):
    """One of several values of any kind."""

    type: Literal["categorical"]
    choices: Annotated[list[Any], Field(min_length=2)]


class Search(Part):
    """A search for better values of some ids, on one network, fold and seed."""

    space: Annotated[
        dict[str, Annotated[Float | Int | Categorical, Field(discriminator="type")]],
        Field(min_length=1),
    ]
    trials: Annotated[int, Field(ge=1)] = 20
    network: str | None = None
    fold: Seed | None = None
    metric: str = "dice"
    direction: Literal["maximize", "minimize"] = "maximize"
    prune: bool = True


class Plan(Part):
    """A grid of trainings and their evaluations."""

    name: Name
    description: str = ""
    bundle: str
    configs: list[str] = []
    networks: Annotated[dict[Name, Variation], Field(min_length=1)]
    variants: dict[Name, Ids] = {}
    folds: Annotated[list[Fold], Field(min_length=1)] = [0]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    overrides: Ids = {}
    evaluate: Evaluate = Evaluate()
    search: Search | None = None


# The class of each place in a plan, to suggest the key that was meant.
PARTS: dict[str, type[Part]] = {
    "networks": Variation,
    "evaluate": Evaluate,
    "search": Search,
    "float": Float,
    "int": Int,
    "categorical": Categorical,
}


def read_plan(path: Path) -> Plan:
    """Read a plan and check it, except for the bundle and the ids that it names.

    Raises:
        InputError: there is no such file, or it is not a plan. Names the place in it, the value
            received and, for an unknown key, the nearest known one.
    """
    content = read_json(path, "give the path of a plan.")
    try:
        plan = Plan.model_validate(content)
    except ValidationError as error:
        raise InputError(f"plan {path}: {describe_fault(error)}") from None
    for part, values in {"folds": plan.folds, "seeds": plan.seeds}.items():
        if len(set(values)) < len(values):
            raise InputError(f"plan {path}: {part} {values}: give each one once.")
    titles = [each.title or name for name, each in plan.networks.items()]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise InputError(f"plan {path}: two networks have the title {twice!r}: give each its own.")
    if ALL in plan.folds and plan.evaluate.section != "testing":
        raise InputError(
            f"plan {path}: folds {plan.folds}: a network that is trained on all cases can only be "
            'evaluated on others; set evaluate.section to "testing".'
        )
    for name, space in (plan.search.space if plan.search else {}).items():
        where = f"plan {path}: search.space.{name}: low {getattr(space, 'low', '')}"
        if not isinstance(space, Categorical) and space.low >= space.high:
            raise InputError(f"{where} is not below high {space.high}.")
        if isinstance(space, Float) and space.log and space.low <= 0:
            raise InputError(f"{where} has no logarithm; give one above 0, or set log to false.")
    return plan


def describe_fault(error: ValidationError) -> str:
    """Describe the first fault that pydantic found, in one line."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"] if step != "[key]")
    if first["type"] == "extra_forbidden":
        *above, key = (str(step) for step in first["loc"])
        known = next((PARTS[step] for step in reversed(above) if step in PARTS), Plan).model_fields
        return f"{place}: there is no such key; {suggestion(key, known)}"
    if first["type"] == "missing":
        return f"{place}: it is missing; add it."
    if first["type"] == "string_pattern_mismatch":
        return f"{place}: {first['input']!r} becomes a folder; use letters, digits and _ . + -"
    received = json.dumps(first["input"], default=str)[:80]
    message = first["msg"].removeprefix("Value error, ")  # of pydantic, before our own
    return f"{place or 'the file'}: {message}, received {received}"
