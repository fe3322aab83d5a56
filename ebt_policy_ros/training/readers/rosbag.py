"""rosbag2 bags as demonstrations: our own collections, recordings of the running node, and anybody's with a YAML file.

Keys of the YAML that only this kind knows: ``action_type``, ``actions``, ``success``, ``episode``, ``episode_key`` (see
``bags.topics.BagTopics``) and every field of ``bags.topics.CutSettings`` but the period. docs/data.md has examples.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ebt_policy_ros.bags import ActionTopic, Bag, BagTopics, CutSettings, Recorded, find_bags
from ebt_policy_ros.bags.read import DEFAULT_PERIOD_S
from ebt_policy_ros.bags.topics import NEXT_POSITION
from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.core.types import Pixels
from ebt_policy_ros.training.optimise import unit_of
from ebt_policy_ros.training.readers import Episode, Joint, Recording, Source, resized

_TOPICS = ("action_type", "actions", "success", "episode", "episode_key")
_CUT = tuple(field.name for field in dataclasses.fields(CutSettings) if field.name != "period_s")


def read_bags(source: Source, limit: int | None = None) -> Recording:
    """Reads the bag or the folder of bags at ``source.path``, its first ``limit`` episodes.

    All bags have to agree in cameras and joints. DatasetError names bag, episode and topic.
    """
    source.check_options((*_TOPICS, *_CUT))
    topics, options = _topics(source), {key: source.options[key] for key in _CUT if key in source.options}
    reading = _Reading(source, limit)
    for path in find_bags(source.path):
        if reading.is_full:
            break
        settings = _settings(source, options, reading.period_s)
        with Bag(path, topics, settings) as bag:
            reading.add(bag)
    if not reading.episodes:
        reasons = "; ".join(reading.left_out[:3]) or "'skip' and the limit leave nothing"
        raise DatasetError(f"{source.path}: no episode can be used: {reasons}")
    return Recording(
        kind="rosbag2",
        task=source.task or reading.task,
        joints=reading.joints,
        cameras=reading.cameras,
        period_s=reading.period_s or DEFAULT_PERIOD_S,
        episodes=reading.episodes,
    )


class _Reading:
    """What has been read so far; the first bag says what the others must have."""

    def __init__(self, source: Source, limit: int | None) -> None:
        self._source = source
        self._limit = limit
        self._number = 0
        self._size: tuple[int, int] | None = source.image_size
        self.episodes: list[Episode] = []
        self.left_out: list[str] = []
        self.joints: tuple[Joint, ...] = source.joints
        self.cameras: tuple[str, ...] = ()
        self.task = ""
        self.period_s: float | None = source.period_s

    @property
    def is_full(self) -> bool:
        return self._limit is not None and len(self.episodes) >= self._limit

    def add(self, bag: Bag) -> None:
        plans = bag.plans()
        self.left_out += bag.left_out
        for plan in plans:
            self._number += 1
            if self._number - 1 in self._source.skip:
                self.left_out.append(f"{plan.name}: skipped")
                continue
            if self.is_full:
                return
            self._agree(bag)
            self.episodes.append(self._episode(bag.load(plan, self._fit), bag))

    def _agree(self, bag: Bag) -> None:
        if not self.episodes:
            self.cameras, self.period_s = bag.cameras, bag.settings.period_s
            self.task = bag.task
            self.joints = self.joints or tuple(Joint(name, name, unit_of(name)) for name in bag.joint_names)
            if self._size is None:
                self._size = self._source.size_for(p.shape[:2] for p in bag.first_pictures().values())
        for what, here, first in (
            ("cameras", bag.cameras, self.cameras),
            ("joints", bag.joint_names, tuple(joint.key for joint in self.joints)),
        ):
            if here != first:
                raise DatasetError(
                    f"{bag.path}: {what} are {', '.join(here)}, but the bags before have {', '.join(first)}; name "
                    f"those that all have in the data set's YAML, or read the bags as two data sets"
                )

    def _fit(self, picture: Pixels) -> Pixels:
        return picture if picture.shape[:2] == self._size else resized(np.array(picture)[None], self._size or (0, 0))[0]

    def _episode(self, recorded: Recorded, bag: Bag) -> Episode:
        episode = recorded.episode
        factors = np.array([joint.factor for joint in self.joints])
        trouble = {key: value for key, value in dataclasses.asdict(recorded.trouble).items() if _is_worth_noting(value)}
        return Episode(
            name=recorded.name,
            stamps_ns=episode.stamps_ns,
            positions=(episode.positions * factors).astype(np.float32),
            actions=(episode.actions * factors).astype(np.float32),
            images=dict(episode.images),
            record={**episode.facts, **({"trouble": trouble} if trouble else {})},
            streams=recorded.streams,
        )


def _is_worth_noting(value: Any) -> bool:
    return any(value.values()) if isinstance(value, Mapping) else bool(value)


def _settings(source: Source, options: dict[str, Any], period_s: float | None) -> CutSettings | None:
    """None: the bag's own period and the defaults."""
    if period_s is None and not options:
        return None
    kinds = {field.name: type(field.default) for field in dataclasses.fields(CutSettings)}
    for key, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number if kinds[key] in (int, float) else isinstance(value, kinds[key])):
            raise DatasetError(
                f"data set description of {source.path}: {key}: expected {kinds[key].__name__}, got {value!r}"
            )
    return CutSettings(**{**options, "period_s": period_s or DEFAULT_PERIOD_S})


def _topics(source: Source) -> BagTopics:
    options = source.options
    given: dict[str, Any] = {key: str(options[key]) for key in ("success", "episode", "episode_key") if key in options}
    if source.state:
        given["joint_states"] = source.state
    return BagTopics(
        cameras=dict(source.cameras),
        joint_names=tuple(joint.key for joint in source.joints),
        actions=_actions(source, options.get("actions"), options.get("action_type")),
        **given,
    )


def _actions(source: Source, listed: Any, kind: Any) -> tuple[ActionTopic, ...]:
    """``action`` with ``action_type``, or a list ``actions`` of {topic, type, joints} where several topics command."""
    if listed is None:
        if source.action == NEXT_POSITION:
            return (ActionTopic(None, NEXT_POSITION),)
        return (ActionTopic(source.action, str(kind or ActionTopic().type)),)
    where = f"data set description of {source.path}: actions"
    if source.action or kind or not isinstance(listed, list) or not listed:
        raise DatasetError(f"{where}: expected a list of {{topic, type, joints}} instead of 'action' and 'action_type'")
    found = []
    for entry in listed:
        if not isinstance(entry, dict) or "topic" not in entry or set(entry) - {"topic", "type", "joints"}:
            raise DatasetError(f"{where}: expected {{topic, type, joints}}, got {json.dumps(entry, default=str)}")
        joints = tuple(str(joint) for joint in entry.get("joints") or ())
        found.append(ActionTopic(str(entry["topic"]), str(entry.get("type", ActionTopic().type)), joints))
    return tuple(found)
