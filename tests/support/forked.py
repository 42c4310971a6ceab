"""Python processes that need not load the libraries first.

A command line of the project loads PyTorch, MONAI and MLflow for eight seconds, and works for one.
`python` gives the path of an interpreter that asks a server, which has them, to fork for each
``-m MODULE ...``; the process has its own folder, environment and streams, and ends as any other.
Where a fresh interpreter is the point, or its number, start one.
"""

from __future__ import annotations

import atexit
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SERVER = """
import json, os, runpy, select, signal, socket, sys
import ignite.handlers, matplotlib.figure, mlflow, monai.bundle, monai.engines, pipeline.cli

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
keepers = set()
while True:
    if sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
        os._exit(0)  # who started it has ended
    client, _ = listener.accept()
    keepers = {each for each in keepers if not os.waitpid(each, os.WNOHANG)[0]}
    if not (number := os.fork()):
        break
    keepers.add(number)
    client.close()
listener.close()
_, streams, _, _ = socket.recv_fds(client, 1, 3)
task = json.loads(client.makefile().readline())
if number := os.fork():
    client.sendall(b"%d\\n" % number)
    if client in select.select([client, os.pidfd_open(number)], [], [])[0]:
        os.kill(number, signal.SIGKILL)  # as its client was
    client.sendall(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
    os._exit(0)
for number, stream in enumerate(streams):
    os.dup2(stream, number)
    os.close(stream)
client.close()
os.chdir(task["cwd"])
os.environ.clear()
os.environ.update(task["env"])
sys.argv, sys.path[0] = task["argv"], task["cwd"]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@cache
def python() -> str:
    """The path of an interpreter for ``-m MODULE ...``."""
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    address, program = (Path(folder.name, name) for name in ("socket", "python"))
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, address],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(folder.cleanup)
    atexit.register(server.stdin.close)  # which ends it
    client = shlex.join([sys.executable, "-I", "-S", __file__, str(address)])
    program.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
    program.chmod(0o755)
    assert server.stdout.readline() == b"ready\n"
    return str(program)


def run_module(
    *argv: object, cwd: Path, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess:
    """``python -m`` of a module and its arguments; see ``subprocess.run``."""
    done = subprocess.run(
        [python(), "-m", *map(str, argv)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **(env or {})},
        capture_output=True,
        text=True,
    )
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def ask(address: str, words: list[str]) -> int:
    """Have the server run a command with the streams of this process; its exit status."""
    argv = words[words.index("-m") + 1 :]
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [b" "], [0, 1, 2])
        task = {"argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}
        server.sendall(json.dumps(task).encode() + b"\n")
        answers = server.makefile()
        number = int(answers.readline())
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, lambda given, frame: os.kill(number, given))
        return int(answers.readline())


if __name__ == "__main__":
    status = ask(sys.argv[1], sys.argv[2:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
