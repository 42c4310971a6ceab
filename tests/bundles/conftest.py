"""The command line of MONAI's bundles, as a user has it."""

import pytest
from forked import python, run_module


@pytest.fixture(scope="session")
def run_bundle():
    """`monai.bundle run` of configs in a folder; gives the finished process."""

    def run(folder, configs, *, cwd, launcher=(), check=True, **ids):
        files = [str(folder / name) for name in configs]
        command = [*launcher, "monai.bundle", "run", "--config_file", str(files)]
        for name, value in ids.items():
            command += [f"--{name}", str(value)]
        env = {"MLFLOW_TRACKING_URI": "", "PYTHON_EXEC": python()}
        return run_module(*command, cwd=cwd, env=env, check=check)

    return run
