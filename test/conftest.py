"""What holds for every test."""

import signal

# A shell that runs the tests in the background makes them, and all that they start, ignore Ctrl-C; tests of Ctrl-C
# mean programs that somebody started in the foreground.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
