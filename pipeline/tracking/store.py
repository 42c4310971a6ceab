"""MLflow stores: their experiments, and SQLite's peculiarities."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def store_uri(tracking_uri: str | None, *, offline: bool = False) -> str:
    """The store that is meant: the one named, MLflow's own choice, or one on this machine."""
    import mlflow

    if offline:
        return f"sqlite:///{Path('mlflow.db').resolve()}"
    return tracking_uri or mlflow.get_tracking_uri()


def limit_waiting() -> None:
    """One more try and 10 s a request, since MLflow's own patience is minutes long."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def experiment_id(client: Any, name: str) -> str:
    """The id of an experiment, which is made when there is none.

    A new experiment of a SQLite store keeps its artifacts beside the database: MLflow itself would
    put them into the working directory.

    Raises:
        ValueError: when the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        folder = sqlite_folder(client.tracking_uri)
        location = folder and (folder / "mlruns").as_uri()
        # Opens MLflow's pages for trainings, not those for language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return client.create_experiment(name, artifact_location=location, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process was faster
    if experiment.lifecycle_stage != "active":
        raise ValueError(f"the experiment {name!r} is deleted; restore it or give another name")
    return experiment.experiment_id


def sqlite_folder(tracking_uri: str) -> Path | None:
    """The folder of a SQLite store; None for any other store."""
    found = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", tracking_uri)
    return Path(found[1]).resolve().parent if found else None


def from_anywhere(tracking_uri: str) -> str:
    """The URI, that of a SQLite store also for another working directory."""
    found = re.fullmatch(r"sqlite:///([^/?][^?]*)(\?.*)?", tracking_uri)
    return f"sqlite:///{Path(found[1]).resolve()}{found[2] or ''}" if found else tracking_uri


@contextmanager
def one_process_at_a_time(tracking_uri: str) -> Iterator[None]:
    """Let only one process make a SQLite store or an experiment in it: MLflow fails if two do."""
    folder = sqlite_folder(tracking_uri)
    if folder is None:
        yield
        return
    from filelock import FileLock  # comes with torch

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "mlflow.db.lock", timeout=120):
        yield


def without_password(uri: str) -> str:
    """A URI, or a text with some in it, as it may be shown and stored."""
    uri = re.sub(r"""//[^\s"',@]+@""", "//***@", uri)
    return re.sub(r"""(?i)([?&]password=)[^\s"',&]+""", r"\1***", uri)


def without_passwords(options: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle's options as others may read them."""
    uri = options.get("tracking_uri")
    return {**options, "tracking_uri": without_password(str(uri))} if uri else dict(options)
