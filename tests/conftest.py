"""What holds for all tests."""

import os
import signal
import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("busy", deadline=None)  # a first example may import a library
settings.load_profile("busy")

sys.path.insert(0, str(Path(__file__).parent / "support"))  # what several tests share

# Started in the background, a shell's commands ignore these, and so would every process that the
# tests start and stop.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# What a report's page shows volumes in is given, so that no test waits for a server.
os.environ["NIIVUE"] = str(Path(__file__).parent / "support" / "browser.py")
