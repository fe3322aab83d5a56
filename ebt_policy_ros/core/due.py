"""When the next round of planning is wanted, and what a plan that is due still waits for."""

from __future__ import annotations

from ebt_policy_ros.core.observe import Lack, ObservationBuffer
from ebt_policy_ros.core.settings import PipelineSettings
from ebt_policy_ros.core.types import Instant

Lacking = tuple[Lack, tuple[str, ...]]
"""A kind of trouble with the input, and its sources."""


class Due:
    """The times at which the running plan is looked at again and replaced. Not thread-safe: the pipeline's lock guards
    it."""

    def __init__(self, settings: PipelineSettings) -> None:
        looks = settings.schedule.look_steps or settings.horizon + 1  # longer than any chunk where none is wanted
        self._period_ns, self._look_ns = settings.period_ns, looks * settings.period_ns
        self._ahead_ns = round(settings.minimise.encode_ahead_s * 1e9)
        self._wait_ns = round(settings.observe.wait_for_camera_s * 1e9)
        self.forget()

    def forget(self) -> None:
        """Nothing was planned: the next observation is wanted."""
        self.lacking: Lacking | None = None
        """What the last round said the input lacks."""
        self._next_ns: int | None = None  # None: as soon as there is a new observation
        self._used_up_ns: int | None = None  # when the running plan is to be replaced; before that, it is looked at
        self._planned_stamp_ns: int | None = None
        self._waiting_ns: int | None = None  # steady time since when a plan that is due waits for a picture

    def planned(self, stamp_ns: int | None, lacking: Lacking | None) -> None:
        """A round was made, from the observation of ``stamp_ns``; when the next one is wanted is said after it."""
        self._planned_stamp_ns, self.lacking, self._waiting_ns = stamp_ns, lacking, None

    def at_once(self) -> None:
        """The next observation is wanted."""
        self._next_ns = self._used_up_ns = None

    def at(self, time_ns: int) -> None:
        """The next round is wanted at ``time_ns`` [ns, ROS time]."""
        self._next_ns, self._used_up_ns = time_ns, None

    def after(self, stamp_ns: int, rows: int) -> None:
        """The plan made at ``stamp_ns`` is used up after so many rows, and may be looked at before."""
        self._used_up_ns = stamp_ns + rows * self._period_ns
        self._next_ns = min(self._used_up_ns, stamp_ns + self._look_ns)

    def look_again(self, stamp_ns: int) -> bool:
        """The running plan goes on after a look at ``stamp_ns``; False when none is running."""
        if self._used_up_ns is None:
            return False
        self._next_ns = min(self._used_up_ns, stamp_ns + self._look_ns)
        return True

    def is_look(self, now: Instant) -> bool:
        """Whether a round of now would only look at the running plan."""
        return self._used_up_ns is not None and now.ros_ns < self._used_up_ns

    def may_be(self, now: Instant) -> bool:
        """Whether a round is wanted as soon as there is a new observation."""
        return self._next_ns is None or now.ros_ns >= self._next_ns

    def is_soon(self, now: Instant) -> bool:
        """Whether pictures of now are worth encoding before a plan asks for them."""
        return self._ahead_ns > 0 and (self._next_ns is None or self._next_ns - now.ros_ns <= self._ahead_ns)

    def is_now(self, stamp_ns: int, now: Instant) -> bool:
        """Whether a round is wanted from the observation of ``stamp_ns``: it is new, and the time has come."""
        is_new = self._planned_stamp_ns is None or stamp_ns > self._planned_stamp_ns
        return is_new and self.may_be(now)

    def waits(self, now: Instant, buffer: ObservationBuffer) -> bool:
        """Whether the time has come, but another camera's picture of this moment is worth waiting for."""
        if not self.may_be(now) or not buffer.awaits_picture(now):
            return False
        if self._waiting_ns is None:
            self._waiting_ns = now.steady_ns
        return now.steady_ns - self._waiting_ns < self._wait_ns

    @property
    def waits_for_camera(self) -> bool:
        """Whether a plan is due and waits for one more picture."""
        return self._waiting_ns is not None
