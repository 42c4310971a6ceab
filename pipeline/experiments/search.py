"""A search for better values of some ids: each trial is one training, its record a child run."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.configs import Config
from ..errors import InputError
from .cells import Cell, cells, check_ids, check_unchanged
from .clusters import make_cluster
from .jobs import Job, Resources, run_all
from .parent_run import ParentRun
from .plan import Plan, Search, read_plan
from .progress import Board, history, share_done
from .run import again, check_configs, opened
from .study import best_trial, draw, drawn, open_study
from .work import Work, last_words, training

if TYPE_CHECKING:
    from optuna import Trial


def search_plan(path: Path, *, output: Path | None = None, resources: Resources) -> bool:
    """Run the trials of a plan's ``search`` that are still missing.

    The values are drawn by Optuna's TPE. A trial whose best metric so far is worse than the median
    of the earlier trials at the same epoch is stopped, once half of its epochs are over.

    Args:
        path: the plan.
        output: folder of the search; ``runs/NAME-search`` by default. ``best.json`` in it is an
            overlay with the best values.
        resources: where trials run; one at a time unless it says more, since Optuna learns
            from those that have ended.

    Returns:
        whether any trial has come to its end.

    Raises:
        InputError: before anything has run, for a fault in the plan, or a search that was begun
            with other settings.
    """
    plan = read_plan(path)
    cell = searched_cell(plan, path)
    folder = output or Path("runs") / f"{plan.name}-search"
    now = {**cell.settings(processes=resources.processes), "search": plan.search.model_dump()}
    del now["search"]["trials"]  # a search may be made longer
    settings = folder / "settings.json"
    if settings.exists():
        now = json.loads(json.dumps(now))
        check_unchanged(cell, json.loads(settings.read_text()), now, folder)
    check_configs([cell])
    with opened(folder):
        if resources.cluster == "slurm" and resources.jobs is None:
            resources = replace(resources, jobs=1)
        cluster = make_cluster(resources)
        settings.write_text(json.dumps(now, indent=4) + "\n")
        shutil.copyfile(path, folder / "plan.json")
        parent = ParentRun("search", plan, path, cell, folder)
        command = again(path, output, resources, "search")
        trials = Trials(plan.search, cell, folder, resources, parent)
        try:
            trials.run(cluster)
        except BaseException as reason:
            stopped = isinstance(reason, KeyboardInterrupt | SystemExit)
            parent.end("KILLED" if stopped else "FAILED")
            trials.board.say(f"stopped. To go on: {command}", "yellow")
            raise
        return trials.finish()


def searched_cell(plan: Plan, path: Path) -> Cell:
    """The cell that the trials vary.

    Raises:
        InputError: when the plan has no such cell, the space names what nothing reads, or the
            metric is none that an epoch has.
    """
    search = plan.search
    if search is None:
        raise InputError(f"plan {path}: it has no search; add one with a space.")
    every = cells(plan)
    network = search.network or every[0].network
    fold = plan.folds[0] if search.fold is None else search.fold
    chosen = [cell for cell in every if (cell.network, cell.ids["fold"]) == (network, fold)]
    if not chosen:
        networks = ", ".join(dict.fromkeys(cell.network for cell in every))
        raise InputError(
            f"plan {path}: search: network {network} and fold {fold} are not in the plan; it has "
            f"the networks {networks} and the folds {plan.folds}."
        )
    check_ids(search.space, Config.read(*chosen[0].configs), where="search.space")
    check_metric(search, chosen[0])
    return chosen[0]


def check_metric(search: Search, cell: Cell) -> None:
    """Refuse a metric that no epoch of a training will have.

    Raises:
        InputError: names those that it has.
    """
    regions = cell.config.get("regions")
    metrics = cell.config.get("validate", {}).get("key_metric", {})
    targets = [metric.get("_target_") for metric in metrics.values()]
    if targets != ["pipeline.engines.RegionDice"] or not isinstance(regions, list):
        return  # of the user's own, so not known beforehand
    known = ["loss", "dice", *(f"dice/{region}" for region in regions), "pooled_iou"]
    if search.metric not in known:
        raise InputError(f"search.metric {search.metric}: a training has {', '.join(known)}.")


class Trials:
    """The trials of one search and where they are kept: Optuna's journal in ``folder``.

    Args:
        search: what is drawn and measured.
        cell: what every trial is, but for the drawn values.
        folder: a folder per trial in it.
        resources: what a trial gets.
        parent: the MLflow run that the trials belong to.
    """

    def __init__(
        self, search: Search, cell: Cell, folder: Path, resources: Resources, parent: ParentRun
    ) -> None:
        self.search, self.cell, self.folder = search, cell, folder
        self.resources, self.parent = resources, parent
        self.epochs = int(cell.config.get("epochs", 1))
        self.study = open_study(search, folder, seed=cell.ids["seed"], epochs=self.epochs)
        self.running: dict[str, Trial] = {}
        self.reported: dict[str, int] = {}
        self.pruned: set[str] = set()
        self.failed: list[Work] = []
        shares = {name(number): 0.0 for number in range(search.trials)}
        shares |= {name(t.number): 1.0 for t in self.study.trials if t.state.is_finished()}
        self.board = Board(shares)

    def run(self, cluster: Any) -> None:
        """Draw, train and tell, until there are as many trials as are wanted."""
        with self.board:
            stop = cluster.stop
            run_all(
                cluster, self.works(), watch=lambda job: self.watch(job, stop), ended=self.ended
            )

    def works(self) -> Iterator[Work]:
        """A training for each trial, drawn when there is room for it; interrupted ones first."""
        from optuna import Trial
        from optuna.trial import TrialState

        for frozen in self.study.get_trials(states=(TrialState.RUNNING,)):
            # Optuna has no public way to go on with a trial.
            yield self.work(Trial(self.study, frozen._trial_id))
        while len(self.study.trials) < self.search.trials:
            trial = self.study.ask()
            draw(trial, self.search)
            yield self.work(trial)

    def work(self, trial: Trial) -> Work:
        values = drawn(trial.params, self.search)
        one = replace(self.cell, name=name(trial.number), ids=self.cell.ids | values)
        place = self.folder / one.name
        place.mkdir(exist_ok=True)
        self.running[one.name] = trial
        tags = {**self.parent.tags, "pipeline.trial": str(trial.number)}
        step = training(one, place, tags=tags, processes=self.resources.processes)
        return Work(one.name, place, (step,))

    def watch(self, job: Job, stop: Any) -> None:
        """Report new epochs to Optuna, and stop a trial that it gives up."""
        work = job.work
        self.board.parts[work.name] = share_done(work.folder, self.epochs)
        self.report(work)
        if work.name not in self.pruned and self.running[work.name].should_prune():
            self.pruned.add(work.name)
            stop(job)
        self.show()

    def report(self, work: Work) -> None:
        trial = self.running[work.name]
        for epoch, value in self.values(work):
            if epoch > self.reported.get(work.name, 0):
                self.reported[work.name] = epoch
                if epoch not in self.study.trials[trial.number].intermediate_values:
                    trial.report(value, epoch)

    def values(self, work: Work) -> list[tuple[int, float]]:
        """The epochs of a training that were validated, with their metric."""
        found = []
        for row in history(work.folder):
            value = float(row.get(self.search.metric) or math.nan)
            if math.isfinite(value):
                found.append((int(row["epoch"]), value))
        return found

    def ended(self, job: Job) -> None:
        """Tell Optuna and MLflow what has become of a trial."""
        from optuna.trial import TrialState

        work = job.work
        self.report(work)
        trial = self.running.pop(work.name)
        values = [value for _, value in self.values(work)]
        chosen = drawn(trial.params, self.search).items()
        words = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in chosen)
        self.board.parts[work.name] = 1.0
        metric = self.search.metric
        if work.done and values:
            # What the plan evaluates is what is searched for: the last epoch, or the best.
            pick = max if self.search.direction == "maximize" else min
            value = pick(values) if self.cell.evaluate.checkpoint == "best" else values[-1]
            self.study.tell(trial, value)
            self.parent.log(metrics={f"trial/{metric}": value}, step=trial.number)
            self.board.say(f"done    {work.name}  {metric} {value:.4f}  {words}")
        elif work.name in self.pruned and values:
            self.study.tell(trial, state=TrialState.PRUNED)
            self.parent.tag_child(work.name, {"pipeline.pruned": "true"})
            self.board.say(f"pruned  {work.name}  {metric} {values[-1]:.4f}  {words}", "dim")
        else:
            self.study.tell(trial, state=TrialState.FAIL)
            self.failed.append(work)
            self.board.say(f"failed  {work.name}  {words}", "red")
        self.show()

    def show(self) -> None:
        ended = sum(trial.state.is_finished() for trial in self.study.trials)
        best = best_trial(self.study)
        text = f"{ended} of {self.search.trials} trials ended, {len(self.running)} running"
        self.board.show(text + (f", best {best.value:.4f}" if best else ""))

    def finish(self) -> bool:
        """Write the best values as an overlay, and close the record."""
        for work in self.failed:
            log = work.steps[0].log
            why = last_words(log)
            if work.done:
                why = f"history.csv has no column {self.search.metric!r}"
            self.board.say(f"{work.name} failed: {why}\n    {log}", "red")
        best = best_trial(self.study)
        if best is None:
            self.parent.end("FAILED")
            self.board.say("no trial has come to its end", "red")
            return False
        overlay = self.folder / "best.json"
        values = drawn(best.params, self.search)
        overlay.write_text(json.dumps(values, indent=4) + "\n")
        self.parent.log(metrics={f"best/{self.search.metric}": best.value}, step=best.number)
        self.parent.artifact(overlay)
        self.parent.tag_child(name(best.number), {"pipeline.best_trial": "true"})
        self.parent.end("FINISHED")
        self.board.say(f"best: {name(best.number)}, {self.search.metric} {best.value:.4f}")
        self.board.say("\n".join(f"    {key} = {value}" for key, value in values.items()))
        self.board.say(f"As an overlay: {overlay}")
        return True


def name(number: int) -> str:
    """A trial's name, which is its folder."""
    return f"trial-{number:03d}"
