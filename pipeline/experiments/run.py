"""Run a plan: train and evaluate each cell that is not done yet."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from ..bundle.configs import Config
from ..bundle.settings import check_settings
from ..bundle.trained import SUMMARY
from ..errors import InputError
from ..files import read_json, write_json
from .cells import SETTINGS, Cell, check_unchanged, make_cells, make_ensembles
from .clusters import list_queue, read_job_id
from .jobs import Cluster, Job, Resources, run_all
from .plan import read_plan
from .progress import Board, format_duration, make_command, measure_progress, show_failure
from .session import ParentRun, open_session
from .work import Work, evaluation_step, training_step


def run_plan(
    path: Path, *, output: Path | None = None, resources: Resources, dry_run: bool = False
) -> int:
    """Train and evaluate every cell of a plan that is not done yet, and then the ensembles.

    Args:
        path: the plan.
        output: folder of the experiment; ``runs/NAME`` by default. It gets a folder per cell with
            ``training/``, ``evaluation/``, a log of each and ``settings.json``.
        resources: where cells run.
        dry_run: print the commands, and write nothing.

    Returns:
        the number of cells that failed.

    Raises:
        InputError: before anything runs, for a fault in the plan, or for a cell that was begun
            with other settings.
    """
    plan = read_plan(path)
    folder = output or Path("runs") / plan.name
    cells = make_cells(plan)
    queue = list_queue() if resources.cluster == "slurm" else None
    for cell in cells:
        check_begun(cell, folder / cell.name, resources, queue or set())
    check_configs(cells, build=not dry_run)
    if dry_run:
        for cell, work in make_works(cells, folder, resources, tags={}):
            print(f"# {cell.name}: {'done' if work.done else 'to do'}")
            print(*work.steps, sep="\n")
        return 0
    with open_session("experiment", plan, path, cells[0], folder, resources) as (cluster, parent):
        works = make_works(cells, folder, resources, parent.tags)
        return run_cells(works, resources, cluster, parent)


def run_cells(
    works: list[tuple[Cell, Work]], resources: Resources, cluster: Cluster, parent: ParentRun
) -> int:
    """Run the works that are not done, and show their progress; returns how many failed."""
    begun: dict[str, float] = {}  # when each running one was begun, in s
    failed: list[Work] = []
    missing = [(cell, work) for cell, work in works if not work.done]
    board = Board({work.name: measure_progress(work) for _, work in works})

    def show() -> None:
        done = sum(work.done and work.name not in begun for _, work in works)
        counts = f"{done} of {len(works)} done, {len(begun)} running"
        board.show(counts + (f", {len(failed)} failed" if failed else ""))

    def begin(works: list[tuple[Cell, Work]]) -> Iterator[Work]:
        for cell, work in works:
            settings = cell.settings(processes=resources.processes)
            write_json(work.folder / SETTINGS, settings)
            begun[work.name] = time.monotonic()
            show()
            yield work

    def watch(job: Job) -> None:
        board.parts[job.work.name] = measure_progress(job.work)
        show()

    def ended(job: Job) -> None:
        work = job.work
        board.parts[work.name] = 1.0
        took = format_duration(time.monotonic() - begun.pop(work.name))
        if work.done:
            board.say(f"done    {work.name}  {took}{read_dice(work.folder)}")
        else:
            failed.append(work)
            board.say(f"failed  {work.name}  {took}", style="red")
        show()

    if len(missing) < len(works):
        board.say(f"{len(works) - len(missing)} of {len(works)} cells are already done")
    handlers = {"watch": watch, "ended": ended}
    with board:
        run_all(cluster, begin([each for each in missing if each[1].ready]), **handlers)
        left = [each for each in missing if each[1] not in failed and not each[1].done]
        run_all(cluster, begin([each for each in left if each[1].ready]), **handlers)
    parent.end("FAILED" if failed else "FINISHED")
    for work in failed:
        show_failure(board, work)
    if failed:
        board.say(f"To try the failed ones again: {make_command()}")
    elif parent.recorded:
        report = shlex.quote(str(works[0][1].folder.parent / "comparison"))
        board.say(
            f"To compare: python -m pipeline compare --parent {parent.id}{parent.options} "
            f"--output {report}"
        )
    return len(failed)


def make_works(
    cells: list[Cell], folder: Path, resources: Resources, tags: dict[str, str]
) -> list[tuple[Cell, Work]]:
    """Make the works of all cells, and then those of their ensembles, which wait for them."""
    works = []
    for cell in cells:
        place = folder / cell.name
        training = training_step(cell, place, tags=tags, processes=resources.processes)
        steps = training, evaluation_step(cell, place, tags=tags)
        epochs = int(cell.config.get("epochs", 1))
        works.append((cell, Work(cell.name, place, steps, epochs)))
    for cell, members in make_ensembles(cells):
        place = folder / cell.name
        step = evaluation_step(cell, place, tags=tags, members=members)
        needs = tuple(work.steps[0].done for one, work in works if one.name in members)
        works.append((cell, Work(cell.name, place, (step,), needs=needs)))
    return works


def check_begun(cell: Cell, folder: Path, resources: Resources, queue: set[str]) -> None:
    """Check that a cell was begun with the settings that it has now.

    Only if it has a checkpoint, or if its job waits in Slurm's ``queue`` to make one.

    Raises:
        InputError: the settings differ.
    """
    if any((folder / "training").glob("*.pt")) or read_job_id(folder) in queue:
        check_unchanged(folder, cell.settings(processes=resources.processes))


def check_configs(cells: list[Cell], *, build: bool = True) -> None:
    """Check each network's settings, and with ``build`` build it and find the cases of each fold.

    Raises:
        InputError: a cell could not start, or could not be evaluated.
    """
    seen = set()
    for cell in cells:
        evaluation = Config.read(*cell.evaluation_configs).with_changes(cell.evaluation_ids)
        for key, config, part in (
            (cell.network, cell.config, "network_def"),
            (cell.ids["fold"], cell.config, "train#dataset#data"),
            (cell.ids["fold"], evaluation, "validate#dataset#data"),
        ):
            if (key, part) in seen:
                continue
            seen.add((key, part))
            try:
                # The devices are known only where the cell runs.
                devices = {"device": None, "cache_device": None}
                check_settings(config.content | devices, option="overrides: {}")
                if build:
                    config.built(part)
            except InputError as error:
                raise InputError(f"{cell.name}: {error}") from error


def read_dice(folder: Path) -> str:
    """The mean Dice over the regions of a cell's evaluation, for a line; empty without one."""
    try:
        metrics = read_json(folder / "evaluation" / SUMMARY)["metrics"]
        dice = [column["mean"] for name, column in metrics.items() if name.startswith("dice/")]
        dice = [mean for mean in dice if mean is not None]  # that of a region that no label holds
        return f"  Dice {sum(dice) / len(dice):.4f}"
    except (InputError, KeyError, TypeError, ZeroDivisionError):
        return ""
