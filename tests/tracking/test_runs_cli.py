"""``python -m pipeline runs``: a training is repeated from its record; the dead are marked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")

from commands import command, refusal
from forked import run_module
from mlflow import MlflowClient
from small_cases import write_eyes

from pipeline.tracking.delivery import PARENT_KEY, PARENT_NAME, RUN_KEY
from pipeline.tracking.journal import Journal
from pipeline.tracking.rerun import find_unknown

CONFIGS = Path(__file__).parents[2] / "bundles/fundus_disc_cup_segmentation/configs"
TINY = {"roi_size": [64, 64], "patch_size": [64, 64], "channels": [4, 8], "strides": [2]}


def run(command: list[str], folder: Path, tracking_uri: str) -> str:
    """What a command in a process of its own says."""
    return run_module(*command, cwd=folder, env={"MLFLOW_TRACKING_URI": tracking_uri}).stdout


SECRET = "postgresql://anna:hidden@host/mlflow"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, str, str]:
    """A dataset, a store and the id of a training that was recorded elsewhere, its folder gone."""
    work = tmp_path_factory.mktemp("work")
    write_eyes(work / "phantoms")
    files = [str(CONFIGS / name) for name in ("train.json", "networks/unet.json")]
    ids = {"dataset_dir": "phantoms", "output_dir": "first", "epochs": 3, "lr": 0.02, **TINY}
    ids |= {"tags": {"team": "eyes", "mlflow.parentRunId": "0" * 32}, "device": "cpu"}
    ids |= {"tracking_uri": "http://127.0.0.1:9", "tracking_offline": True}
    options = [each for name, value in ids.items() for each in (f"--{name}", str(value))]
    run(["monai.bundle", "run", "--config_file", str(files), *options], work, "")
    (work / "team").mkdir()
    (work / "mlflow.db").rename(work / "team" / "mlflow.db")
    uri = f"sqlite:///{work}/team/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fundus_disc_cup_segmentation")
    (first,) = client.search_runs([experiment.experiment_id])
    shutil.rmtree(work / "first")
    return work / "phantoms" / "datalist.json", uri, first.info.run_id


@pytest.mark.slow
def test_a_training_is_repeated_from_its_record_alone(recorded, tmp_path):
    _, uri, run_id = recorded
    said = run(["pipeline", "runs", "rerun", run_id], tmp_path, uri)
    client = MlflowClient(uri)
    first = client.get_run(run_id)
    runs = client.search_runs([first.info.experiment_id])
    (second,) = [each for each in runs if each.info.run_id != run_id]
    assert second.info.status == "FINISHED"
    for name in ("train/step_loss", "train/loss", "val/dice", "val/dice/optic_cup", "best/dice"):
        one, other = (
            [(each.step, each.value) for each in client.get_metric_history(each_id, name)]
            for each_id in (run_id, second.info.run_id)
        )
        assert len(one) >= 1
        assert one == other, name
    assert f"{first.data.metrics['best/dice']:.6f}" in said
    changed = {name for name, _ in first.data.params.items() ^ second.data.params.items()}
    assert changed <= {"run_name", "output_dir", "tracking_uri", "tracking_offline", "tags"}
    # It counts as the same bundle's, keeps the tags that it was given, but is no plan's cell.
    alike = ("pipeline.bundle", "pipeline.network", "pipeline.datalist_sha256", "team")
    assert [second.data.tags[name] for name in alike] == [first.data.tags[name] for name in alike]
    assert second.data.tags["pipeline.rerun_of"] == run_id
    assert "mlflow.parentRunId" not in second.data.tags
    assert len(second.outputs.model_outputs) == len(first.outputs.model_outputs) == 1
    assert (tmp_path / "runs" / f"rerun-{run_id[:8]}" / "model.pt").exists()


@pytest.mark.slow
def test_what_cannot_be_repeated_faithfully_is_refused_and_leaves_nothing(
    recorded, tmp_path, capsys
):
    datalist, uri, run_id = recorded
    output = tmp_path / "again"
    options = ("runs", "rerun", run_id, "--output", output, "--tracking-uri", uri)
    content = datalist.read_text()
    cases = json.loads(content)
    cases["training"].pop()
    datalist.write_text(json.dumps(cases))
    line = refusal(capsys, *options)
    assert f"datalist {datalist}: it has changed" in line
    datalist.unlink()
    line = refusal(capsys, *options)
    assert f"datalist {datalist}: run {run_id}" in line
    assert not output.exists()
    datalist.write_text(content)
    output.mkdir()
    (output / "mine.txt").touch()
    assert f"output {output}: " in refusal(capsys, *options)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_a_run_that_is_no_training_is_refused(store, tmp_path, capsys):
    client = MlflowClient(store)
    experiment = client.create_experiment("eyes", (tmp_path / "artifacts").as_uri())
    for tags, reason in (
        ({}, "a training"),
        ({"pipeline.kind": "evaluation"}, "a training"),
        ({"pipeline.kind": "training"}, "config.json"),
    ):
        run_id = client.create_run(experiment, tags=tags).info.run_id
        line = refusal(capsys, "runs", "rerun", run_id, "--tracking-uri", store)
        assert f"run {run_id}: " in line
        assert reason in line
    assert "0" * 32 in refusal(capsys, "runs", "rerun", "0" * 32, "--tracking-uri", store)
    assert not (tmp_path / "elsewhere" / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "tidy"],
        ["runs", "sync", "."],
        ["runs", "rerun", "0" * 32],
        ["compare", "--experiment", "eyes", "--output", "report"],
    ],
    ids=" ".join,
)
def test_no_command_shows_the_password_of_a_store_that_is_not_there(
    words, tmp_path, capfd, caplog, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    event = {"kind": "run", "time": 1, "experiment_name": "eyes", "run_name": "a"}
    Journal("a/mlflow/events.jsonl").append(event | {"tags": {RUN_KEY: "a"}})
    assert command(*words, "--tracking-uri", "http://anna:hidden@127.0.0.1:9") == 1
    said = capfd.readouterr()
    assert "http://***@127.0.0.1:9" in said.out + said.err
    assert "hidden" not in said.out + said.err + caplog.text


def test_sync_does_not_show_the_password_of_a_store_that_it_delivers_to(
    store, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("pipeline.tracking.sync.deliver_journal", lambda *_: (SECRET, "1", False))
    Journal(tmp_path / "a/mlflow/events.jsonl").append({"kind": "run"})
    assert command("runs", "sync", tmp_path, "--tracking-uri", SECRET) == 0
    said = capsys.readouterr().out
    assert "***" in said
    assert "hidden" not in said


def test_a_training_that_never_began_leaves_nothing_to_deliver(training, tmp_path, capsys):
    status, _ = training("a", tracking_uri="http://127.0.0.1:9").end()
    assert status != 0
    assert str(tmp_path) in refusal(capsys, "runs", "sync", tmp_path)


def test_a_run_that_cannot_be_delivered_stops_no_other(store, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name / "mlflow").mkdir(parents=True)
        (tmp_path / name / "mlflow/events.jsonl").touch()
    assert command("runs", "sync", tmp_path, "--tracking-uri", store) == 1
    said = capsys.readouterr()
    assert [line.split(": ")[:2] for line in said.out.splitlines()] == [
        [str(tmp_path / name), "not delivered"] for name in ("a", "b")
    ]
    assert said.err.startswith("error: 2 of 2 runs ")


def test_tidy_marks_the_run_that_it_is_told_to_and_no_ended_one(store, tmp_path, capsys):
    client = MlflowClient(store)
    experiment = client.create_experiment("eyes", (tmp_path / "artifacts").as_uri())
    far = {"pipeline.host": "another", "pipeline.process": "1@1", "pipeline.namespace": "x"}
    dead, other = (client.create_run(experiment, tags=far).info.run_id for _ in range(2))
    client.log_metric(dead, "val/dice", 0.5, timestamp=1_900_000_000_000)
    tidy = ("runs", "tidy", "--tracking-uri", store)
    assert command(*tidy) == 0
    assert capsys.readouterr().out.strip() == "0 marked"  # another host's processes may be alive
    assert command(*tidy, "--run", dead) == 0
    assert f"({dead}): KILLED" in capsys.readouterr().out
    run = client.get_run(dead)
    assert (run.info.status, run.info.end_time) == ("KILLED", 1_900_000_000_000)
    assert run.data.tags["pipeline.error"] == "marked by hand: 1@1 on another"
    assert client.get_run(other).info.status == "RUNNING"
    assert f"run {dead}: it is KILLED" in refusal(capsys, *tidy, "--run", dead)
    assert "experiment ears" in refusal(capsys, *tidy, "--experiment", "ears")


def test_the_runs_of_a_plan_belong_together_in_another_store_too(store, tmp_path, capsys):
    """The parent's id is of the first store; in this one it is made once, and found again."""
    tags = {"mlflow.parentRunId": "0" * 32, PARENT_KEY: "k", PARENT_NAME: "plan"}
    for name in ("a", "b"):
        journal = Journal(tmp_path / name / "mlflow/events.jsonl")
        first = {"kind": "run", "time": 1, "experiment_name": "eyes", "run_name": name}
        journal.append(first | {"tags": {RUN_KEY: name, **tags}})
        journal.append({"kind": "log", "tags": tags})
    for _ in range(2):
        assert command("runs", "sync", tmp_path, "--tracking-uri", store) == 0
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("eyes").experiment_id
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert sorted(found) == ["a", "b", "plan"]
    parent = found.pop("plan").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent}


def test_a_component_that_this_version_does_not_have_is_named():
    config = {
        "a": [{"_target_": "pipeline.bundle.check_run"}],
        "b": "$pipeline.networks.AttentionUnet",
        "dataset_dir": "/data/pipeline.old/eyes",
    }
    assert find_unknown(config) == ""
    assert find_unknown({**config, "c": "$pipeline.engines.gone(@a)"}) == "pipeline.engines.gone"
