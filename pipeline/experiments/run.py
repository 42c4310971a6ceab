"""Carry a plan out: what is missing of it, and no more."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..bundle.configs import Config
from ..bundle.settings import check_settings
from ..errors import InputError
from ..files import read_json
from .cells import EVALUATE, Cell, cells, check_unchanged
from .clusters import make_cluster, queued, slurm_job
from .jobs import Cluster, Job, Resources, run_all
from .parent_run import ParentRun
from .plan import read_plan
from .progress import Board, duration, share_done
from .work import Work, evaluation, last_words, training


def run_plan(
    path: Path, *, output: Path | None = None, resources: Resources, dry_run: bool = False
) -> int:
    """Train and evaluate every cell of a plan that is not done yet.

    Args:
        path: the plan.
        output: folder of the experiment; ``runs/NAME`` by default. A folder per cell in it holds
            ``training/``, ``evaluation/``, a log of each and ``settings.json``.
        resources: where cells run.
        dry_run: print what would run, and touch nothing.

    Returns:
        how many cells failed.

    Raises:
        InputError: before anything has run, for a fault in the plan, or a cell that was begun with
            other settings.
    """
    plan = read_plan(path)
    folder = output or Path("runs") / plan.name
    every = cells(plan)
    queue = queued() if resources.cluster == "slurm" else None
    for cell in every:
        check_begun(cell, folder / cell.name, resources, queue or set())
    if dry_run:
        for cell in every:
            work = make_work(cell, folder, resources, tags={})
            print(f"# {cell.name}: {'done' if work.done else 'to do'}")
            print(*work.steps, sep="\n")
        return 0
    check_configs(every)
    with opened(folder):
        cluster = make_cluster(resources)
        shutil.copyfile(path, folder / "plan.json")
        parent = ParentRun("experiment", plan, path, every[0], folder)
        works = [make_work(cell, folder, resources, parent.tags) for cell in every]
        return carry_out(works, every, cluster, resources, parent, again(path, output, resources))


def carry_out(
    works: list[Work],
    every: list[Cell],
    cluster: Cluster,
    resources: Resources,
    parent: ParentRun,
    command: str,
) -> int:
    """Run the works that are not done, and show how far they are; returns how many failed."""
    epochs = {cell.name: int(cell.config.get("epochs", 1)) for cell in every}
    shares = {w.name: 1.0 if w.done else share_done(w.folder, epochs[w.name]) for w in works}
    failed: list[Work] = []
    begun: dict[str, float] = {}  # when those that run were begun
    missing = [work for work in works if not work.done]

    with Board(shares) as board:

        def show() -> None:
            done = sum(work.done and work.name not in begun for work in works)
            counts = f"{done} of {len(works)} done, {len(begun)} running"
            board.show(counts + (f", {len(failed)} failed" if failed else ""))

        def due() -> Iterator[Work]:
            for work, cell in ((w, c) for w, c in zip(works, every, strict=True) if w in missing):
                begin(cell, work.folder, resources)
                begun[work.name] = time.monotonic()
                show()
                yield work

        def watch(job: Job) -> None:
            board.parts[job.work.name] = share_done(job.work.folder, epochs[job.work.name])
            show()

        def ended(job: Job) -> None:
            work = job.work
            board.parts[work.name] = 1.0
            took = duration(time.monotonic() - begun.pop(work.name))
            if work.done:
                board.say(f"done    {work.name}  {took}{score(work.folder)}")
            else:
                failed.append(work)
                board.say(f"failed  {work.name}  {took}", style="red")
            show()

        if len(missing) < len(works):
            board.say(f"{len(works) - len(missing)} of {len(works)} cells are done already")
        try:
            run_all(cluster, due(), watch=watch, ended=ended)
        except BaseException as reason:
            stopped = isinstance(reason, KeyboardInterrupt | SystemExit)
            parent.end("KILLED" if stopped else "FAILED")
            alive = cluster.outlives and not isinstance(reason, KeyboardInterrupt)
            what = "left; Slurm's jobs go on" if alive else "stopped"
            board.say(f"{what}. To go on: {command}", style="yellow")
            raise
    parent.end("FAILED" if failed else "FINISHED")
    for work in failed:
        log = next((step.log for step in work.steps if not step.done.exists()), work.steps[-1].log)
        board.say(f"{work.name} failed: {last_words(log)}\n    {log}", style="red")
    if failed:
        board.say(f"To try the failed ones again: {command}")
    elif parent.recorded:
        board.say(f"To compare: python -m pipeline compare --parent {parent.id}{parent.options}")
    return len(failed)


def make_work(cell: Cell, folder: Path, resources: Resources, tags: dict[str, str]) -> Work:
    """What there is to do for a cell."""
    place = folder / cell.name
    steps = (
        training(cell, place, tags=tags, processes=resources.processes),
        evaluation(cell, place, tags=tags),
    )
    return Work(cell.name, place, steps)


def check_begun(cell: Cell, folder: Path, resources: Resources, queue: set[str]) -> None:
    """Compare a cell with what its folder was made with.

    Only if it came as far as a checkpoint, or its job waits in Slurm's ``queue`` to make one.

    Raises:
        InputError: when the settings differ.
    """
    file = folder / "settings.json"
    begun = any((folder / "training").glob("*.pt")) or slurm_job(folder) in queue
    if file.exists() and begun:
        now = json.loads(json.dumps(cell.settings(processes=resources.processes)))
        check_unchanged(cell, json.loads(file.read_text()), now, folder)


def begin(cell: Cell, folder: Path, resources: Resources) -> None:
    """Keep with a cell what it is made with."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = cell.settings(processes=resources.processes)
    (folder / "settings.json").write_text(json.dumps(settings, indent=4) + "\n")


def check_configs(every: list[Cell]) -> None:
    """Check each network's settings, build it, and find the cases of each fold, as the cells will.

    Raises:
        InputError: when a cell could not even start, or be evaluated.
    """
    seen = set()
    for cell in every:
        measured = {**cell.evaluate.overrides, "section": cell.evaluate.section}
        overlay = read_json(cell.bundle / "configs" / EVALUATE)
        evaluated = Config.read(*cell.configs).with_changes(overlay)
        evaluated = evaluated.with_changes({**cell.ids, **measured})
        for key, config, part in (
            (cell.network, cell.config, "network_def"),
            (cell.ids["fold"], cell.config, "train#dataset#data"),
            (cell.ids["fold"], evaluated, "validate#dataset#data"),
        ):
            if (key, part) in seen:
                continue
            seen.add((key, part))
            try:
                # The devices are known only where the cell runs.
                devices = {"device": None, "cache_device": None}
                check_settings(config.content | devices, option="overrides: {}")
                config.built(part)
            except InputError as error:
                raise InputError(f"{cell.name}: {error}") from error


def score(folder: Path) -> str:
    """The mean Dice over the regions of an evaluation, as it is shown."""
    try:
        metrics = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
        dice = [column["mean"] for name, column in metrics.items() if name.startswith("dice/")]
        return f"  Dice {sum(dice) / len(dice):.4f}"
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return ""


def opened(folder: Path) -> Any:
    """Hold a folder against a second start of the same experiment.

    Raises:
        InputError: when another process holds it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "experiment.lock", timeout=0)
    try:
        return lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process runs this; wait for it, or stop it.") from None


def again(path: Path, output: Path | None, resources: Resources, verb: str = "run") -> str:
    """The command that goes on."""
    place = ["--output", str(output)] if output else []
    command = ["python", "-m", "pipeline", "experiment", verb, str(path)]
    return shlex.join([*command, *place, *resources.options])
