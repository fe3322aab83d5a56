"""The demo's hands on the simulator, all by topic (services do not cross every pair of DDS vendors)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Int64, String

from ebt_policy_ros.cli.demo_monitor import NoAnswerError, wait_until
from ebt_policy_ros.messages.stamps import read_stamp_ns
from ebt_policy_ros.messages.status import read_values

SIM = "/sim_node"
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class SimEpisode:
    """``~/episode`` of sim_node."""

    number: int
    """Counts resets."""
    seed: int
    perturbed_ns: int | None
    """When the scene was disturbed [ns, ROS time]."""
    num_rejected: int
    """Trajectories that the simulated controller has refused since the node's start."""
    last_rejection: str


class SimControl:
    """Begins episodes and disturbs them; knows what sim_node says about the running one."""

    def __init__(self, node: Node, alive: Callable[[], None]) -> None:
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._alive = alive
        self._new_episode = node.create_publisher(Int64, f"{SIM}/new_episode", reliable)
        self._perturb = node.create_publisher(String, f"{SIM}/perturb", reliable)
        node.create_subscription(DiagnosticArray, f"{SIM}/episode", self._on_episode, reliable)
        self.latest: SimEpisode | None = None

    @property
    def is_connected(self) -> bool:
        """Whether sim_node talks, and hears what is published here."""
        publishers = (self._new_episode, self._perturb)
        return self.latest is not None and all(publisher.get_subscription_count() > 0 for publisher in publishers)

    def reset(self, seed: int) -> None:
        """A new episode from ``seed``; returns when it has begun. NoAnswerError when it does not."""
        before = self.latest.number if self.latest is not None else 0
        self._new_episode.publish(Int64(data=seed))
        if not wait_until(lambda: self._has_begun(before, seed), ANSWER_S, self._alive):
            raise NoAnswerError(f"sim_node did not begin an episode with seed {seed} within {ANSWER_S:g} s")

    def perturb(self, what: str) -> None:
        """Asks for a disturbance of the running episode, such as ``teleport@reaching``."""
        self._perturb.publish(String(data=what))

    def _has_begun(self, before: int, seed: int) -> bool:
        latest = self.latest
        return latest is not None and latest.number > before and latest.seed == seed

    def _on_episode(self, message: Any) -> None:
        values = read_values(message)
        perturbed_ns = None
        if values.get("perturbed_s"):
            began_ns = read_stamp_ns(message) - round(float(values["elapsed_s"]) * 1e9)
            perturbed_ns = began_ns + round(float(values["perturbed_s"]) * 1e9)
        self.latest = SimEpisode(
            number=int(values.get("episode", "0")),
            seed=int(values.get("seed", "-1")),
            perturbed_ns=perturbed_ns,
            num_rejected=int(values.get("trajectories_rejected", "0")),
            last_rejection=values.get("last_rejection", ""),
        )
