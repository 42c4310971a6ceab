"""The command line of MONAI's bundles, as a user has it."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def run_bundle():
    """`monai.bundle run` of configs in a folder; gives the finished process."""

    def run(folder, configs, *, cwd, launcher=(sys.executable, "-m"), check=True, **ids):
        files = [str(folder / name) for name in configs]
        command = [*launcher, "monai.bundle", "run", "--config_file", str(files)]
        for name, value in ids.items():
            command += [f"--{name}", str(value)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        if check:
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    return run
