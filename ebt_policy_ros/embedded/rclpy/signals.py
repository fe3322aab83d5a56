"""SIGINT and SIGTERM end every context: SIGINT also raises KeyboardInterrupt, SIGTERM does not."""

from __future__ import annotations

import os
import signal
import threading
from enum import IntEnum
from types import FrameType
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr


class SignalHandlerOptions(IntEnum):
    """Which handlers are installed."""

    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


class _Installed:
    def __init__(self) -> None:
        self.previous: dict[int, Any] = {}
        self.options = SignalHandlerOptions.NO
        self.wakeup: int | None = None
        self.old_wakeup = -1


_installed = _Installed()


def _on_signal(number: int, frame: FrameType | None) -> None:
    from .context import _shutdown_all

    previous = _installed.previous.get(number)
    _shutdown_all()
    if callable(previous):
        previous(number, frame)


def _watch(descriptor: int) -> None:
    """Runs in a thread: the main thread may be deep in a wait or in native code when the signal comes."""
    from .context import _shutdown_all

    while received := os.read(descriptor, 64):
        if any(number in _installed.previous for number in received):
            _shutdown_all()


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Replaces the handlers chosen by `options`; outside the main thread it does nothing (Python cannot)."""
    if threading.current_thread() is not threading.main_thread():
        return
    uninstall_signal_handlers()
    _installed.options = SignalHandlerOptions(options)
    for bit, number in ((SignalHandlerOptions.SIGINT, signal.SIGINT), (SignalHandlerOptions.SIGTERM, signal.SIGTERM)):
        if options & bit:
            _installed.previous[number] = signal.signal(number, _on_signal)
    if _installed.previous and _installed.wakeup is None:
        reading, _installed.wakeup = os.pipe()
        os.set_blocking(_installed.wakeup, False)
        threading.Thread(target=_watch, args=(reading,), name="ros_signals", daemon=True).start()
    if _installed.previous and _installed.wakeup is not None:
        _installed.old_wakeup = signal.set_wakeup_fd(_installed.wakeup, warn_on_full_buffer=False)


def uninstall_signal_handlers() -> None:
    """Puts back the handlers that were there before."""
    if not _installed.previous or threading.current_thread() is not threading.main_thread():
        return
    for number, previous in _installed.previous.items():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
    _installed.previous.clear()
    _installed.options = SignalHandlerOptions.NO
    signal.set_wakeup_fd(_installed.old_wakeup)


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    return _installed.options


__getattr__ = module_getattr(__name__)
