"""Which topics of a bag are cameras, joints, actions and success, and how episodes are cut from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rosbags.interfaces import Connection

from ebt_policy_ros.bags.store import (
    BOOL,
    COMPRESSED_IMAGE,
    DIAGNOSTICS,
    IMAGE,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    MULTI_ARRAY,
)
from ebt_policy_ros.core.errors import DatasetError

ACTION_TYPES = {"joint_trajectory": JOINT_TRAJECTORY, "joint_state": JOINT_STATE, "commands": MULTI_ARRAY}
"""How a topic commands joints -> its message type."""
NEXT_POSITION = "next_position"
_CAMERA = re.compile(r"^/camera/([^/]+)/image_raw(/compressed)?$")


@dataclass(frozen=True, slots=True)
class ActionTopic:
    """Where targets of some or all joints come from."""

    topic: str | None = None
    """None: /joint_trajectory, or the only JointTrajectory topic there is."""
    type: str = "joint_trajectory"
    """``joint_trajectory``: what a joint_trajectory_controller that follows the topic commands at a stamp;
    ``joint_state``: the newest JointState (a leader arm); ``commands``: the newest Float64MultiArray, in the order of
    ``joints``; ``next_position``: no topic, the joints measured one period later."""
    joints: tuple[str, ...] = ()
    """Commanded joints; needed for ``commands``, else those that the first message names."""


@dataclass(frozen=True, slots=True)
class BagTopics:
    """Topics by role; the defaults are the node's own. A picture topic also matches with or without /compressed."""

    cameras: Mapping[str, str] = field(default_factory=dict)
    """Camera -> topic; empty: every /camera/<name>/image_raw."""
    joint_states: str = "/joint_states"
    joint_names: tuple[str, ...] = ()
    """In the order wanted; empty: the joints of the first JointState that are commanded."""
    actions: tuple[ActionTopic, ...] = (ActionTopic(),)
    success: str = "/sim_node/success"
    """std_msgs/Bool; a bag without it says nothing of success."""
    episode: str = "/sim_node/episode"
    """diagnostic_msgs/DiagnosticArray whose key ``episode_key`` changes with every new episode; need not be there."""
    episode_key: str = "episode"


@dataclass(frozen=True, slots=True)
class CutSettings:
    """How rows and episodes are made of streams."""

    period_s: float = 0.05
    """Between rows."""
    max_gap_s: float = 0.3
    """A row is left out where a picture is older, or joint states lie further apart."""
    split_at_gaps: bool = True
    """False: a gap within an episode is an error instead of two episodes."""
    min_rows: int = 10
    """Shorter pieces of an episode that was cut at a gap are left out."""
    only_successes: bool = True
    """Leave out episodes without success, where the bag says anything of it."""
    after_success_s: float = 0.5
    """How much of an episode is kept after its success."""
    max_jump_s: float = 1.0
    """A stamp that lies further back than this is a clock that jumped: what follows is something new."""


@dataclass(frozen=True, slots=True)
class ResolvedTopics:
    """The bag's connections by role."""

    cameras: Mapping[str, Connection]
    joint_states: Connection
    actions: tuple[tuple[ActionTopic, Connection | None], ...]
    success: Connection | None
    episode: Connection | None
    has_clock: bool
    """Time is simulated: between two joint states it stands still."""


def resolve(connections: Sequence[Connection], topics: BagTopics, where: str) -> ResolvedTopics:
    """Finds the topics in a bag; DatasetError lists what it has when one is missing or of another type."""
    found = _Found({connection.topic: connection for connection in connections if connection.msgcount > 0}, where)
    cameras = topics.cameras or found.node_cameras()
    actions = [found.action(action) for action in topics.actions]
    return ResolvedTopics(
        cameras={name: found.image(name, topic) for name, topic in cameras.items()},
        joint_states=found.need(topics.joint_states, (JOINT_STATE,), "joint states"),
        actions=tuple(actions),
        success=found.maybe(topics.success, BOOL),
        episode=found.maybe(topics.episode, DIAGNOSTICS),
        has_clock="/clock" in found.by_topic,
    )


@dataclass(frozen=True)
class _Found:
    by_topic: Mapping[str, Connection]
    where: str

    def need(self, topic: str, types: tuple[str, ...], role: str) -> Connection:
        connection = self.by_topic.get(absolute(topic))
        if connection is None:
            raise DatasetError(
                f"{self.where}: no messages on topic {absolute(topic)} ({role}); the bag has {self._listed()}; "
                "name the right topic in the data set's YAML"
            )
        if connection.msgtype not in types:
            raise DatasetError(
                f"{self.where}: topic {connection.topic} ({role}): expected {' or '.join(types)}, "
                f"got {connection.msgtype}"
            )
        return connection

    def maybe(self, topic: str, kind: str) -> Connection | None:
        return self.need(topic, (kind,), "as configured") if absolute(topic) in self.by_topic else None

    def image(self, camera: str, topic: str) -> Connection:
        topic = absolute(topic)
        for name in (topic, f"{topic}/compressed", topic.removesuffix("/compressed")):
            if name in self.by_topic:
                return self.need(name, (IMAGE, COMPRESSED_IMAGE), f"camera '{camera}'")
        return self.need(topic, (IMAGE, COMPRESSED_IMAGE), f"camera '{camera}'")

    def node_cameras(self) -> dict[str, str]:
        cameras = {match[1]: topic for topic in sorted(self.by_topic, reverse=True) if (match := _CAMERA.match(topic))}
        if not cameras:
            raise DatasetError(
                f"{self.where}: no topic /camera/<name>/image_raw or /camera/<name>/image_raw/compressed; the bag has "
                f"{self._listed()}; name the topics in the data set's YAML (cameras: {{front: /topic}})"
            )
        return dict(sorted(cameras.items()))

    def action(self, action: ActionTopic) -> tuple[ActionTopic, Connection | None]:
        if action.type == NEXT_POSITION:
            return action, None
        if action.type not in ACTION_TYPES:
            known = ", ".join([*ACTION_TYPES, NEXT_POSITION])
            raise DatasetError(f"{self.where}: action type '{action.type}': expected one of {known}")
        if action.type == "commands" and not action.joints:
            raise DatasetError(f"{self.where}: action type 'commands' carries no names; list its joints in the YAML")
        kind, topic = ACTION_TYPES[action.type], action.topic or "/joint_trajectory"
        if action.topic is None and topic not in self.by_topic:
            others = [name for name, connection in self.by_topic.items() if connection.msgtype == kind]
            topic = others[0] if len(others) == 1 else topic
        return action, self.need(topic, (kind,), "actions")

    def _listed(self) -> str:
        return ", ".join(f"{topic} [{c.msgtype}]" for topic, c in sorted(self.by_topic.items())) or "no messages"


def absolute(topic: str) -> str:
    """The topic's full name; bags have nothing else."""
    return topic if topic.startswith("/") else f"/{topic}"
