"""Failures, interruptions and second starts of a plan lose nothing and repeat nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from forked import python
from small_cases import write_eyes
from stand_ins import driver, notes, stand_in, wait_for, words
from stored_runs import find_runs

from pipeline.bundle.trained import read_history
from pipeline.errors import InputError
from pipeline.experiments.cells import SETTINGS, make_cells
from pipeline.experiments.clusters import Local
from pipeline.experiments.jobs import Resources, run_all
from pipeline.experiments.plan import read_plan
from pipeline.experiments.progress import Board, make_command
from pipeline.experiments.run import check_begun, run_plan
from pipeline.experiments.work import Step, Work
from pipeline.files import write_json

BUNDLE = Path(__file__).parents[2] / "bundles" / "fundus_disc_cup_segmentation"


def test_two_at_a_time_and_a_failure_stops_nobody(tmp_path):
    works = [stand_in(tmp_path / f"{i}", 0 if i == 1 else 2) for i in range(4)]
    ended = []
    run_all(
        Local(Resources(jobs=2)),
        iter(works),
        watch=lambda job: None,
        ended=lambda job: ended.append(job.work.name),
        interval=0.1,
    )
    assert sorted(ended) == ["0", "1", "2", "3"]
    assert [work.done for work in works] == [True, False, True, True]
    assert "AssertionError: this one fails" in (tmp_path / "1" / "log").read_text()
    changes = sorted(
        (t, {"begun": 1, "ended": -1}[w]) for i in "023" for w, t in notes(tmp_path / i)
    )
    at_a_time = [sum(step for _, step in changes[: n + 1]) for n in range(len(changes))]
    assert max(at_a_time) == 2


def test_a_job_does_not_load_torch_before_its_command_does():
    code = (
        "import sys, pipeline.experiments.clusters, pipeline.tracking.store\n"
        "assert not {'torch', 'monai', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_result_counts_once_its_command_has_ended_well(tmp_path):
    """An evaluation writes its summary, and figures and MLflow's record after it."""
    code = (
        "import sys; from pathlib import Path; path = Path(sys.argv[1]); path.parent.mkdir(); "
        "path.touch(); sys.exit(int(sys.argv[2]))"
    )
    result, done = tmp_path / "evaluation/summary.json", tmp_path / "done"
    for status in (1, 0):
        command = (sys.executable, "-c", code, str(result), str(status))
        work = Work("a", tmp_path, (Step(command, tmp_path / "log", done, result),))
        if status:
            with pytest.raises(RuntimeError, match="exit status 1"):
                work()
            assert result.exists()
        else:
            work()  # in a folder of its own again, which an evaluation wants
        assert work.done == (not status)
    assert len(list(tmp_path.glob("evaluation-unfinished-*/summary.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_a_stop_lets_every_training_close_its_record(tmp_path, number):
    """Ctrl-C and a closed terminal go to all processes of the terminal, the trainings included."""
    process = driver(tmp_path, 600)
    both = [tmp_path / "0", tmp_path / "1"]
    wait_for(lambda: [words(each) for each in both] == [["begun"], ["begun"]])
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert [words(each) for each in both] == [["begun", "closed"]] * 2
    again = driver(tmp_path, 0.1)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert all((each / "result").exists() for each in both)


@pytest.mark.slow
def test_a_killed_start_is_not_repeated_while_its_trainings_live(tmp_path):
    process = driver(tmp_path, 6)
    both = [tmp_path / "0", tmp_path / "1"]
    wait_for(lambda: [words(each) for each in both] == [["begun"], ["begun"]])
    process.kill()
    process.communicate()
    again = driver(tmp_path, 6)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert [words(each) for each in both] == [["begun", "ended"]] * 2


def test_each_job_has_its_own_gpus_and_its_share_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("pipeline.experiments.clusters.list_gpus", lambda: ["3", "5", "6"])
    monkeypatch.setattr("pipeline.experiments.clusters.count_cores", lambda: 12)
    cluster = Local(Resources())
    assert (cluster.limit, cluster.threads) == (3, 4)
    pairs = Local(Resources(gpus=2))
    assert (pairs.limit, pairs.threads) == (1, 12)
    monkeypatch.setattr("submitit.LocalExecutor.submit", lambda self, work: FakeHandle())
    given = [cluster.submit(stand_in(tmp_path / "x", 1), slot).work.env for slot in range(4)]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in given] == ["3", "5", "6", "3"]
    assert {env["OMP_NUM_THREADS"] for env in given} == {"4"}
    assert pairs.submit(stand_in(tmp_path / "x", 1), 0).work.env["CUDA_VISIBLE_DEVICES"] == "3,5"
    with pytest.raises(InputError, match=r"--gpus 4: .*3"):
        Local(Resources(gpus=4))


class FakeHandle:
    job_id = "0"


def test_the_time_left_follows_from_what_was_done_since_the_start(monkeypatch):
    board = Board({"a": 1.0, "b": 0.5, "c": 0.0})  # a was done by an earlier start
    monkeypatch.setattr(time, "monotonic", lambda: board.begun + 60)
    board.parts |= {"b": 1.0, "c": 0.5}
    board.show("")
    assert board.progress.tasks[0].fields["left"] == "30 s left"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Two small networks, of which one is made to fail, on phantoms."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_eyes(tmp_path / "fundus")
    # One channel too many for the photographs: found in the first step, not before.
    network = {
        "_target_": "pipeline.networks.AttentionUnet",
        **{"spatial_dims": 2, "in_channels": "$len(@channel_names) + 1", "out_channels": 2},
        **{"channels": "@channels", "strides": "@strides"},
    }
    Path("broken.json").write_text(json.dumps({"network_def": network}))
    small = {"roi_size": [64, 64], "patch_size": [64, 64], "channels": [4, 8], "strides": [2]}
    content = {
        "name": "tiny",
        "bundle": str(BUNDLE),
        "configs": ["small_images.json"],
        "networks": {"broken": {"overlays": ["broken.json"]}, "attention_unet": {}},
        "overrides": {
            # Absolute: MLflow keeps a store open by its name, also for the next test.
            "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
            **{"dataset_dir": "fundus", "epochs": 2, "val_interval": 1},
            **small,
        },
        "evaluate": {"overrides": {"figures": False}},
    }
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    return path, content


@pytest.mark.slow
def test_a_plan_becomes_evaluated_trainings_of_one_parent(plan, capsys, monkeypatch):
    path, content = plan
    monkeypatch.setattr("pipeline.experiments.work.sys", SimpleNamespace(executable=python()))
    resources = Resources(gpus=0, jobs=2)
    assert run_plan(path, resources=resources) == 1
    shown = capsys.readouterr().out
    assert "done    attention_unet-fold0-seed0" in shown
    assert "broken-fold0-seed0 failed: RuntimeError" in shown
    assert "runs/tiny/broken-fold0-seed0/training.log" in shown

    cell = Path("runs/tiny/attention_unet-fold0-seed0")
    assert json.loads((cell / "evaluation" / "summary.json").read_text())["n_cases"] > 0
    client = mlflow.MlflowClient(tracking_uri=content["overrides"]["tracking_uri"])
    children = find_runs(content["overrides"]["tracking_uri"])
    parent = children.pop("tiny")
    assert parent.data.tags["pipeline.kind"] == "experiment"
    assert parent.info.status == "FAILED"
    assert json.loads(parent.data.params["folds"]) == [0]
    assert "plan.json" in {each.path for each in client.list_artifacts(parent.info.run_id)}
    parents = {run.data.tags["mlflow.parentRunId"] for run in children.values()}
    assert parents == {parent.info.run_id}
    assert sorted(
        (run.data.tags["pipeline.network"], run.data.tags["pipeline.kind"], run.info.status)
        for run in children.values()
    ) == [
        ("attention_unet", "evaluation", "FINISHED"),
        ("attention_unet", "training", "FINISHED"),
        ("broken", "training", "FAILED"),
    ]

    # A second start does the rest: here, what has been put right.
    before = (cell / "evaluation" / "summary.json").stat().st_mtime_ns
    Path("broken.json").write_text("{}")
    assert run_plan(path, resources=resources) == 0
    assert (cell / "evaluation" / "summary.json").stat().st_mtime_ns == before
    history = read_history(cell.parent / "broken-fold0-seed0/training")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert run_plan(path, resources=resources) == 0

    # What is there was made with two epochs.
    path.write_text(json.dumps(content | {"overrides": content["overrides"] | {"epochs": 3}}))
    with pytest.raises(InputError, match=r"epochs 2.* 3"):
        run_plan(path, resources=resources)


def test_a_cell_that_waits_in_the_queue_keeps_its_settings(plan):
    """Slurm has its commands already: an edited plan would be the record of another training."""
    path, _ = plan
    cell = make_cells(read_plan(path))[0]
    folder = Path("runs/tiny") / cell.name
    write_json(folder / SETTINGS, cell.settings())
    (folder / "job.json").write_text('{"slurm_job_id": "7"}')
    edited = replace(cell, ids={**cell.ids, "epochs": 3})
    check_begun(cell, folder, Resources("slurm"), {"7"})
    check_begun(edited, folder, Resources("slurm"), {"8"})
    with pytest.raises(InputError, match=r"epochs 2.* 3"):
        check_begun(edited, folder, Resources("slurm"), {"7"})


def test_the_command_that_goes_on_has_all_options(monkeypatch):
    options = ["experiment", "run", "my plan.json", "--cluster", "slurm", "--time", "60"]
    monkeypatch.setattr("sys.argv", ["pipeline/__main__.py", *options])
    assert make_command() == (
        "python -m pipeline experiment run 'my plan.json' --cluster slurm --time 60"
    )


@pytest.mark.parametrize(
    ("wrong", "option"),
    [({"gpus": -1}, "--gpus"), ({"minutes": 0}, "--time"), ({"memory": 0.0}, "--memory")],
    ids=str,
)
def test_resources_that_no_job_can_have_are_refused(wrong, option):
    with pytest.raises(InputError, match=option):
        Resources("slurm", **wrong)
    with pytest.raises(InputError, match="--partition"):
        Resources(partition="long")


def test_what_no_cell_could_start_with_is_said_at_once(plan, monkeypatch):
    path, content = plan
    overrides = content["overrides"]
    lists = json.loads(Path("fundus/datalist.json").read_text())
    Path("untested.json").write_text(json.dumps(lists | {"testing": []}))
    for change, message in [
        ({"folds": [0, 7]}, "fold 7: .*fundus/datalist.json"),
        ({"overrides": overrides | {"dataset_dir": "no"}}, "dataset_dir no"),
        ({"overrides": overrides | {"strides": [2, 2]}}, "broken-fold0-seed0: .*strides"),
        ({"overrides": overrides | {"lr": "1e-3 "}}, "broken-fold0-seed0: lr .*'1e-3 '"),
        (
            {
                "overrides": overrides | {"datalist": "untested.json"},
                "evaluate": {"section": "testing"},
            },
            'untested.json: .*"testing"',
        ),
    ]:
        path.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=message):
            run_plan(path, resources=Resources(gpus=0))
    assert not Path("runs").exists()
    assert not Path("mlflow.db").exists()


def test_a_dry_run_shows_the_commands_and_leaves_nothing(plan, capsys):
    path, _ = plan
    there = sorted(os.listdir())
    assert run_plan(path, resources=Resources(), dry_run=True) == 0
    out = capsys.readouterr().out
    assert out.count("monai.bundle run") == 4
    assert "--epochs=2" in out
    assert sorted(os.listdir()) == there
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"overrides": {"epochs": "ten"}}))
    with pytest.raises(InputError, match="epochs is 'ten': give a whole number"):
        run_plan(path, resources=Resources(), dry_run=True)
