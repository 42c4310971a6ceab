"""Trainings recorded in a PostgreSQL database, as a team's MLflow server has it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg
from mlflow import MlflowClient
from stored_runs import artifacts, find_runs, is_whole

pytestmark = pytest.mark.slow


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            psycopg.connect(f"postgresql://{address}/postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.2)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of its own, on a free port."""
    found = shutil.which("postgres") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), default=None
    )
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    programs, user = Path(found).resolve().parent, {}
    # Pytest's own folders are closed to other users, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        name = "postgres" if "postgres" in names else "nobody"
        entry = pwd.getpwnam(name)
        user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    try:
        made = subprocess.run(
            [programs / "initdb", "--auth=trust", "--no-sync", "-U", "mlflow", "-D", "data"],
            **user,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"PostgreSQL cannot be started here: {made.stderr.strip()[-300:]}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"mlflow@127.0.0.1:{port}"
        command = [str(programs / "postgres"), "-D", "data", "-p", str(port), "-F", "-h"]
        command += ["127.0.0.1", "-c", "unix_socket_directories="]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(command, **user, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(address, process, folder / "log")
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def execute(address: str, statement: str) -> None:
    # Databases are not made within a transaction.
    with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="module")
def empty_database(postgres) -> str:
    """The name of a database with MLflow's tables."""
    execute(postgres, "CREATE DATABASE empty")
    uri = f"postgresql+psycopg://{postgres}/empty"
    made = f"from mlflow import MlflowClient; MlflowClient({uri!r}).search_experiments()"
    done = subprocess.run([sys.executable, "-c", made], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return "empty"


@pytest.fixture
def database(postgres, empty_database) -> Iterator[str]:
    """The URI of a new database; the driver is named, since SQLAlchemy's default changes."""
    execute(postgres, f"CREATE DATABASE mlflow TEMPLATE {empty_database}")
    yield f"postgresql+psycopg://{postgres}/mlflow"
    execute(postgres, "DROP DATABASE mlflow WITH (FORCE)")


def check_run(uri: str, epochs: int) -> None:
    """The only run of the tiny training has ended well, with every step once."""
    (run,) = find_runs(uri).values()
    assert run.info.status == "FINISHED"
    assert {"model.pt", "history.csv", "config.json"} <= artifacts(uri, run)
    path = MlflowClient(uri).download_artifacts(run.info.run_id, "history.csv")
    assert len(Path(path).read_text().splitlines()) == epochs + 1
    assert is_whole(uri, run, epochs)


def test_a_training_through_a_server_that_keeps_runs_in_postgresql(
    database, training, start_server, tmp_path
):
    server = start_server(database)
    status, errors = training("a", tracking_uri=server.uri, epochs=3).end()
    assert status == 0, errors
    check_run(server.uri, 3)
    # The artifacts went through the server, into its own folder.
    assert any((tmp_path / "server" / "artifacts").rglob("model.pt"))


def test_a_training_straight_into_postgresql(database, training, tmp_path):
    MlflowClient(database).create_experiment("tiny", (tmp_path / "artifacts").as_uri())
    status, errors = training("a", tracking_uri=database, epochs=3).end()
    assert status == 0, errors
    check_run(database, 3)
