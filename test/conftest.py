"""What holds for every test."""

import importlib.util
import signal

# A shell that runs the tests in the background makes them, and all that they start, ignore Ctrl-C; tests of Ctrl-C
# mean programs that somebody started in the foreground.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LEARNING, BAGS = ("torch", "safetensors"), ("rosbags",)
NEEDS = {
    "bags": BAGS,
    "cli": (*LEARNING, *BAGS),
    "nodes": LEARNING,
    "policy": LEARNING,
    "runtimes": LEARNING,
    "training": (*LEARNING, *BAGS),
}
"""Folder -> modules from pip, which package.xml cannot ask for: `colcon test` runs without them, too."""


def _missing(modules):
    return [name for name in modules if importlib.util.find_spec(name) is None]


collect_ignore = [folder for folder, modules in NEEDS.items() if _missing(modules)]


def pytest_report_header():
    """Says what is not tested here, and why."""
    modules = sorted({name for folder in collect_ignore for name in _missing(NEEDS[folder])})
    folders = ", ".join(collect_ignore)
    return f"not tested without {', '.join(modules)} (pip install them): {folders}" if collect_ignore else []
