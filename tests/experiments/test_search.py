"""A search samples values, prunes hopeless trials, resumes, and writes an overlay."""

import json
import math
import re
from pathlib import Path

import mlflow
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_runs import find_runs

from pipeline.errors import InputError
from pipeline.experiments import jobs as run_jobs
from pipeline.experiments import search, session
from pipeline.experiments.cells import make_cells
from pipeline.experiments.jobs import Job, Resources
from pipeline.experiments.plan import Search, read_plan

BUNDLE = Path(__file__).parents[2] / "bundles" / "fundus_disc_cup_segmentation"
EPOCHS = 12
SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    "batch_size": {"type": "int", "low": 2, "high": 8, "step": 2},
    "channels": {"type": "categorical", "choices": [[4, 8], [8, 16]]},
}


class Trainings:
    """A cluster whose trainings take an epoch each time they are looked at.

    The Dice rises to 1 for a learning rate of 0.01, and to less the further away it is.
    """

    limit = 1
    outlives = False

    def __init__(self):
        self.begun = {}  # the learning rates, by trial

    def submit(self, work, slot):
        lr = float(re.search(r"--lr=(\S+)", str(work.steps[0]))[1])
        self.begun[work.name] = [*self.begun.get(work.name, []), lr]
        job = Job(work, work.name, slot, handle={"epoch": 0, "stopped": False, "lr": lr})
        (work.folder / "training").mkdir(exist_ok=True)
        return job

    def stop(self, job):
        job.handle["stopped"] = True

    def ended(self, job):
        state = job.handle
        if state["lr"] > 0.5:
            job.work.steps[0].log.write_text("$ train\nerror: the loss is nan\n")
            return True
        if state["stopped"] or job.work.done:
            return True
        state["epoch"] += 1
        rows = ["epoch,loss,dice"]
        for epoch in range(1, state["epoch"] + 1):
            dice = epoch / EPOCHS / (1 + (math.log10(state["lr"]) + 2) ** 2)
            rows.append(f"{epoch},0.5,{dice if epoch % 3 == 0 else ''}")
        (job.work.folder / "training" / "history.csv").write_text("\n".join(rows) + "\n")
        if state["epoch"] == EPOCHS:
            job.work.steps[0].done.touch()
        return False


@pytest.fixture
def trainings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cluster = Trainings()
    monkeypatch.setattr(session, "make_cluster", lambda resources: cluster)
    monkeypatch.setattr(search, "check_configs", lambda every: None)
    monkeypatch.setattr(run_jobs.time, "sleep", lambda seconds: None)
    return cluster


def write_plan(trials, space=SPACE, **more):
    content = {
        "name": "tiny",
        "bundle": str(BUNDLE),
        "networks": {"attention_unet": {}},
        "overrides": {"epochs": EPOCHS, "log_to_mlflow": False},
        "search": {"space": space, "trials": trials},
    }
    Path("plan.json").write_text(json.dumps(content | more))
    return Path("plan.json")


def study():
    plan = read_plan(Path("plan.json"))
    folder = Path("runs/tiny-search")
    folder.mkdir(parents=True, exist_ok=True)
    return search.open_study(plan.search, folder, seed=0, epochs=EPOCHS)


def run(trials, **more):
    return search.search_plan(write_plan(trials, **more), resources=Resources())


