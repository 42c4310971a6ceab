"""The command line of MONAI's bundles, as a user has it."""

import os
import subprocess

import pytest
from forked import run_module


@pytest.fixture(scope="session")
def run_bundle():
    """`monai.bundle run` of configs in a folder; gives the finished process."""

    def run(folder, configs, *, cwd, launcher=(), check=True, **ids):
        files = [str(folder / name) for name in configs]
        command = ["monai.bundle", "run", "--config_file", str(files)]
        for name, value in ids.items():
            command += [f"--{name}", str(value)]
        if not launcher:
            return run_module(*command, cwd=cwd, env={"MLFLOW_TRACKING_URI": ""}, check=check)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
        command = [*launcher, *command]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        if check:
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    return run
