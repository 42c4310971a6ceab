"""Processes that stand for trainings, and one that runs two of them as a plan does."""

import subprocess
import sys
import time
from pathlib import Path

from pipeline.experiments.work import Step, Work

# Stands for a training: says when it begins and ends, and closes what it has open on SIGTERM.
STAND_IN = """
import signal, sys, time
from pathlib import Path
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
def note(word):
    with (folder / "notes").open("a") as file:
        print(word, time.time(), file=file)
def closed(number, frame):
    note("closed")
    sys.exit(1)
signal.signal(signal.SIGTERM, closed)
note("begun")
time.sleep(seconds)
assert seconds, "this one fails"
note("ended")
(folder / "result").touch()
"""


def stand_in(folder, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-c", STAND_IN, str(folder), str(seconds))
    return Work(folder.name, folder, (Step(command, folder / "log", folder / "result"),))


def notes(folder):
    """What a stand-in noted: [(word, time), ...]."""
    path = folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], float(line.split()[1])) for line in lines]


def words(folder):
    return [word for word, _ in notes(folder)]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.05)


DRIVER = """
import sys
from pathlib import Path
from pipeline.experiments.clusters import Local, Slurm
from pipeline.experiments.jobs import Resources, run_all
sys.path.insert(0, {support!r})
from stand_ins import stand_in
works = [stand_in(Path(sys.argv[1]) / str(i), float(sys.argv[2])) for i in range(2)]
run_all({cluster}, (w for w in works if not w.done),
        watch=lambda job: None, ended=lambda job: None, interval=0.1)
"""


def driver(folder, seconds, cluster="Local(Resources(jobs=2))"):
    """A process that runs two stand-ins, in a terminal's process group of its own."""
    code = DRIVER.format(support=str(Path(__file__).parent), cluster=cluster)
    command = [sys.executable, "-c", code, str(folder), str(seconds)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)
