"""Serve packages by MONAI Label, with its app ``monaibundle``, in its own environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .archive import MANIFEST, WEIGHTS, read_archive, unpack

APP = "monaibundle"
READY = 300  # s until the first answer, which takes half a minute on two free cores


def make_app(environment: Path, archives: Sequence[Path], folder: Path) -> list[str]:
    """Copy the server's app, and unpack packages into its ``model`` folder.

    A package that was unpacked before stays as it is, since it may hold retrained weights.

    Args:
        environment: virtual environment with MONAI Label.
        archives: the packages.
        folder: of the app; made if it does not exist.

    Returns:
        the names of the models.

    Raises:
        InputError: MONAI Label is missing; a package was changed, has no weights, or is another
            version of a model in the folder; or the folder holds something else.
    """
    contents = {archive: read_archive(archive) for archive in archives}
    for archive, (name, files) in contents.items():
        if WEIGHTS not in files:
            raise InputError(f"{archive}: it has no {WEIGHTS}; package it without --weights-url.")
        there = folder / "model" / name
        own = there / MANIFEST
        if there.exists() and not (own.is_file() and own.read_bytes() == files[MANIFEST]):
            raise InputError(
                f"{there}: its version is not that of {archive}; give another --app, package with "
                "another --name, or move the folder away."
            )
    names = [name for name, _ in contents.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{sorted(twice)}: two archives have this name; package with --name.")
    if not (folder / "main.py").exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder}: it is not an app of MONAI Label; give another --app.")
        shutil.copytree(find_app(environment), folder, dirs_exist_ok=True)
    for name, files in contents.values():
        target = folder / "model" / name
        if not target.exists():
            temporary = target.with_name(f".{name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            unpack(files, temporary)
            temporary.rename(target)
    return names


def find_app(environment: Path) -> Path:
    """Find the app in an environment; pip and uv put it into different places."""
    for pattern in (
        f"monailabel/sample-apps/{APP}",
        f"lib/python*/site-packages/monailabel-*.data/data/monailabel/sample-apps/{APP}",
    ):
        for path in environment.glob(pattern):
            return path
    raise InputError(f"environment {environment}: it has no MONAI Label; run `make .venv-label`.")


class LabelServer:
    """A running MONAI Label server: a context manager that stops it with all that it started.

    Args:
        environment: virtual environment with MONAI Label.
        app: folder of the app.
        studies: folder of images, or the address of a DICOMweb server.
        models: names of the models to serve.
        host: address to listen on.
        port: to listen on; OHIF only works on 8000.
        log: file for what the server prints.

    Raises:
        InputError: the port is in use, or the server ends before it answers.
    """

    def __init__(
        self,
        environment: Path,
        app: Path,
        studies: str,
        models: Sequence[str],
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        log: Path,
    ) -> None:
        binaries, app = environment.absolute() / "bin", app.absolute()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise InputError(f"{host}:{port}: {error.strerror}; give another --port.") from None
        self.log, self.folder = log, app
        self.url = f"http://{host}:{port}"
        self.command = [
            *(str(binaries / "python"), "-m", "monailabel.main", "start_server"),
            *("--app", str(app), "--studies", studies),
            *("--conf", "models", ",".join(models)),
            # Without these two it looks for models on the internet, and fails without one.
            *("--conf", "zoo_source", "local", "--conf", "sam2", "false"),
            *("--host", host, "--port", str(port)),
        ]
        own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        self.environ = {
            # Images of patients from a DICOMweb server; by default they go into the user's home.
            "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(app / "dicom"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{app / 'mlflow.db'}",
            **{name: value for name, value in os.environ.items() if name not in own},
            # It calls dcmqi, which is in the environment, for DICOM segmentations.
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> LabelServer:
        with self.log.open("ab") as log:
            # In a session of its own, so that the trainings that it started end with it.
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def wait(self) -> dict[str, Any]:
        """Wait until the server answers; returns what it says about itself."""
        end = time.monotonic() + READY
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/info/", timeout=READY) as answer:
                    return json.load(answer)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        printed = self.log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise InputError(f"MONAI Label does not answer ({printed[-1][:300]}); see {self.log}.")

    def stop(self) -> None:
        """Stop the server and what it started."""
        for each, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(self.process.pid, each)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
