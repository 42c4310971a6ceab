"""A journal reaches the store whole, in order, each event once, however requests fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("mlflow", reason="mlflow is not installed")

from mlflow import MlflowClient

from pipeline.tracking.delivery import RUN_KEY, Delivery
from pipeline.tracking.journal import Journal

ONE_STORE = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # each try at a smaller example takes half a second
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TIME = 1_700_000_000_000  # ms
DATASET = {"name": "eyes", "digest": "0a1b", "source": "{}", "profile": "{}"}
names = (f"delivery {number}" for number in count())


def log(step: int, **event: dict) -> dict:
    metrics = [["train/loss", 1 / step, TIME + step, step], ["train/lr", 0.1, TIME + step, step]]
    return {"kind": "log", "metrics": metrics, **event}


# Every kind of event, and what is told twice: a tag that changes, an artifact, the status.
EVENTS = [
    {"kind": "status", "status": "RUNNING", "time": TIME},
    {"kind": "log", "params": {"lr": "0.1", "epochs": "4"}, "tags": {"state": "young"}},
    {"kind": "dataset", "context": "training", "dataset": DATASET},
    log(1),
    {"kind": "artifact", "path": "config.json", "folder": ""},
    log(2),
    log(3, params={"late": "1"}),
    {"kind": "status", "status": "FAILED", "time": TIME + 3},
    {"kind": "status", "status": "RUNNING", "time": TIME + 4},
    log(4, tags={"state": "ripe"}),
    log(5, tags={"state": "old"}),
    {"kind": "artifact", "path": "figures/case.png", "folder": "figures"},
    {"kind": "artifact", "path": "config.json", "folder": ""},
    {"kind": "status", "status": "FINISHED", "time": TIME + 5},
]


class Unreliable:
    """MLflow's client of a real store, whose next requests fail as told.

    Args:
        uri: the store.
        faults: one per request: None, or whether it fails ``before`` or ``after`` its effect, or
            with ``half`` of it.
    """

    def __init__(self, uri: str, faults: list[str | None]) -> None:
        self.client = MlflowClient(uri)
        self.tracking_uri = uri
        self.faults = faults

    def __getattr__(self, name: str):
        def request(*args, **options):
            fault = self.faults.pop(0) if self.faults else None
            if fault == "before":
                raise ConnectionError(name)
            if fault == "half" and name == "log_batch":
                options = {"params": options["params"], "metrics": options["metrics"][:1]}
            answer = getattr(self.client, name)(*args, **options)
            if fault is not None:
                raise ConnectionError(name)
            return answer

        return request


def new_journal(folder: Path) -> tuple[str, Journal]:
    """An experiment's name, and the journal of a run of it that has just begun."""
    name = next(names)
    root = folder / name
    (root / "figures").mkdir(parents=True)
    (root / "config.json").write_text("{}")
    (root / "figures" / "case.png").write_bytes(b"picture")
    journal = Journal(root / "mlflow" / "events.jsonl")
    tags = {RUN_KEY: "4711", "pipeline.kind": "training"}
    run = {"kind": "run", "time": TIME, "experiment_name": name, "run_name": "a", "tags": tags}
    journal.append(run)
    return name, journal


