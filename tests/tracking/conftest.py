"""Stores and a server of MLflow, and the tiny training as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tiny_training", "mlflow", "torch._dynamo"])


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A database with MLflow's tables, whose making takes longer than many tests."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tmp_path, monkeypatch, empty_store) -> str:
    """The URI of an empty store, away from the working directory."""
    for folder in ("store", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "store" / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


class Server:
    """A real ``mlflow server`` that can be killed and started again on the same port."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder, self.backend = folder, backend
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            stdout=(self.folder / "server.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Its queue of jobs for language models is five more processes.
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5)
                return
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "server.log").read_text()) from None
                time.sleep(0.2)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start_server(tmp_path) -> Iterator[Callable[[str], Server]]:
    """A function that starts a server of the store at a URI."""
    servers = []

    def start(backend: str) -> Server:
        servers.append(Server(tmp_path / "server", backend))
        servers[-1].start()
        return servers[-1]

    (tmp_path / "server").mkdir()
    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def server(tmp_path, empty_store, start_server) -> Server:
    (tmp_path / "server" / "mlflow.db").write_bytes(empty_store.read_bytes())
    return start_server(f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}")


def run_tiny(folder: str, options: dict) -> None:
    """The tiny training, its words in files beside the run's folder."""
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    from tiny_training import train

    train(output_dir=folder, **options)


class Training:
    """The tiny training in a process of its own, forked from one that has the imports done."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        Path(f"{folder}.out").write_text("")
        self.process = CONTEXT.Process(target=run_tiny, args=(str(folder), options))
        self.process.start()

    def wait_for(self, epoch: int) -> None:
        until = time.monotonic() + 120
        while f"epoch {epoch}\n" not in Path(f"{self.folder}.out").read_text():
            if time.monotonic() > until or not self.process.is_alive():
                raise RuntimeError(Path(f"{self.folder}.err").read_text())
            time.sleep(0.01)

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal, if any; the exit status and what was said."""
        if number is not None:
            os.kill(self.process.pid, number)
        self.process.join(120)
        return self.process.exitcode, Path(f"{self.folder}.err").read_text()


@pytest.fixture
def training(tmp_path) -> Iterator[type[Training]]:
    started = []

    def start(name: str, **options: object) -> Training:
        started.append(Training(tmp_path / name, **options))
        return started[-1]

    yield start
    for each in started:
        if each.process.is_alive():
            each.process.kill()
            each.process.join()
