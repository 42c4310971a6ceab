"""Run MONAI Label with the app of `label_folder`, in its own environment."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from .label_app.lib.parent import WATCH
from .label_app.lib.values import LOOPBACK
from .label_folder import ENDINGS

READY = 300  # s until the first answer, which takes half a minute on two free cores
SHORTEST = 12  # characters of a password


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
        user: who may ask, with the password; needed for a host that others can reach.
        password: see user; without one, the server asks for none.
        origins: addresses of other web pages that may ask, or under which a proxy shows the server.

    Raises:
        InputError: the port is in use, others could reach the server without a password, or the
            server ends before it answers.
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
        user: str = "",
        password: str = "",
        origins: Sequence[str] = (),
    ) -> None:
        binaries, app = environment.absolute() / "bin", app.absolute()
        if host not in LOOPBACK and not password:
            raise InputError(
                f"host {host}: everyone who reaches it could read the images and change labels and "
                "weights; set LABEL_USER and LABEL_PASSWORD, or leave out --host."
            )
        if password and (not user or ":" in user or len(password) < SHORTEST):
            raise InputError(
                f"LABEL_USER and LABEL_PASSWORD: give a user without a colon, and a password of "
                f"{SHORTEST} characters or more."
            )
        for each in origins:
            if not re.fullmatch(r"https?://[\w.-]+(:\d+)?", each):
                raise InputError(f"origin {each}: give scheme and host, such as https://a.org")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise InputError(f"{host}:{port}: {error.strerror}; give another --port.") from None
        self.log, self.folder = log, app
        near = host.replace("0.0.0.0", LOOPBACK[0]) if host != "::" else LOOPBACK[2]
        self.url = f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"
        self.command = [
            *(str(binaries / "python"), "-m", "monailabel.main", "start_server"),
            *("--app", str(app), "--studies", studies),
            *("--conf", "models", ",".join(models)),
            *("--host", host, "--port", str(port), "--uvicorn_app", "lib.web:app"),
        ]
        own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        endings = [f"*{each}" for name in ENDINGS for each in (name, name.upper())]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        self.environ = {
            # Images of patients; by default they go into the user's home.
            "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(app / "dicom"),
            "MONAI_LABEL_SESSION_PATH": str(app / "sessions"),
            # By default a new series or label is seen after two hours.
            "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": "10",
            "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(endings),
            "MLFLOW_TRACKING_URI": f"sqlite:///{app / 'mlflow.db'}",
            # With one thread per core, another job on one of them stalls all the others.
            "OMP_NUM_THREADS": str(max(1, cores // 2)),
            "OMP_WAIT_POLICY": "passive",
            **{name: value for name, value in os.environ.items() if name not in own},
            # It calls dcmqi, which is in the environment, for DICOM segmentations.
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "LABEL_USER": user,
            "LABEL_PASSWORD": password,
            "LABEL_ORIGINS": " ".join(origins),
            "LABEL_ANY_HOST": "" if host in LOOPBACK else "1",
            WATCH: "1",
        }

    def __enter__(self) -> LabelServer:
        with self.log.open("ab") as log:
            # In a session of its own, so that the trainings that it started end with it.
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.PIPE,  # its end tells the server that this process is gone
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

    def wait(self) -> None:
        """Wait until the server answers."""
        end = time.monotonic() + READY
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/auth/", timeout=READY).close()
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        printed = self.log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise InputError(f"MONAI Label does not answer ({printed[-1][:300]}); see {self.log}.")

    def stop(self) -> None:
        """Stop the server and what it started."""
        if self.process.stdin:
            self.process.stdin.close()
        for each in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.process.pid, each)
                self.process.wait(10)
