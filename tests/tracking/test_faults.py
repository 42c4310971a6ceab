"""Whatever ends a training, its MLflow run says so, and nothing of it is lost or doubled."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("mlflow", reason="mlflow is not installed")

from commands import command
from mlflow import MlflowClient
from stored_runs import artifacts, find_runs, is_whole, steps

from pipeline.bundle.trained import read_history
from pipeline.engines.writer import write_checkpoint
from pipeline.tracking.tidy import mark_dead_runs


def test_an_exception_is_a_failed_run_with_its_traceback(store, training):
    status, errors = training("a", tracking_uri=store, raise_at=3).end()
    run = find_runs(store)["a"]
    assert status == 1
    assert "ArithmeticError: something broke" in errors
    assert run.info.status == "FAILED"
    assert run.data.tags["pipeline.error"] == "ArithmeticError: something broke"
    assert is_whole(store, run, 2)
    assert {"traceback.txt", "model.pt", "history.csv"} <= artifacts(store, run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_killed_run_with_all_that_was_reached(store, training, tmp_path, number):
    process = training("a", tracking_uri=store, epochs=1000, seconds=0.02)
    process.wait_for(2)
    (tmp_path / "a/.half.pt.tmp").touch()  # as a thread leaves it that still writes
    status, _ = process.end(number)
    run = find_runs(store)["a"]
    assert status in (128 + number, -number, 1)
    assert run.info.status == "KILLED"
    epochs = len(steps(store, run, "train/loss"))
    assert epochs >= 2
    assert steps(store, run, "train/loss") == [*range(1, epochs + 1)]
    assert {"model.pt", "history.csv"} <= artifacts(store, run)
    assert ".half.pt.tmp" not in artifacts(store, run)


def test_after_sigkill_the_next_start_or_tidy_marks_the_dead_run_and_no_living_one(
    store, training, tmp_path
):
    living = training("living", tracking_uri=store, epochs=1000, seconds=0.02)
    dead = [training(name, tracking_uri=store, epochs=1000, seconds=0.02) for name in ("b", "c")]
    for process in (living, *dead):
        process.wait_for(2)
    dead[0].end(signal.SIGKILL)
    assert find_runs(store)["b"].info.status == "RUNNING"
    training("next", tracking_uri=store).end()
    runs = find_runs(store)
    assert {name: run.info.status for name, run in runs.items()} == {
        "living": "RUNNING",
        "b": "KILLED",
        "c": "RUNNING",
        "next": "FINISHED",
    }
    # What the dead run had not delivered yet came from its journal.
    epochs = [int(row["epoch"]) for row in read_history(tmp_path / "b")]
    # It may have died between the two.
    assert steps(store, runs["b"], "train/loss") in (epochs, epochs[:-1])
    dead[1].end(signal.SIGKILL)
    client = MlflowClient(store)
    own = runs["c"].info.run_id  # as a resumed training, whose run still names the old process
    assert mark_dead_runs(client, [runs["c"].info.experiment_id], own=own) == []
    marked = mark_dead_runs(client, [runs["c"].info.experiment_id])
    assert [run.info.run_name for run in marked] == ["c"]
    # A process of another host, or another container, may well be alive.
    for name in ("pipeline.host", "pipeline.namespace"):
        run = client.create_run(
            runs["c"].info.experiment_id, tags={**runs["c"].data.tags, name: "other"}
        )
        assert mark_dead_runs(client, [run.info.experiment_id]) == []
        client.delete_run(run.info.run_id)
    assert find_runs(store)["living"].info.status == "RUNNING"


def test_a_server_that_is_dead_at_the_start_is_one_clear_error_or_no_matter(training, tmp_path):
    begun = time.monotonic()
    status, errors = training("a", tracking_uri="http://127.0.0.1:9").end()
    assert status != 0
    assert time.monotonic() - begun < 60  # with the imports; the wait itself is at most 30 s
    assert "tracking_uri http://127.0.0.1:9" in errors
    assert not (tmp_path / "a" / "model.pt").exists()
    # A host that swallows what it is sent.
    status, errors = training("b", tracking_uri="http://10.255.255.1:9", timeout=2).end()
    assert status != 0
    assert "no answer within 2 s" in errors or "--tracking_offline True" in errors


def test_offline_runs_go_to_a_local_store_and_later_to_the_server(
    training, tmp_path, monkeypatch, server
):
    monkeypatch.chdir(tmp_path)
    training("a", tracking_uri=server.uri, tracking_offline=True).end()
    local = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert is_whole(local, find_runs(local)["a"], 3)
    for _ in range(2):  # doing it twice changes nothing
        assert command("runs", "sync", tmp_path / "a", "--tracking-uri", server.uri) == 0
    run = find_runs(server.uri)["a"]
    assert run.info.status == "FINISHED"
    assert is_whole(server.uri, run, 3)
    assert {"model.pt", "history.csv"} <= artifacts(server.uri, run)
    assert run.info.end_time == find_runs(local)["a"].info.end_time


def test_a_server_that_dies_costs_nothing_whether_it_comes_back_or_not(training, server, tmp_path):
    stop = tmp_path / "stop"
    back = training("a", tracking_uri=server.uri, epochs=10**6, seconds=0.03, until=str(stop))
    back.wait_for(5)
    gone = training("b", tracking_uri=server.uri, epochs=30, seconds=0.02)
    gone.wait_for(5)
    server.kill()
    status, errors = gone.end()
    assert status == 0
    assert f"python -m pipeline runs sync {tmp_path / 'b'}" in errors
    assert (tmp_path / "b" / "model_final.pt").exists()
    back.wait_for(25)
    server.start()
    stop.touch()
    status, errors = back.end()
    assert status == 0, errors
    assert command("runs", "sync", tmp_path / "b") == 0
    runs = find_runs(server.uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "a": "FINISHED",
        "b": "FINISHED",
    }
    assert is_whole(server.uri, runs["a"], max(steps(server.uri, runs["a"], "train/loss")))
    assert is_whole(server.uri, runs["b"], 30)
    assert {"model.pt", "history.csv"} <= artifacts(server.uri, runs["a"])


def test_a_full_disk_at_a_checkpoint_fails_the_run_and_keeps_the_last_good_one(
    server, training, tmp_path
):
    store = server.uri  # on another disk
    status, errors = training("a", tracking_uri=store, epochs=5, fill_disk_at=3).end()
    run = find_runs(store)["a"]
    assert status != 0
    assert "File too large" in errors
    assert run.info.status == "FAILED"
    folder = tmp_path / "a"
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert checkpoint["epoch"] in (1, 2)  # a thread writes the second one meanwhile
    assert not list(folder.glob(".*.tmp"))
    training("a", tracking_uri=store, epochs=5, resume=True).end()
    assert is_whole(store, find_runs(store)["a"], 5)
    assert find_runs(store)["a"].info.status == "FINISHED"


def test_two_trainings_at_once_stay_apart_in_a_store_that_neither_has_made(training, tmp_path):
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    processes = [training(name, tracking_uri=uri, epochs=10) for name in ("123", "1e3", "a,b")]
    assert [process.end()[0] for process in processes] == [0, 0, 0]
    runs = find_runs(uri)
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
        ["123", "1e3", "a,b"], "FINISHED"
    )
    assert all(is_whole(uri, run, 10) for run in runs.values())


@pytest.mark.parametrize("when", ["after a kill", "beyond its epochs"])
def test_a_resumed_training_is_the_same_run_and_ends_as_if_never_interrupted(
    store, training, tmp_path, when
):
    training("whole", tracking_uri=store, epochs=8).end()
    if when == "after a kill":
        process = training("parts", tracking_uri=store, epochs=8, seconds=0.05)
        process.wait_for(3)
        time.sleep(0.1)  # in the middle of the next epoch
        process.end(signal.SIGKILL)
    else:
        training("parts", tracking_uri=store, epochs=3).end()
    status, errors = training("parts", tracking_uri=store, epochs=8, resume=True).end()
    assert status == 0, errors
    runs = find_runs(store)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert is_whole(store, runs["parts"], 8)
    for name in ("train/loss", "val/dice", "best/dice", "best/epoch"):
        assert runs["parts"].data.metrics[name] == runs["whole"].data.metrics[name]
    for name in ("checkpoint.pt", "model.pt", "model_final.pt"):
        one, other = (
            torch.load(tmp_path / run / name, weights_only=True) for run in ("parts", "whole")
        )
        assert_same(one, other)
    status, errors = training("parts", tracking_uri=store, epochs=8, resume=True).end()
    assert status != 0
    assert "--epochs" in errors


def assert_same(one, other) -> None:
    """Equality of nested states, bit by bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_the_last_good_checkpoint_survives_a_kill_in_mid_write(tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {"epoch": 1})

    class Bomb:
        def __reduce__(self):
            os._exit(9)

    pid = os.fork()
    if pid == 0:
        write_checkpoint(path, {"weights": torch.zeros(1000), "bomb": Bomb()})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    write_checkpoint(path, {"epoch": 2})  # what the dead write left does not hinder
    assert [each.name for each in Path(tmp_path).iterdir()] == ["checkpoint.pt"]
