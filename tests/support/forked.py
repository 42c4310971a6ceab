"""Commands as a user gives them, in processes that need not load the libraries first.

A command line of the project loads PyTorch, MONAI and MLflow for eight seconds, and works for one.
Here one process loads them and forks for each command, which has its own folder, environment,
output and exit status, and ends as any other. Where a fresh interpreter is the point, start one.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SERVER = """
import json, os, runpy, sys
import ignite.handlers, matplotlib.figure, mlflow, monai.bundle, monai.engines, pipeline.cli

for line in sys.stdin:
    task = json.loads(line)
    if not os.fork():
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
else:
    sys.exit()
os.chdir(task["cwd"])
os.environ.clear()
os.environ.update(task["env"])
for number, path in enumerate((os.devnull, *task["outputs"])):
    os.dup2(os.open(path, os.O_RDWR), number)
sys.argv, sys.path[0] = task["argv"], task["cwd"]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@cache
def server() -> subprocess.Popen:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-c", SERVER], subprocess.PIPE
    process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)
    atexit.register(process.stdin.close)  # which ends it
    return process


def run_module(
    *argv: object, cwd: Path, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess:
    """``python -m`` of a module and its arguments; see ``subprocess.run``."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **(env or {})}
    command = list(map(str, argv))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("out", "err")]
        for path in outputs:
            path.touch()
        task = {"argv": command, "cwd": str(cwd), "env": env, "outputs": list(map(str, outputs))}
        print(json.dumps(task), file=server().stdin, flush=True)
        status = int(server().stdout.readline())
        out, err = (path.read_text() for path in outputs)
    if check:
        assert status == 0, out[-3000:] + err[-3000:]
    return subprocess.CompletedProcess(command, status, out, err)
