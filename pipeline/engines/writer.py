"""Write the files of a training while it goes on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, one_line
from ..files import replacing


class Writer:
    """A thread that writes files from a copy of what they hold.

    Files are written one after another. Python ends when the last one is whole.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.writing: Future[None] | None = None

    def write(self, contents: Mapping[Path, Any], *, wait: bool = False) -> None:
        """Copy the contents and write them, in their order, after those of the last call.

        Args:
            contents: dictionaries and lists with tensors, by file.
            wait: until they are written.

        Raises:
            InputError: a file of the last call, or with ``wait`` of this one, cannot be written.
        """
        self.finish()
        copied = to_host(contents)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # the copies are on their way
        self.writing = self.thread.submit(write_all, copied)
        if wait:
            self.finish()

    def finish(self) -> None:
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()


def write_all(contents: Mapping[Path, Any]) -> None:
    for path, content in contents.items():
        write_checkpoint(path, content)


def write_checkpoint(path: Path, content: Any) -> None:
    """``torch.save``, by which ``path`` is the old file or the new one at any moment.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with replacing(path, sync=True, alone=True) as temporary, temporary.open("wb") as file:
            torch.save(content, file)  # a path would hide the cause of a failed write
    except (OSError, RuntimeError) as error:  # torch raises this on a full disk
        raise InputError(
            f"{path}: it cannot be written ({one_line(error)}); make room, and resume with "
            "--resume True."
        ) from error


def to_host(value: Any) -> Any:
    """Copy every tensor inside of dictionaries and sequences to the host, from a GPU unwaited."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", non_blocking=True, copy=True)
    if isinstance(value, dict):
        new = copy.copy(value)  # a state dictionary has metadata
        new.update({key: to_host(each) for key, each in value.items()})
        return new
    if isinstance(value, list | tuple):
        return type(value)(map(to_host, value))
    return value
