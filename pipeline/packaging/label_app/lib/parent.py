"""End the server with all that it started, when the command that started it is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

WATCH = "LABEL_ENDS_WITH_STDIN"  # set by `package serve`, whose end closes the pipe, even by -9
PATIENCE = 5  # s


def watch_parent() -> None:
    """Wait in a thread for the end of the standard input, then end this group of processes."""
    if os.environ.pop(WATCH, ""):  # not for the trainings, which inherit the input too
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.killpg(os.getpgid(0), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(os.getpgid(0), signal.SIGKILL)
