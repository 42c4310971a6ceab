"""A search for better values of some ids: each trial is one training, its record a child run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.configs import Config
from ..bundle.listing import ALL
from ..bundle.trained import read_history
from ..errors import InputError
from ..files import write_json
from .cells import SETTINGS, Cell, check_ids, check_unchanged, make_cells
from .jobs import Cluster, Job, Resources, run_all
from .plan import Plan, Search, read_plan
from .progress import Board, measure_progress, show_failure
from .run import check_configs
from .session import ParentRun, open_session
from .study import find_best, open_study, read_values, sample_values
from .work import Work, training_step

if TYPE_CHECKING:
    from optuna import Trial


def search_plan(path: Path, *, output: Path | None = None, resources: Resources) -> bool:
    """Run the trials of a plan's ``search`` that are still missing.

    Optuna's TPE samples the values. In the second half of its epochs, a trial is stopped if its
    best metric so far is worse than the median of the earlier trials at the same epoch.

    Args:
        path: the plan.
        output: folder of the search; ``runs/NAME-search`` by default. It gets ``best.json``, an
            overlay with the best values.
        resources: where trials run; on Slurm one at a time by default, since Optuna learns from
            the trials that have ended.

    Returns:
        whether any trial was completed.

    Raises:
        InputError: before anything runs, for a fault in the plan, or for a search that was begun
            with other settings.
    """
    plan = read_plan(path)
    cell = select_cell(plan, path)
    folder = output or Path("runs") / f"{plan.name}-search"
    search = plan.search.model_dump(exclude={"trials"})  # more trials may be added later
    settings = {**cell.settings(processes=resources.processes), "search": search}
    check_unchanged(folder, settings)
    check_configs([cell])
    if resources.cluster == "slurm" and resources.jobs is None:
        resources = replace(resources, jobs=1)
    with open_session("search", plan, path, cell, folder, resources) as (cluster, parent):
        write_json(folder / SETTINGS, settings)
        trials = Trials(plan.search, cell, folder, resources, cluster, parent)
        with trials.board:
            run_all(cluster, trials.works(), watch=trials.watch, ended=trials.ended)
        return trials.finish()


def select_cell(plan: Plan, path: Path) -> Cell:
    """The cell whose ids the trials vary.

    Raises:
        InputError: the plan has no such cell, nothing reads an id of the space, or no epoch has
            the metric.
    """
    search = plan.search
    if search is None:
        raise InputError(f"plan {path}: it has no search; add one with a space.")
    cells = make_cells(plan)
    network = search.network or cells[0].network
    fold = plan.folds[0] if search.fold is None else search.fold
    if fold == ALL:
        raise InputError(f"plan {path}: search: fold {ALL} has no validation; give search.fold.")
    chosen = [cell for cell in cells if (cell.network, cell.ids["fold"]) == (network, fold)]
    if not chosen:
        networks = ", ".join(dict.fromkeys(cell.network for cell in cells))
        raise InputError(
            f"plan {path}: search: network {network} and fold {fold} are not in the plan; it has "
            f"the networks {networks} and the folds {plan.folds}."
        )
    check_ids(search.space, Config.read(*chosen[0].configs), where="search.space")
    check_metric(search, chosen[0])
    return chosen[0]


def check_metric(search: Search, cell: Cell) -> None:
    """Refuse a metric that no epoch of a training has.

    Raises:
        InputError: names the metrics that it has.
    """
    regions = cell.config.get("regions")
    metrics = cell.config.get("validate", {}).get("key_metric", {})
    targets = [metric.get("_target_") for metric in metrics.values()]
    if targets != ["pipeline.engines.RegionDice"] or not isinstance(regions, dict):
        return  # the names of the user's own metrics are not known before
    known = ["loss", "dice", *(f"dice/{region}" for region in regions), "pooled_iou"]
    if search.metric not in known:
        raise InputError(f"search.metric {search.metric}: a training has {', '.join(known)}.")


@dataclass(eq=False)
class Trials:
    """The trials of one search.

    Args:
        search: what is sampled and measured.
        cell: what the trials have in common.
        folder: gets Optuna's journal and a folder per trial.
        resources: what a trial gets.
        cluster: runs the trials.
        parent: the MLflow run of the search.
    """

    search: Search
    cell: Cell
    folder: Path
    resources: Resources
    cluster: Cluster
    parent: ParentRun

    def __post_init__(self) -> None:
        self.epochs = int(self.cell.config.get("epochs", 1))
        seed = self.cell.ids["seed"]
        self.study = open_study(self.search, self.folder, seed=seed, epochs=self.epochs)
        self.running: dict[str, Trial] = {}
        self.reported: dict[str, int] = {}
        self.pruned: set[str] = set()
        self.failed: list[Work] = []
        progress = {name_trial(number): 0.0 for number in range(self.search.trials)}
        progress |= {name_trial(t.number): 1.0 for t in self.study.trials if t.state.is_finished()}
        self.board = Board(progress)

    def works(self) -> Iterator[Work]:
        """A training for each trial, interrupted ones first; values are sampled only when due."""
        from optuna import Trial
        from optuna.trial import TrialState

        for frozen in self.study.get_trials(states=(TrialState.RUNNING,)):
            # Optuna has no public way to resume a trial.
            yield self.make_work(Trial(self.study, frozen._trial_id))
        while len(self.study.trials) < self.search.trials:
            trial = self.study.ask()
            sample_values(trial, self.search)
            yield self.make_work(trial)

    def make_work(self, trial: Trial) -> Work:
        ids = self.cell.ids | read_values(trial, self.search)
        cell = replace(self.cell, name=name_trial(trial.number), ids=ids)
        place = self.folder / cell.name
        place.mkdir(exist_ok=True)
        self.running[cell.name] = trial
        tags = {**self.parent.tags, "pipeline.trial": str(trial.number)}
        step = training_step(cell, place, tags=tags, processes=self.resources.processes)
        return Work(cell.name, place, (step,), self.epochs)

    def watch(self, job: Job) -> None:
        """Report new epochs to Optuna, and stop a trial that Optuna prunes."""
        work = job.work
        self.board.parts[work.name] = measure_progress(work)
        self.report(work)
        if work.name not in self.pruned and self.running[work.name].should_prune():
            self.pruned.add(work.name)
            self.cluster.stop(job)
        self.show()

    def report(self, work: Work) -> None:
        trial = self.running[work.name]
        for epoch, value in self.read_metric(work):
            if epoch > self.reported.get(work.name, 0):
                self.reported[work.name] = epoch
                if epoch not in self.study.trials[trial.number].intermediate_values:
                    trial.report(value, epoch)

    def read_metric(self, work: Work) -> list[tuple[int, float]]:
        """The validated epochs of a training, each with its metric."""
        found = []
        for row in read_history(work.folder / "training"):
            value = float(row.get(self.search.metric) or math.nan)
            if math.isfinite(value):
                found.append((int(row["epoch"]), value))
        return found

    def ended(self, job: Job) -> None:
        """Tell Optuna, MLflow and the user how a trial ended."""
        from optuna.trial import TrialState

        work = job.work
        self.report(work)
        trial = self.running.pop(work.name)
        values = [value for _, value in self.read_metric(work)]
        chosen = read_values(trial, self.search).items()
        words = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in chosen)
        self.board.parts[work.name] = 1.0
        metric = self.search.metric
        if work.done and values:
            # The checkpoint that the plan evaluates counts: the last epoch, or the best.
            pick = max if self.search.direction == "maximize" else min
            value = pick(values) if self.cell.evaluate.checkpoint == "best" else values[-1]
            self.study.tell(trial, value)
            self.parent.log_metric(f"trial/{metric}", value, step=trial.number)
            self.board.say(f"done    {work.name}  {metric} {value:.4f}  {words}")
        elif work.name in self.pruned and values:
            self.study.tell(trial, state=TrialState.PRUNED)
            self.parent.tag_child(work.name, "pipeline.pruned")
            self.board.say(f"pruned  {work.name}  {metric} {values[-1]:.4f}  {words}", "dim")
        else:
            self.study.tell(trial, state=TrialState.FAIL)
            self.failed.append(work)
            self.board.say(f"failed  {work.name}  {words}", "red")
        self.show()

    def show(self) -> None:
        ended = sum(trial.state.is_finished() for trial in self.study.trials)
        best = find_best(self.study)
        text = f"{ended} of {self.search.trials} trials ended, {len(self.running)} running"
        self.board.show(text + (f", best {best.value:.4f}" if best else ""))

    def finish(self) -> bool:
        """Write the best values as an overlay; returns whether any trial was completed."""
        for work in self.failed:
            reason = f"history.csv has no column {self.search.metric!r}" if work.done else ""
            show_failure(self.board, work, reason)
        best = find_best(self.study)
        if best is None:
            self.parent.end("FAILED")
            self.board.say("no trial was completed", "red")
            return False
        overlay = self.folder / "best.json"
        values = read_values(best, self.search)
        write_json(overlay, values)
        name = name_trial(best.number)
        self.parent.log_metric(f"best/{self.search.metric}", best.value, step=best.number)
        self.parent.log_file(overlay)
        self.parent.tag_child(name, "pipeline.best_trial")
        self.parent.end("FINISHED")
        self.board.say(f"best: {name}, {self.search.metric} {best.value:.4f}")
        self.board.say("\n".join(f"    {key} = {value}" for key, value in values.items()))
        self.board.say(f"as an overlay: {overlay}")
        return True


def name_trial(number: int) -> str:
    """The name of a trial, which is also the name of its folder."""
    return f"trial-{number:03d}"