def record(uri: str, experiment: str) -> dict:
    """All that the store says of the only run of an experiment."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    histories = {
        name: sorted(
            (each.step, each.timestamp, each.value)
            for each in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }
    inputs = [
        (each.dataset.name, each.dataset.digest, [(tag.key, tag.value) for tag in each.tags])
        for each in run.inputs.dataset_inputs
    ]
    return {
        "run": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": run.data.metrics,
        "histories": histories,
        "inputs": inputs,
        "artifacts": sorted(artifacts(client, run.info.run_id, "")),
    }


def artifacts(client: MlflowClient, run_id: str, folder: str) -> Iterator[tuple[str, int]]:
    for each in client.list_artifacts(run_id, folder):
        if each.is_dir:
            yield from artifacts(client, run_id, each.path)
        else:
            yield each.path, each.file_size


@pytest.fixture
def undisturbed(store, tmp_path) -> dict:
    name, journal = new_journal(tmp_path)
    for event in EVENTS:
        journal.append(event)
    Delivery(journal, store).deliver()
    return record(store, name)


@ONE_STORE
@given(
    faults=st.lists(st.sampled_from([None, None, "before", "half", "after"]), max_size=25),
    arrivals=st.lists(st.integers(0, len(EVENTS)), max_size=6),
    forgotten=st.lists(st.integers(0, 9), max_size=6),
)
def test_whatever_fails_the_store_ends_as_if_nothing_had(
    store, tmp_path, undisturbed, faults, arrivals, forgotten
):
    """Requests fail; after each failure another process starts, maybe from an old state file."""
    name, journal = new_journal(tmp_path)
    rest, earlier = list(EVENTS), [None]
    while True:
        arrived = arrivals.pop() if arrivals else len(rest)
        for event in rest[:arrived]:
            journal.append(event)
        rest = rest[arrived:]
        delivery = Delivery(Journal(journal.path, append=False), store)
        delivery.client = Unreliable(store, faults)
        try:
            delivery.deliver()
        except ConnectionError:
            earlier.append(
                delivery.state_file.read_text() if delivery.state_file.exists() else None
            )
            old = earlier[-1 - min(forgotten.pop() if forgotten else 0, len(earlier) - 1)]
            delivery.state_file.unlink(missing_ok=True)
            if old is not None:
                delivery.state_file.write_text(old)
        else:
            if not rest:
                break
    assert delivery.state["offset"] == journal.path.stat().st_size
    told = record(store, name)
    assert told == undisturbed
    assert told["run"] == ("a", "FINISHED", TIME, TIME + 5)
    assert told["histories"]["train/loss"] == [(i, TIME + i, 1 / i) for i in range(1, 6)]
    assert told["tags"]["state"] == "old"
    assert [path for path, _ in told["artifacts"]] == ["config.json", "figures/case.png"]


REFUSED = {
    "a parameter that changes": {"kind": "log", "params": {"lr": "0.2"}},
    "a name that MLflow does not take": {"kind": "log", "tags": {"a#b": "c"}},
    "a file that is gone": {"kind": "artifact", "path": "gone.csv", "folder": ""},
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("where", ["alone", "among others"])
def test_what_mlflow_refuses_holds_up_and_drags_down_nothing(store, tmp_path, refused, where):
    name, journal = new_journal(tmp_path)
    journal.append({"kind": "log", "params": {"lr": "0.1"}})
    for event in (log(1), refused, log(2)):
        journal.append(event)
        if where == "alone":  # other kinds of events end a request
            journal.append({"kind": "status", "status": "RUNNING", "time": TIME})
    delivery = Delivery(journal, store)
    delivery.deliver()
    told = record(store, name)
    assert told["params"] == {"lr": "0.1"}
    assert [step for step, *_ in told["histories"]["train/loss"]] == [1, 2]
    assert delivery.state["offset"] == journal.path.stat().st_size


@settings(deadline=None, max_examples=50, suppress_health_check=ONE_STORE.suppress_health_check)
@given(data=st.data())
def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(tmp_path, data):
    path = tmp_path / "events.jsonl"
    events = [{"kind": "log", "number": i, "text": "é\n" * i} for i in range(4)]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    content = path.read_bytes()[: data.draw(st.integers(0, path.stat().st_size), label="cut")]
    path.write_bytes(content)
    whole = events[: content.count(b"\n")]
    assert [event for event, _ in Journal(path, append=False).read()] == whole
    assert path.read_bytes() == content  # reading alone changes nothing
    journal = Journal(path)
    journal.append({"kind": "new"})
    entries = [*journal.read()]
    assert [event for event, _ in entries] == [*whole, {"kind": "new"}]
    for skip, (_, offset) in enumerate(entries, start=1):
        assert [*journal.read(offset)] == entries[skip:]


def test_threads_that_append_at_once_lose_and_mix_nothing(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    each, readings = 50, []

    def append(thread: int) -> None:
        for number in range(each):
            journal.append({"thread": thread, "number": number, "filling": "x" * 50 * number})

    threads = [threading.Thread(target=append, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        readings.append([event for event, _ in journal.read()])
    for thread in threads:
        thread.join()
    final = [event for event, _ in journal.read()]
    for number in range(4):
        own = [event["number"] for event in final if event["thread"] == number]
        assert own == [*range(each)]
    assert len(final) == 4 * each
    assert all(reading == final[: len(reading)] for reading in readings)
