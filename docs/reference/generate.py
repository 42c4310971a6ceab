"""Writes the pages of this folder that follow from the code: ``python docs/reference/generate.py``.

`tests/test_pages.py` holds that they are what this makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from pipeline.bundle.configs import Config
from pipeline.bundle.ids import IDS, Id, Role, Same, named
from pipeline.cli import app
from pipeline.evaluation.metrics import METRICS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUNDLES = {
    "photographs": ROOT / "bundles/fundus_disc_cup_segmentation/configs",
    "CTs": ROOT / "bundles/pancreas_ct_segmentation/configs",
}
MEANINGS = json.loads(HERE.joinpath("meanings.json").read_text())
GROUPS = {
    "Data": [Role.DATA],
    "Where it runs": [Role.PLACE],
    "How it is recorded": [Role.RECORD],
    "What this run does": [Role.CHOICE],
    "The model and its training": [Role.MODEL],
}
SHOWN = {role for roles in GROUPS.values() for role in roles}
KEPT = {
    Same.RESUMED: "a resumed training",
    Same.AFTERWARDS: "a resumed training, evaluation and prediction",
}


def find_kept() -> dict[str, str]:
    """Where an id must be as in the training: by itself, or since an id that must refers to it."""
    found: dict[str, dict[str, str]] = {}
    for kind, configs in BUNDLES.items():
        config = Config.read(configs / "train.json")
        kept = dict.fromkeys(config.content, "")
        for same, runs in KEPT.items():  # the stricter one last
            ids = named(lambda row, same=same: row.same is same)
            kept |= dict.fromkeys(config.with_references(ids), runs)
        for name, runs in kept.items():
            found.setdefault(name, {})[kind] = runs
    return {name: tell_kinds(kinds) for name, kinds in found.items() if any(kinds.values())}


def tell_kinds(kinds: dict[str, str]) -> str:
    """What is said of all bundles that have an id, or of the one for which it holds."""
    if len({*kinds.values()}) == 1:
        return next(iter(kinds.values()))
    return "; ".join(f"{text} of {kind}" for kind, text in kinds.items() if text)


WHERE_KEPT = find_kept()


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown; a bar inside a cell is escaped."""
    lines = [list(header), ["---"] * len(list(header)), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', '&#124;') for c in row)} |" for row in lines)


def default_of(name: str, configs: Path) -> str:
    """The value of an id in the first of a bundle's configs that has it."""
    for config in ("train", "evaluate", "inference"):
        content = json.loads((configs / f"{config}.json").read_text())
        if name in content:
            value = content[name]
            return "" if is_made(value) else f"`{json.dumps(value)}`"
    return "-"


def is_made(value: Any) -> bool:
    """Is it a component or an expression: something that follows from other ids?"""
    return str(value).startswith(("$", "@")) or "_target_" in str(value)


def explain(name: str, row: Id) -> str:
    """What an id is for, what its value may be, and where it has to stay."""
    lines = [MEANINGS[name]]
    if row.rule:  # the words of the error that refuses another value
        lines.append(f"*{row.rule.fix.replace('number -inf or more', 'number')}*")
    if name in WHERE_KEPT:
        lines.append(f"*same in {WHERE_KEPT[name]}*")
    return "<br>".join(lines)


def ids_page() -> str:
    parts = ["# Ids", HERE.joinpath("ids.txt").read_text().strip()]
    for title, roles in GROUPS.items():
        rows = [
            (
                f"`{name}`",
                explain(name, row),
                *(default_of(name, each) for each in BUNDLES.values()),
            )
            for name, row in IDS.items()
            if row.role in roles
        ]
        header = ("id", "meaning", *(f"default, {kind}" for kind in BUNDLES))
        parts += [f"## {title}", table(header, rows)]
    return "\n\n".join(parts) + "\n"


def capitalise(name: str) -> str:
    """Write an argument as the usage does; an option stays as it is."""
    name, space, kind = name.replace("|", " or ").partition(" ")
    return f"{name if name.startswith('-') else name.upper()}{space}{kind}"


def commands_page() -> str:
    parts = ["# Commands", HERE.joinpath("commands.txt").read_text().strip()]

    def visit(command: Any, words: str) -> None:
        children = getattr(command, "commands", {})
        for name, child in children.items():
            visit(child, f"{words} {name}")
        if children:
            return
        context = command.make_context(words, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        usage = re.sub(r"{.*?}|\[[a-z]+\]", lambda found: found[0].upper().strip("{}"), usage)
        usage = usage.replace("......", "...")
        records = [each.get_help_record(context) for each in command.get_params(context)]
        rows = [(f"`{capitalise(r[0])}`", r[1]) for r in records if r and r[0] != "--help"]
        parts.extend([f"## {words.removeprefix('python -m pipeline ')}", command.help])
        parts.append(f"```text\n{words} {usage}\n```")
        if rows:
            parts.append(table(("argument or option", "meaning"), rows))

    visit(typer.main.get_command(app), "python -m pipeline")
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    units = {"": "", "length": "px or mm", "volume": "ml", "tolerance": "share within 2 mm"}
    best = {"zero": "nearest to 0"}
    dims = {(2,): "2D", (3,): "3D", (2, 3): ""}
    rows = [
        (f"`{m.key}`", m.title, units[m.unit], best.get(m.best, m.best), dims[m.dims])
        for m in METRICS.values()
        if m.kind == "metric"
    ]
    header = ("column", "name", "unit", "better", "only in")
    intro = HERE.joinpath("metrics.txt").read_text()
    return f"# Metrics\n\n{intro}\n{table(header, rows)}\n"


PAGES = {"ids.md": ids_page, "commands.md": commands_page, "metrics.md": metrics_page}

if __name__ == "__main__":
    for name, write in PAGES.items():
        HERE.joinpath(name).write_text(write(), encoding="utf-8")
