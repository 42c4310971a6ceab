"""Connect to MLflow stores, find their experiments, and hide their passwords."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import InputError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient


def store_uri(tracking_uri: str | None, *, offline: bool = False) -> str:
    """Choose a store to write to: the given one, or MLflow's default; offline, one in this folder.

    Raises:
        InputError: it is a SQLite store that cannot be opened.
    """
    import mlflow

    if offline:
        tracking_uri = f"sqlite:///{Path('mlflow.db').resolve()}"
    uri = tracking_uri or mlflow.get_tracking_uri()
    check_sqlite(uri)
    return uri


def check_store(tracking_uri: str, *, offline: bool, enabled: bool) -> None:
    """Refuse a store that cannot be opened, before a training caches its cases.

    A server may come while it does that.

    Raises:
        InputError: it is a SQLite store that cannot be opened.
    """
    if enabled:
        store_uri(tracking_uri, offline=offline)


def check_sqlite(uri: str, *, write: bool = True) -> None:
    """Refuse a SQLite store that cannot be opened: MLflow tries that again for many minutes.

    Args:
        uri: of any store; one that is not SQLite's is not checked.
        write: whether it has to take something. MLflow makes a file that does not exist.

    Raises:
        InputError: names the file and the cause.
    """
    if not uri.startswith("sqlite:"):
        return
    fix = "give another tracking URI, such as sqlite:////data/mlflow.db"
    path = sqlite_file(uri)
    if path is None:
        raise InputError(f"tracking_uri {uri}: it names no file; {fix}.")
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=path.parent):  # SQLite writes a journal beside the file
                pass
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if not path.exists():
            return
        if write and not os.access(path, os.W_OK):
            raise PermissionError("it is read-only")
        address = f"file:{quote(str(path.resolve()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=10)) as store:
            store.execute("SELECT count(*) FROM sqlite_master")
    except (OSError, sqlite3.Error) as error:
        cause = getattr(error, "strerror", None) or one_line(error)
        if "locked" in cause:
            fix = f"end the program that holds it, or {fix}"
        elif type(error) is sqlite3.DatabaseError:
            fix = f"restore the file or move it away, or {fix}"
        raise InputError(f"tracking_uri {uri}: {path} cannot be opened ({cause}); {fix}.") from None


def connect(tracking_uri: str | None = None) -> MlflowClient:
    """Connect to an MLflow store that exists; MLflow itself would create an empty one.

    Args:
        tracking_uri: of the store; None or empty for ``MLFLOW_TRACKING_URI`` or else MLflow's
            default.

    Raises:
        InputError: the store does not exist or does not answer. No password is shown.
    """
    import mlflow

    limit_waiting(30)
    uri = tracking_uri or mlflow.get_tracking_uri()
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise InputError(f"tracking_uri {uri}: {file} does not exist; give --tracking-uri.")
    check_sqlite(uri, write=False)
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # a database's driver raises about anything
        reason = without_password(f"{uri}: {one_line(error, None)}")
        raise InputError(f"tracking_uri {reason[:300]}; give --tracking-uri.") from None
    return client


def limit_waiting(seconds: int = 10) -> None:
    """Limit MLflow to two tries of so many seconds each: its default is minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(seconds))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def experiment_id(client: Any, name: str) -> str:
    """Get the id of an experiment, and create the experiment if there is none.

    A new experiment of a SQLite store keeps its artifacts beside the database; MLflow itself would
    put them into the working directory.

    Raises:
        ValueError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        folder = sqlite_folder(client.tracking_uri)
        location = folder and (folder / "mlruns").as_uri()
        # Opens MLflow's pages for trainings instead of those for language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return client.create_experiment(name, artifact_location=location, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process was faster
    if experiment.lifecycle_stage != "active":
        raise ValueError(f"experiment {name!r}: it is deleted; restore it, or give another name.")
    return experiment.experiment_id


def sqlite_folder(tracking_uri: str) -> Path | None:
    """Find the folder of a SQLite store; None for any other store."""
    path = sqlite_file(tracking_uri)
    return path.resolve().parent if path else None


def sqlite_file(uri: str) -> Path | None:
    """Find the file of a SQLite store; None for any other store."""
    found = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(found[1]) if found and found[1] != ":memory:" else None


def make_absolute(tracking_uri: str) -> str:
    """Make the URI of a SQLite store fit any working directory."""
    found = re.fullmatch(r"sqlite:///([^/?][^?]*)(\?.*)?", tracking_uri)
    return f"sqlite:///{Path(found[1]).resolve()}{found[2] or ''}" if found else tracking_uri


@contextmanager
def one_process_at_a_time(tracking_uri: str) -> Iterator[None]:
    """Let one process at a time create a SQLite store or an experiment: MLflow fails if two do."""
    folder = sqlite_folder(tracking_uri)
    if folder is None:
        yield
        return
    from filelock import FileLock  # comes with torch

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "mlflow.db.lock", timeout=120):
        yield


def without_password(uri: str) -> str:
    """Hide the passwords of a URI, or of a text with URIs in it."""
    uri = re.sub(r"""//[^\s"',@]+@""", "//***@", uri)
    return re.sub(r"""(?i)([?&]password=)[^\s"',&]+""", r"\1***", uri)


def tell_error(error: BaseException, limit: int | None = None) -> str:
    """The message of an error in one line, up to ``limit`` characters, without passwords.

    They are hidden first: of one that is cut, the rest would not be known as a password.
    """
    return one_line(without_password(one_line(error, None)), limit)


def without_passwords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Hide the password in a bundle's options."""
    uri = options.get("tracking_uri")
    return {**options, "tracking_uri": without_password(str(uri))} if uri else dict(options)
