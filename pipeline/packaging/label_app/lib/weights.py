"""Weights that retrainings replaced: kept once, brought back by one command, pruned by a rule.

A model's folder holds ``models/model.pt``, which is served; ``weights/0001.pt`` and so on, those
that the first, second ... retraining replaced; and ``weights/history.json``, which says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import IO, Any

SERVED = "models/model.pt"
FOLDER = "weights"
HISTORY = "history.json"
PENDING = "pending.pt"  # a copy that a running training may replace
_held: dict[Path, IO[str]] = {}  # locks of this process, by the model's folder
NEWEST = 3  # retrainings that are kept, besides the weights of the package


def digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_history(model: Path) -> list[dict[str, Any]]:
    """The retrainings that replaced weights, oldest first.

    Returns:
        for each: ``time``; ``before``, the file with the weights before it; ``sha256`` of those
        after it; ``cases`` of training and validation.
    """
    path = model / FOLDER / HISTORY
    return json.loads(path.read_text()) if path.is_file() else []


def write_history(model: Path, history: list[dict[str, Any]]) -> None:
    temporary = model / FOLDER / f".{HISTORY}"
    temporary.write_text(json.dumps(history, indent=2) + "\n")
    temporary.replace(model / FOLDER / HISTORY)


def lock(model: Path) -> IO[str]:
    """Keep others from changing the weights, until the file that comes back is closed.

    Raises:
        ValueError: another process holds the lock, which ends with it.
    """
    import fcntl  # not on Windows, where MONAI Label's environment is not made

    (model / FOLDER).mkdir(exist_ok=True)
    file = (model / FOLDER / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ValueError(f"{model}: a training of it runs; wait for its end or stop it") from None
    return file


def begin(model: Path, cases: dict[str, int]) -> None:
    """Keep the weights before a training, which may replace them, until `settle`.

    Raises:
        ValueError: another training of the model runs.
    """
    settle(model)
    _held[model] = lock(model)
    folder = model / FOLDER
    (folder / "cases.json").write_text(json.dumps(cases))
    copy_over(model / SERVED, folder / PENDING)


def settle(model: Path) -> str:
    """Record what a training did to the weights, also one that was killed.

    Returns:
        a line that says what is served now; empty if no training ran.

    Raises:
        ValueError: a training runs in another process.
    """
    folder, pending = model / FOLDER, model / FOLDER / PENDING
    if not pending.is_file():
        return ""
    with _held.pop(model, None) or lock(model):
        if digest(pending) == digest(model / SERVED):
            pending.unlink()
            return f"{model / SERVED} stays: no epoch scored more than the weights before"
        history = read_history(model)
        number = 1 + max((int(path.stem) for path in folder.glob("[0-9]*.pt")), default=0)
        before = folder / f"{number:04d}.pt"
        cases = json.loads((folder / "cases.json").read_text())
        entry = {"time": time.strftime("%Y-%m-%d %H:%M:%S"), "before": before.name, "cases": cases}
        pending.rename(before)
        write_history(model, [*history, {**entry, "sha256": digest(model / SERVED)}])
        prune(model)
    return f"{model / SERVED} is new; `package restore {model.name}` brings the old one back"


def prune(model: Path) -> None:
    """Delete old retrainings, but not the weights of the package and of the newest `NEWEST`."""
    history = read_history(model)
    keep = {entry["before"] for entry in [*history[:1], *history[-NEWEST:]]}
    for path in (model / FOLDER).glob("[0-9]*.pt"):
        if path.name not in keep:
            path.unlink()
    runs = [path for path in (model / "runs").glob("*") if path.is_dir()]
    for path in sorted(runs, key=lambda path: path.stat().st_mtime)[:-NEWEST]:
        shutil.rmtree(path)


def restore(model: Path) -> str:
    """Bring back the weights before the last retraining; again, those before the one before it.

    Returns:
        a line that says what is served now.

    Raises:
        ValueError: no retraining replaced the weights, or a training runs.
    """
    settle(model)
    history = read_history(model)
    found = [entry for entry in history if (model / FOLDER / entry["before"]).is_file()]
    if not found:
        raise ValueError(f"{model}: no retraining replaced its weights; there is nothing to undo")
    last = found[-1]
    before = model / FOLDER / last["before"]
    copy_over(before, model / SERVED)
    write_history(model, history[: history.index(last)])
    before.unlink()
    return f"{model / SERVED}: the weights are those before the retraining of {last['time']}"


def copy_over(source: Path, target: Path) -> None:
    """Copy a file; a reader finds the old one or the new one."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