def test_it_finds_stops_and_goes_on(trainings, capsys):
    assert run(15)
    first = study().trials
    states = {
        state: [t for t in first if t.state.name == state] for state in ("COMPLETE", "PRUNED")
    }
    assert len(first) == 15
    for trial in states["PRUNED"]:  # at an epoch when the others had done better
        epoch = max(trial.intermediate_values)
        assert EPOCHS // 2 <= epoch < EPOCHS
        done = [t.intermediate_values[epoch] for t in states["COMPLETE"] if t.number < trial.number]
        assert trial.intermediate_values[epoch] < max(done)
    assert states["PRUNED"]
    assert set(first[0].intermediate_values) <= {3, 6, 9, 12}

    assert run(25)
    every = study().trials
    assert [t.params for t in every[:15]] == [t.params for t in first]
    assert len(every) == len({tuple(t.params.values()) for t in every}) == 25
    best = max((t for t in every if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert abs(math.log10(best.params["lr"]) + 2) < 0.5
    overlay = json.loads(Path("runs/tiny-search/best.json").read_text())
    assert overlay["channels"] in SPACE["channels"]["choices"]
    assert (overlay["lr"], overlay["batch_size"]) == (best.params["lr"], best.params["batch_size"])
    assert f"best: trial-{best.number:03d}, dice {best.value:.4f}" in capsys.readouterr().out
    # The overlay is one: the bundle reads it.
    path = write_plan(25, configs=["runs/tiny-search/best.json"])
    assert make_cells(read_plan(path))[0].config.get("lr") == best.params["lr"]


def test_an_interrupted_trial_goes_on_with_its_own_values(trainings):
    write_plan(3)
    begun = study()
    trial = begun.ask()
    search.sample_values(trial, read_plan(Path("plan.json")).search)
    trial.report(0.01, 3)
    assert run(3)
    assert trainings.begun["trial-000"] == [trial.params["lr"]]
    assert study().trials[0].params == trial.params
    assert study().trials[0].state.is_finished()
    assert len(study().trials) == 3


def test_a_failed_trial_is_told_and_the_others_go_on(trainings, capsys):
    too_high = {"lr": {"type": "float", "low": 0.6, "high": 1.0}}
    assert not run(2, space=too_high)
    shown = capsys.readouterr().out
    assert "trial-001 failed: error: the loss is nan" in shown
    assert not Path("runs/tiny-search/best.json").exists()


def test_the_parent_run_holds_the_search(trainings, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert run(3, overrides={"epochs": EPOCHS, "tracking_uri": uri})
    client = mlflow.MlflowClient(tracking_uri=uri)
    (parent,) = find_runs(uri).values()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["pipeline.kind"] == "search"
    assert json.loads(parent.data.params["search"])["trials"] == 3
    assert parent.data.metrics["best/dice"] == study().best_value
    assert {each.path for each in client.list_artifacts(parent.info.run_id)} == {
        "plan.json",
        "best.json",
    }


def test_an_interrupted_search_ends_its_run_and_says_how_to_go_on(
    trainings, tmp_path, monkeypatch, capsys
):
    def interrupt(job):
        if not job.handle["stopped"]:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(trainings, "ended", interrupt)
    monkeypatch.setattr("sys.argv", ["__main__.py", "experiment", "search", "my plan.json"])
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(KeyboardInterrupt):
        run(1, overrides={"epochs": EPOCHS, "tracking_uri": uri})
    assert "python -m pipeline experiment search 'my plan.json'" in capsys.readouterr().out
    (parent,) = find_runs(uri).values()
    assert parent.info.status == "KILLED"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": None}, "plan.json: .*search"),
        ({"search": {"space": {"lrr": SPACE["lr"]}}}, r"search\.space: .*lrr.*\blr\?"),
        ({"search": {"space": SPACE, "network": "unet"}}, "network unet and fold 0"),
        ({"folds": ["all"], "evaluate": {"section": "testing"}}, r"fold all .*search\.fold"),
        ({"search": {"space": SPACE, "metric": "dise"}}, "metric dise: .*loss, dice,"),
        ({"search": {"space": {"lr": SPACE["lr"]}, "trials": 1}}, "tiny-search: .*space"),
    ],
)
def test_a_fault_is_said_before_the_first_trial(trainings, change, message):
    assert run(1)
    with pytest.raises(InputError, match=message):
        run(1, **change)
    assert [*trainings.begun] == ["trial-000"]


@given(st.lists(st.recursive(st.integers() | st.text(), st.lists, max_leaves=3), min_size=2))
def test_a_choice_comes_back_as_it_was(choices):
    one = Search(space={"x": {"type": "categorical", "choices": choices}})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trial = optuna.create_study().ask()
    search.sample_values(trial, one)
    assert search.read_values(trial, one)["x"] in choices
