"""Several processes fill one folder: no case is lost or done twice, whatever becomes of them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from forked import python
from small_cases import PANCREAS, ct, predict, report, statuses

from pipeline.errors import InputError
from pipeline.prediction.cohort import Cohort

# A case whose file is called so keeps its process for ever.
HANG = (
    "$lambda hu: hu > (time.sleep(600) if __import__('os').environ.get('HANG', '?') "
    "in str(hu.meta['filename_or_obj']) else -500)"
)


@pytest.fixture
def cohort(pancreas, tmp_path):
    """Six volumes, and a function that starts a process over them."""
    for number in range(6):
        ct(tmp_path / f"in/case {number}.nii.gz", seed=number)
    overlay = {"preprocessing#transforms#2#select_fn": HANG}
    (tmp_path / "hang.json").write_text(json.dumps(overlay))
    output = tmp_path / "out"
    options = ["predict", tmp_path / "in", "--bundle", PANCREAS, "--checkpoint", pancreas]
    options += ["--output", output, "--config", tmp_path / "hang.json"]
    started = []

    def start(*launcher, hang="?", program=sys.executable):
        command = [program, "-m", *launcher, "pipeline", *map(str, options)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HANG": hang, "PYTHON_EXEC": program}
        started.append(subprocess.Popen(command, env=env, stdout=-1, stderr=-1, text=True))
        return started[-1]

    yield start, output
    for process in started:
        process.kill()
        process.communicate()


def records(output):
    paths = (output / ".predict").glob("*.json")
    return {record["name"]: record for record in map(_whole, paths)}


def _whole(path):
    return json.loads(path.read_text())


def wait_for(condition, *processes):
    """Until the condition holds, as long as the processes live."""
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def running(output, name):
    record = records(output).get(name)
    return record is not None and record["status"] == "running"


@pytest.mark.slow
def test_an_interrupt_and_a_kill_cost_no_case(cohort):
    start, output = cohort
    first = start(hang="case 1")
    wait_for(lambda: running(output, "case 1") and not running(output, "case 0"), first)
    time.sleep(0.2)  # into the case itself
    first.send_signal(signal.SIGINT)
    said = first.communicate()
    assert first.returncode == 130, said
    assert "Traceback" not in said[1]
    assert statuses(output) == {"case 0": "done"}
    assert [path.name for path in output.glob("*.nii.gz")] == ["case 0_seg.nii.gz"]

    second = start(hang="case 2")
    wait_for(lambda: running(output, "case 2"), second)
    third = start()
    last = [f"case {number}" for number in (3, 4, 5)]
    wait_for(lambda: all(records(output).get(n, {}).get("status") == "done" for n in last), third)
    assert running(output, "case 2")  # a living process keeps its case
    second.kill()
    said = third.communicate()
    assert third.returncode == 0, said
    assert len(list(output.glob("report-*.json"))) == 2  # one run of two processes
    assert statuses(output) == {"case 0": "skipped"} | {
        f"case {number}": "done" for number in range(1, 6)
    }
    of = {case["name"]: int(case["worker"].split(":")[1]) for case in report(output)["cases"]}
    assert [of[f"case {number}"] for number in range(6)] == [
        first.pid, second.pid, *[third.pid] * 4
    ]  # fmt: skip
    assert records(output)["case 2"]["attempt"] == 2
    assert len(list(output.glob("*_seg.nii.gz"))) == 6


@pytest.mark.slow
def test_a_name_that_another_process_took_in_this_run_is_refused(cohort, pancreas, tmp_path):
    """`predict one/ct.nii.gz` beside `predict two/ct.nii.gz` into one folder."""
    start, output = cohort
    process = start(hang="case 5", program=python())
    wait_for(lambda: records(output).get("case 0", {}).get("status") == "done", process)
    mask = (output / "case 0_seg.nii.gz").read_bytes()
    other = ct(tmp_path / "two/case 0.nii.gz", seed=9)
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", output)
    predict(other, *options, "--config", tmp_path / "hang.json", code=1)
    assert (output / "case 0_seg.nii.gz").read_bytes() == mask
    assert statuses(output)["case 0"] == "done"
    assert statuses(output)[str(other)] == "failed"


@pytest.mark.slow
def test_torchrun_shares_a_cohort(cohort):
    start, output = cohort
    process = start(
        *("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"), program=python()
    )
    said = process.communicate()
    assert process.returncode == 0, said
    cases = [case for path in output.glob("report-*.json") for case in _whole(path)["cases"]]
    done = sorted(case["name"] for case in cases if case["status"] == "done")
    assert done == [f"case {number}" for number in range(6)]
    lines = [line[8:].split("  ")[0] for line in said[0].splitlines() if line[:8] == "done    "]
    assert sorted(lines) == done  # each by one process
    assert len(list(output.glob("*_seg.nii.gz"))) == 6


def test_a_case_that_kills_its_processes_is_given_up_until_the_next_run(pancreas, tmp_path, capsys):
    ct(tmp_path / "a.nii.gz")
    output = tmp_path / "out"
    options = (tmp_path / "a.nii.gz", "--bundle", PANCREAS, "--checkpoint", pancreas)
    predict(*options, "--output", output)
    (record,) = records(output).values()
    os.remove(output / "a_seg.nii.gz")
    with open(output / ".predict" / "lock") as file:
        model = file.read().split("\n")[1]
    # Another process is at work, and in its run two have died over the case.
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(output), model], stdin=-1, stdout=-1, text=True
    )
    run = other.stdout.readline().strip()
    path = next((output / ".predict").glob("*.json"))
    path.write_text(json.dumps({**record, "status": "running", "run": run, "attempt": 2}))
    predict(*options, "--output", output, code=1)
    assert "2 processes" in capsys.readouterr().out
    with pytest.raises(InputError, match="--output"):
        Cohort(output, {}, model="other", total=1)
    other.communicate()
    predict(*options, "--output", output)
    assert statuses(output) == {"a": "done"}


OTHER = """
import sys
from pathlib import Path
from pipeline.prediction.cohort import Cohort
cohort = Cohort(Path(sys.argv[1]), {}, model=sys.argv[2], total=1)
print(cohort.run, flush=True)
sys.stdin.read()
"""
