"""MONAI Label with its own app ``monaibundle``, in its own environment, serving packages."""

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
from .archive import MANIFEST, WEIGHTS, manifest, read_archive, unpack

APP = "monaibundle"
READY = 300  # s to answer its first request; half a minute on two free cores


def make_app(environment: Path, archives: Sequence[Path], folder: Path) -> list[str]:
    """Copy the server's app and unpack packages into its ``model`` folder.

    A package that is there already stays as it is, for it may hold retrained weights.

    Args:
        environment: virtual environment with MONAI Label.
        archives: the packages.
        folder: of the app; made if it is not there.

    Returns:
        the names of the models.

    Raises:
        InputError: no MONAI Label there; a package that is tampered with or comes without weights;
            another version of a model under its name; a folder that holds something else.
    """
    contents = {archive: read_archive(archive) for archive in archives}
    for archive, (name, files) in contents.items():
        if WEIGHTS not in files:
            raise InputError(f"{archive}: it has no {WEIGHTS}; package it without --weights-url.")
        there = folder / "model" / name
        own = there / MANIFEST
        if there.exists() and not (own.is_file() and own.read_bytes() == manifest_of(files)):
            raise InputError(
                f"{there}: it is another version than {archive}; give another --app, package it "
                "with another --name, or move it away."
            )
    names = [name for name, _ in contents.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{sorted(twice)}: two archives of this name; package with --name.")
    if not (folder / "main.py").exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"{folder}: it holds something else than an app of MONAI Label; give another --app."
            )
        source = sample_app(environment)
        shutil.copytree(source, folder, dirs_exist_ok=True)
    for name, files in contents.values():
        target = folder / "model" / name
        if not target.exists():
            temporary = target.with_name(f".{name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            unpack(files, temporary)
            (temporary / MANIFEST).write_bytes(manifest_of(files))
            temporary.rename(target)
    return names


def manifest_of(files: dict[str, bytes]) -> bytes:
    return manifest({name: content for name, content in files.items() if name != MANIFEST})


def sample_app(environment: Path) -> Path:
    """Where an environment keeps the app; pip and uv put it in different places."""
    for pattern in (
        f"monailabel/sample-apps/{APP}",
        f"lib/python*/site-packages/monailabel-*.data/data/monailabel/sample-apps/{APP}",
    ):
        for path in environment.glob(pattern):
            return path
    raise InputError(f"environment {environment}: no MONAI Label in it; `make .venv-label`.")


class LabelServer:
    """A running MONAI Label server: a context manager that stops it with all that it started.

    Args:
        environment: virtual environment with MONAI Label.
        app: folder of the app.
        studies: folder of images, or the address of a DICOMweb server.
        models: names of the models to serve.
        host: address to listen on.
        port: to listen on; OHIF works on 8000 alone.
        log: file for what the server prints.

    Raises:
        InputError: the port is taken, or the server ends before it answers.
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
        environment, app = environment.absolute(), app.absolute()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise InputError(f"{host}:{port}: {error.strerror}; give another --port.") from None
        self.log = log
        self.url = f"http://{host}:{port}"
        self.command = [
            *(str(environment / "bin/python"), "-m", "monailabel.main", "start_server"),
            *("--app", str(app), "--studies", studies),
            *("--conf", "models", ",".join(models)),
            # Without these two it looks for models in the internet, and ends where there is none.
            *("--conf", "zoo_source", "local", "--conf", "sam2", "false"),
            *("--host", host, "--port", str(port)),
        ]
        own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        self.environ = {name: value for name, value in os.environ.items() if name not in own}
        # Where dcmqi is, which it calls for DICOM segmentations.
        self.environ["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environ["PYTHONUNBUFFERED"] = "1"
        # Patients' images from a DICOMweb server, else in the user's home.
        self.environ.setdefault("MONAI_LABEL_DICOMWEB_CACHE_PATH", str(app / "dicom"))
        self.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{app / 'mlflow.db'}")
        self.folder = app

    def __enter__(self) -> LabelServer:
        with self.log.open("ab") as log:
            # A session of its own, so that a training that it started ends with it.
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
        """What the server says of itself, once it answers."""
        end = time.monotonic() + READY
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/info/", timeout=READY) as answer:
                    return json.load(answer)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no word"]
        raise InputError(f"MONAI Label does not answer ({last[0][:300]}); see {self.log}.")

    def stop(self) -> None:
        for each, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(self.process.pid, each)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
