"""The one thread that owns the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ebt_policy_ros.core.pipeline import Cycle, Pipeline
from ebt_policy_ros.core.types import Instant

TICK_S = 0.05
"""Longest wait between two looks at the pipeline [s, steady time]: a silent source is noticed without any input."""
SHORT_TICK_S = 0.005
"""The same while a plan that is due waits for one more picture, which may be lost."""
SETTLE_S = 0.002
"""How long a picture is left alone before it is encoded ahead [s, steady time]: others that were taken with it are on
their way, and would otherwise wait for the interpreter while the encoder is being started."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the flow, and how long its thinking took."""

    cycle: Cycle
    think_s: float = 0.0
    """Wall time of observing and minimising [s]."""
    began_ns: int | None = None
    """When it began [ns, steady time]; None for what no round led to."""
    acted_ns: int | None = None
    """When its command was ready to be sent [ns, steady time]."""
    ahead_ns: tuple[int, int] = (0, 0)
    """From when to when pictures were last encoded ahead of it [ns, steady time]."""


class Worker:
    """Runs think and act on a thread of its own whenever the pipeline wants a plan.

    It waits on the steady clock, never on ROS time: a simulator that died took its /clock along, and the node still has
    to notice. An exception in the pipeline pauses the work and is handed to ``on_fault``.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        now: Callable[[], Instant],
        deliver: Callable[[Round], None],
        on_fault: Callable[[Exception], None],
        *,
        is_dry_run: Callable[[], bool],
    ) -> None:
        self._pipeline = pipeline
        self._now = now
        self._deliver = deliver
        self._on_fault = on_fault
        self._is_dry_run = is_dry_run
        self._wake = threading.Event()
        self._delivery = threading.Lock()
        self._closing = False
        self._working = False
        self._ahead_ns = (0, 0)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_working(self) -> bool:
        """Between ``resume`` and ``pause``, unless a fault ended the work."""
        return self._working

    def wake(self) -> None:
        """New input is there: look now, not at the next tick. Any thread."""
        self._wake.set()

    def resume(self) -> None:
        """Lets the work begin."""
        self._working = True
        self._wake.set()

    def pause(self) -> None:
        """Ends the work: once this returns nothing is delivered any more, whatever is still being thought of."""
        with self._delivery:
            self._working = False

    def between_rounds(self) -> threading.Lock:
        """Held while a round becomes a command: what is done under it never interleaves with a delivery."""
        return self._delivery

    def close(self, timeout_s: float = 10.0) -> None:
        """Ends the thread after the chunk in work."""
        self.pause()
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(SHORT_TICK_S if self._pipeline.waits_for_camera else TICK_S)
            self._wake.clear()
            if not self._working:
                continue
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - the arm must hold whatever went wrong; on_fault logs it
                self._working = False
                self._on_fault(error)

    def _work(self) -> None:
        now = self._now()
        if not self._pipeline.is_due(now):
            if self._wake.wait(SETTLE_S):
                return  # to look again, at once
            ahead_ns = time.monotonic_ns()
            self._pipeline.look_ahead(now)
            self._ahead_ns = ahead_ns, time.monotonic_ns()
            return
        began_ns = time.monotonic_ns()
        plan = self._pipeline.think(now, time.monotonic)
        think_s = (time.monotonic_ns() - began_ns) * 1e-9
        with self._delivery:
            if self._working:
                cycle = self._pipeline.act(plan, self._now(), dry_run=self._is_dry_run())
                self._deliver(Round(cycle, think_s, began_ns, time.monotonic_ns(), self._ahead_ns))
