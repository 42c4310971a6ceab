"""The tables of where the numbers come from: data, training, machine, cost and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.ids import Role, row
from ..bundle.lineage import MEASURED_ON, TRAINED_ON
from ..bundle.trained import CONFIG
from ..evaluation.metrics import as_words
from .entries import Entry, Table, format_cost
from .evaluations import Evaluation
from .statistics import Numbers

if TYPE_CHECKING:
    from .case_tables import CaseTables
    from .report import Comparison

#: Column, its head, the MLflow metric that holds it, the divisor.
FOOTPRINT = (
    ("parameters", "Parameters (million)", "model/parameters", 1e6),
    ("gflops", "GFLOPs per image", "model/gflops", 1.0),
    ("train_minutes", "Training (min)", "train/minutes", 1.0),
    ("ms_per_image", "Time per image (ms)", "{section}/seconds_per_image", 1e-3),
    ("peak_memory_mb", "Peak memory in training (MB)", "train/peak_memory_mb", 1.0),
)
#: Options that are always told; others where the networks differ in them.
TOLD = {
    "epochs": "Epochs",
    "lr": "Learning rate, peak",
    "batch_size": "Batch size",
    "patch_size": "Size of a patch",
    "roi_size": "Size of a window or picture",
}
SCATTERED = ("fold", "seed")  # which have rows of their own


def make_setup_table(comparison: Comparison) -> Table:
    """What was trained and measured, on what and when; a line for each thing that is known."""
    networks = list(comparison.results.tables)
    facts: dict[str, dict[str, list[str]]] = {}  # by thing and network
    for each in comparison.evaluations:
        for name, value in describe_origin(comparison, each).items():
            own = facts.setdefault(name, {}).setdefault(each.network, [])
            if value and value not in own:
                own.append(value)
    records, rows = [], []
    for name, by_network in facts.items():
        said = {network: ", ".join(by_network.get(network, [])) or "-" for network in networks}
        alike = len(set(said.values())) == 1
        if name[0].islower() and alike:  # another option
            continue
        texts = [f"{network}: {text}" for network, text in said.items()]
        text = said[networks[0]] if alike else "; ".join(texts)
        if text != "-":
            rows.append([Entry(name[0].upper() + name[1:]), Entry(text)])
            records += [{"what": name, "network": k, "value": text} for k, text in said.items()]
    started = [run.info.start_time for each in comparison.evaluations for run in each.runs]
    days = [datetime.fromtimestamp(time / 1000, UTC).date().isoformat() for time in sorted(started)]
    date = " to ".join(dict.fromkeys([days[0], days[-1]]))
    rows.append([Entry("Date of the runs"), Entry(date)])
    records.append({"what": "Date of the runs", "network": "", "value": date})
    return Table("setup", "Data and training", ["", "Value"], rows, records, texts=2)


def describe_origin(comparison: Comparison, evaluation: Evaluation) -> dict[str, str]:
    """What an evaluation and its training recorded of themselves, in words."""
    config = comparison.read_json(evaluation.run, CONFIG)
    trained = comparison.read_json(evaluation.training, CONFIG)
    machine = comparison.read_json(evaluation.runs[0], "environment.json")
    params = {k: v for run in reversed(evaluation.runs) for k, v in run.data.params.items()}
    data, first = config.get(MEASURED_ON) or {}, (trained.get(TRAINED_ON) or [{}])[0]
    digest = evaluation.tag("git_commit")
    changed = " with changes" if evaluation.tag("git_dirty") == "True" else ""
    count = first.get("training")
    facts = {
        "Dataset": data.get("name") or params.get("dataset_dir", ""),
        "Licence of the dataset": data.get("licence", ""),
        "Bundle": f"{evaluation.tag('bundle')} {evaluation.tag('bundle_version') or ''}".strip(),
        "Section": evaluation.tag("section") or "",
        "Folds": evaluation.fold.replace("-", ""),
        "Seeds": evaluation.seed.replace("-", ""),
        "Cases in each training": str(count or ""),
        "Cases in each evaluation": str(len(evaluation.cases)),
        **{name: write_size(params.get(key, "")) for key, name in TOLD.items()},
        "Machine": describe_machine(machine),
        "Software": describe_software(machine),
        "Commit": f"{digest[:12]}{changed}" if digest else "",
    }
    roles = (Role.MODEL, Role.ASSEMBLY)
    others = {key for key in params if key not in TOLD and key not in SCATTERED and key[0] != "_"}
    return facts | {as_words(key): params[key] for key in others if row(key).role in roles}


def write_size(value: str) -> str:
    """``[96, 96]`` to ``96 x 96``."""
    return value.strip("[]").replace(", ", " x ")


def describe_machine(machine: Mapping[str, Any]) -> str:
    """Such as ``2 x NVIDIA H100`` or the processor, with its cores."""
    gpus = machine.get("gpus") or []
    names = [f"{gpus.count(g)} x {g}" if gpus.count(g) > 1 else g for g in dict.fromkeys(gpus)]
    name = " and ".join(names) or machine.get("cpu") or machine.get("platform", "")
    cores = machine.get("cpu_cores")
    return f"{name}, {cores} cores" if name and cores else name


def describe_software(machine: Mapping[str, Any]) -> str:
    """Such as ``Python 3.11.7, torch 2.13.0, monai 1.6.1``."""
    known = {"Python": machine.get("python")} | dict(machine.get("packages") or {})
    names = ("Python", "torch", "monai")
    return ", ".join(f"{name} {known[name]}" for name in names if known.get(name))


def make_footprint_table(found: CaseTables, evaluations: Sequence[Evaluation]) -> Table:
    """The cost of each network, averaged over its runs."""
    records, mixed = [], []
    for network in found.tables:
        own = [each for each in evaluations if each.network == network]
        record: Numbers = {"network": network}
        for column, _, metric, unit in FOOTPRINT:
            values = [read_metric(each, metric) for each in own]
            values = [value / unit for value in values if value is not None]
            record[column] = float(np.mean(values)) if values else None
            if column == "parameters" and len(set(values)) > 1:
                mixed.append(network)
        records.append(record)
    rows = [
        [Entry(record["network"]), *(Entry(format_cost(record[key])) for key, *_ in FOOTPRINT)]
        for record in records
    ]
    notes = ["Means over folds and seeds; a dash if it was not recorded."]
    if mixed:
        notes.append(
            f"{', '.join(mixed)}: the runs have different numbers of parameters, so they are not "
            "the same network."
        )
    head = ["Network", *(head for _, head, *_ in FOOTPRINT)]
    return Table("footprint", "Cost", head, rows, records, notes)


def make_run_table(evaluations: Sequence[Evaluation]) -> Table:
    """The runs behind the numbers."""
    records = [
        {
            "network": each.network,
            "fold": each.fold,
            "seed": each.seed,
            "cases": len(each.cases),
            "evaluation": each.run.info.run_id,
            "training": each.training.info.run_id if each.training else None,
        }
        for each in evaluations
    ]
    rows = [[Entry(str(value or "-")) for value in record.values()] for record in records]
    head = ["Network", "Fold", "Seed", "Cases", "Evaluation run", "Training run"]
    return Table("runs", "Runs", head, rows, records, texts=len(head))


def read_metric(evaluation: Evaluation, metric: str) -> float | None:
    """A metric of the evaluation's run, or else of its training."""
    name = metric.format(section=evaluation.tag("section"))
    for run in (evaluation.run, evaluation.training):
        if run is not None and name in run.data.metrics:
            return run.data.metrics[name]
    return None
