"""`python -m MODULE` in a process forked from one that has its imports done, which take seconds."""

from __future__ import annotations

import atexit
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["preloaded"])


def fork(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that calls a function."""
    # The server of Python 3.11 does not know the test's path.
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def run_module(
    *command: object, cwd: Path, env: Mapping[str, str], processes: int = 1
) -> subprocess.CompletedProcess:
    """Run a module to its end.

    Args:
        command: the name of the module and its arguments.
        cwd: the working folder.
        env: the whole environment.
        processes: how many run it together, each with what torchrun would tell it.

    Returns:
        the exit status and what was said, as of a process that Python started; of several
        processes the highest status, and all that they said.
    """
    words = list(map(str, command))
    with TemporaryDirectory() as folder, socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port.getsockname()[1])}
        port.close()
        group |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
        said = [
            [Path(folder, f"{name}{rank}") for name in ("out", "err")] for rank in range(processes)
        ]
        started = []
        for rank, files in enumerate(said):
            own = group | dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)) if processes > 1 else {}
            started.append(fork(_run, words, str(cwd), {**env, **own}, files))
        for process in started:
            process.join()
        out, err = (
            "".join(path.read_text() for path in files) for files in zip(*said, strict=True)
        )
    return subprocess.CompletedProcess(words, max(each.exitcode for each in started), out, err)


def _run(words: list[str], cwd: str, env: dict[str, str], said: list[Path]) -> None:
    for path, stream in zip(said, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv, sys.path[0] = words, cwd
    status = 0
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    # What Python does at its end, and multiprocessing does not.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
