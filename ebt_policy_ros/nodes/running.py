"""Running a node as a process: own signal handlers, a spin that always ends, an exit status that means something."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import rclpy
import rclpy.logging
from rclpy.exceptions import ParameterException
from rclpy.signals import SignalHandlerOptions

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.nodes.memory import keep_freed_memory

BAD_INPUT = 2
"""Exit status for a wrong parameter, bundle or robot file."""


def run(make_node: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """Initialises ROS, runs the node until SIGINT or SIGTERM and takes everything down; returns the exit status.

    ``make_node`` gives a node with ``prepare() -> bool`` (slow, False on bad input; a signal ends it at once, since
    nothing was commanded yet) and ``run_until(stop: threading.Event) -> int``, which returns soon after the event.

    The signals are handled here, not by rclpy: its SIGTERM handling was seen to leave a spinning process behind, and
    the last thing an arm needs to hear (hold) can only be sent while the context is still alive.
    """
    stop = threading.Event()
    keep_freed_memory()
    # The model's thread computes in C, a call at a time, and after each waits until the executor's thread gives Python
    # up: for up to 5 ms unless told otherwise.
    sys.setswitchinterval(5e-4)

    is_prepared = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        if not is_prepared:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    node = None
    try:
        rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        if not node.prepare():
            return BAD_INPUT
        is_prepared = True
        return int(node.run_until(stop))
    except KeyboardInterrupt:
        return 0
    except (EbtPolicyError, ParameterException) as error:
        rclpy.logging.get_logger("ebt_policy_ros").fatal(str(error))
        return BAD_INPUT
    finally:
        is_prepared = True  # a second signal does not interrupt the way down
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_and_exit(make_node: Callable[[], Any], args: Sequence[str] | None = None) -> NoReturn:
    """``run`` as the last thing of a process.

    It ends without the interpreter's finalisation: middleware threads and GPU contexts were seen to hang there after
    SIGTERM, and everything that matters has been closed by then.
    """
    try:
        status = run(make_node, args)
    except BaseException:
        logging.getLogger(__name__).exception("the node ended with an error")
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
