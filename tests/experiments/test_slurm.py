"""Cells on a real Slurm cluster: two nodes on this machine, started and stopped here."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from stand_ins import driver, stand_in, wait_for, words

from pipeline.datasets.phantoms.fundus import write_fundus_phantoms
from pipeline.experiments.clusters import Slurm, list_queue
from pipeline.experiments.jobs import Resources, run_all
from pipeline.experiments.run import run_plan

BUNDLE = Path(__file__).parents[2] / "bundles" / "fundus_disc_cup_segmentation"
CLUSTER = "Slurm(Resources('slurm', cpus=1), interval=0.5)"
# torchrun looks the first node up by its name; this one is 127.0.0.1 in any resolver.
NODES = ("0x7f000001", "second")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
PartitionName=test Nodes=ALL Default=YES DefMemPerNode=1000 State=UP
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch"))),
        reason="Slurm is not installed (Debian: slurm-wlm munge)",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm's daemons need root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Slurm's daemons, with all that they write in one folder."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, host=host, ports=ports, nodes=NODES))
    munge = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid"}
    munge |= {"log-file": "munge.log", "seed-file": "munge.seed"}
    commands = [
        ["munged", "--foreground", "--force", *(f"--{k}={folder / v}" for k, v in munge.items())],
        ["slurmctld", "-D", "-f", str(conf)],
        *(["slurmd", "-D", "-f", str(conf), "-N", node] for node in NODES),
    ]
    daemons = []
    patch = pytest.MonkeyPatch()
    patch.setenv("SLURM_CONF", str(conf))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    try:
        for command in commands:
            log = (folder / f"{command[0]}{len(daemons)}.out").open("w")
            # A session of its own: a Ctrl-C of pytest is not for them.
            daemons.append(
                subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            )
            time.sleep(1)
        end = time.monotonic() + 30
        ready = ["srun", "--nodes=2", "--immediate=5", "true"]
        while subprocess.run(ready, capture_output=True).returncode:
            if time.monotonic() > end:
                said = " ".join(each.read_text()[-300:] for each in folder.glob("*.out"))
                pytest.skip(f"Slurm cannot be started here: {said}")
            time.sleep(1)
        yield folder
    finally:
        if len(daemons) == len(commands):
            subprocess.run(["scancel", "--me"], capture_output=True)
            time.sleep(1)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)
        patch.undo()


def job_ids(*folders):
    return [json.loads((folder / "job.json").read_text())["slurm_job_id"] for folder in folders]


def begun(folders):
    return lambda: [words(each) for each in folders] == [["begun"]] * len(folders)


def test_jobs_outlive_the_process_that_submitted_them(slurm, tmp_path):
    both = [tmp_path / "0", tmp_path / "1"]
    process = driver(tmp_path, 8, CLUSTER)
    wait_for(begun(both))
    process.kill()
    process.communicate()
    ids = job_ids(*both)
    assert set(ids) <= list_queue()
    again = driver(tmp_path, 8, CLUSTER)
    again.communicate(timeout=90)
    assert again.returncode == 0
    assert [words(each) for each in both] == [["begun", "ended"]] * 2
    assert job_ids(*both) == ids
    assert not list_queue() & set(ids)


def test_ctrl_c_ends_the_jobs_once_they_have_closed_their_records(slurm, tmp_path):
    both = [tmp_path / "0", tmp_path / "1"]
    process = driver(tmp_path, 600, CLUSTER)
    wait_for(begun(both))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode not in (0, None)
    assert [words(each) for each in both] == [["begun", "closed"]] * 2
    assert not list_queue()


def test_a_job_whose_time_is_up_goes_on_in_the_queue(slurm, tmp_path):
    """Slurm announces the end of the time by SIGUSR2; it holds a job back for two minutes then."""
    cell = tmp_path / "0"
    work = stand_in(cell, 8)

    def watch(job):
        if words(cell) == ["begun"]:
            subprocess.run(["scancel", "--signal=USR2", job.id], check=True)
        if words(cell) == ["begun", "closed"]:
            subprocess.run(["scontrol", "update", f"JobId={job.id}", "StartTime=now"])

    ended = []
    cluster = Slurm(Resources("slurm"), interval=0.5)
    run_all(cluster, iter([work]), watch=watch, ended=ended.append)
    assert len(ended) == 1
    assert words(cell) == ["begun", "closed", "begun", "ended"]


def test_a_job_that_vanishes_is_noticed(slurm, tmp_path):
    work = stand_in(tmp_path / "0", 600)
    ended = []
    run_all(
        Slurm(Resources("slurm"), interval=0.5),
        iter([work]),
        watch=lambda job: (
            words(work.folder) and subprocess.run(["scancel", "--signal=KILL", "--full", job.id])
        ),
        ended=lambda job: ended.append(job.work.done),
    )
    assert ended == [False]


def test_two_machines_train_one_network(slurm, tmp_path, monkeypatch):
    """torchrun on both nodes, the evaluation on one."""
    monkeypatch.chdir(tmp_path)
    write_fundus_phantoms(tmp_path / "fundus", count=10, seed=1)
    small = {"roi_size": [64, 64], "patch_size": [64, 64], "channels": [4, 8], "strides": [2]}
    plan = {
        "name": "tiny",
        "bundle": str(BUNDLE),
        "networks": {"attention_unet": {}},
        "overrides": {"dataset_dir": "fundus", "epochs": 2, "log_to_mlflow": False, **small},
    }
    Path("plan.json").write_text(json.dumps(plan))
    assert run_plan(Path("plan.json"), resources=Resources("slurm", nodes=2, cpus=1)) == 0
    cell = Path("runs/tiny/attention_unet-fold0-seed0")
    log = (cell / "training.log").read_text()
    assert {f"--node_rank={rank}" in log for rank in (0, 1)} == {True}
    assert log.count("epoch 2/2") == 1
    assert json.loads((cell / "evaluation" / "summary.json").read_text())["n_cases"] > 0
