"""What holds for all tests."""

import signal

# Started in the background, a shell's commands ignore these, and so would every process that the
# tests start and stop.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
