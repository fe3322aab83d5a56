"""The simulated arm's FollowJointTrajectory action: the other door to its controller, as a real one has it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ANSWER_S = 10.0
"""How long a goal waits for the simulation to look at it [s]."""


@dataclass(frozen=True, slots=True)
class Following:
    """A trajectory that the simulated controller has accepted."""

    number: int
    """How many it had accepted by then."""
    end_ns: int
    """When it ends [ns, ROS time]."""


class SimAction:
    """Hands goals to the simulation's thread, and answers when their trajectory has ended or was replaced."""

    def __init__(
        self, node: Any, ask: Callable[[Callable[[], Any], float], Any], follow: Callable[[Any], Following | None]
    ) -> None:
        """``ask`` has a call made on the simulation's thread and waits for its result, so long at most; ``follow``
        (there) takes a trajectory message, or not. ImportError without control_msgs."""
        from control_msgs.action import FollowJointTrajectory
        from rclpy.action import ActionServer

        self._type = FollowJointTrajectory
        self._ask, self._follow = ask, follow
        self._accepted: deque[Following] = deque()
        self._waiting: list[tuple[Following, Any]] = []  # with the future of what became of it
        self._lock = threading.Lock()
        ActionServer(node, FollowJointTrajectory, "follow_joint_trajectory", self._execute, goal_callback=self._on_goal)

    def _on_goal(self, goal: Any) -> Any:
        from rclpy.action import GoalResponse

        try:
            following: Following | None = self._ask(lambda: self._follow(goal.trajectory), _ANSWER_S)
        except TimeoutError:
            following = None
        if following is None:
            return GoalResponse.REJECT
        self._accepted.append(following)
        return GoalResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:
        from rclpy.task import Future

        ended = Future()
        with self._lock:
            self._waiting.append((self._accepted.popleft(), ended))
        if await ended:
            handle.succeed()
            return self._type.Result(error_code=self._type.Result.SUCCESSFUL)
        handle.abort()
        return self._type.Result(
            error_code=self._type.Result.INVALID_GOAL, error_string="another trajectory, or a reset, took its place"
        )

    def look(self, num_accepted: int, now_ns: int) -> None:
        """Ends the goals whose trajectories have ended by now or were replaced; on the simulation's thread.
        ``num_accepted``: how many trajectories the controller has accepted, 0 when it runs none."""
        with self._lock:
            over = [one for one in self._waiting if one[0].number != num_accepted or now_ns >= one[0].end_ns]
            self._waiting = [one for one in self._waiting if one not in over]
        for following, ended in over:
            ended.set_result(following.number == num_accepted)
