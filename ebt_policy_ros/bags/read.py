"""rosbag2 bags (MCAP, sqlite3; Humble to Jazzy) -> episodes of rows one period apart, by header stamp.

Two passes: the first reads everything but the pictures and decides on the rows, the second decodes only the pictures
that rows need, one episode at a time. So a recording may be much larger than the memory.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection

from ebt_policy_ros.bags.cut import Run, Span, runs, spans
from ebt_policy_ros.bags.episode import Episode
from ebt_policy_ros.bags.open import METADATA, BagReader, is_bag_folder, loose_files
from ebt_policy_ros.bags.rows import Rows, Trouble, make_rows
from ebt_policy_ros.bags.store import explained, type_store
from ebt_policy_ros.bags.streams import Streams, picture_stamp_ns, read_streams
from ebt_policy_ros.bags.topics import BagTopics, CutSettings, ResolvedTopics, resolve
from ebt_policy_ros.bags.write import FACTS_KEY, TASK_KEY
from ebt_policy_ros.core.errors import DatasetError, MessageError
from ebt_policy_ros.core.types import Pixels
from ebt_policy_ros.messages import decode_image

Fit = Callable[[Pixels], Pixels]
"""Brings one picture (height, width, 3) to its final size."""

DEFAULT_PERIOD_S = 0.05


@dataclass(frozen=True, eq=False)
class Recorded:
    """An episode as it was found in a bag."""

    name: str
    """Bag, and number of the episode in it."""
    episode: Episode
    streams: Mapping[str, NDArray[np.int64]]
    """'joints', 'camera <name>' -> header stamps [ns] as recorded, before resampling."""
    trouble: Trouble


@dataclass(frozen=True, eq=False)
class Plan:
    """An episode before its pictures are decoded."""

    name: str
    rows: Rows
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return len(self.rows.stamps_ns)


def find_bags(path: Path) -> list[Path]:
    """The bags at a path: itself (a bag directory or a storage file), or those in it and its folders, by name.

    Raises DatasetError when there is none. Hidden folders hold unfinished bags and are passed over. A directory without
    metadata.yaml is one bag when its files are named after it, as recorders do that do not live to write it.
    """
    path = Path(path)
    if path.is_file() or is_bag_folder(path):
        return [path]
    found = []
    files = loose_files(path) if path.is_dir() else []
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            with contextlib.suppress(DatasetError):
                found += find_bags(entry)
        elif entry in files:
            found.append(entry)
    if not found:
        raise DatasetError(
            f"{path}: no rosbag2 bag there; expected a bag directory ({METADATA}), *.mcap or *.db3, or a folder of them"
        )
    return found


class Bag:
    """One open bag; use it in a with statement."""

    def __init__(self, path: Path, topics: BagTopics | None = None, settings: CutSettings | None = None) -> None:
        self.path = Path(path)
        self._topics = topics or BagTopics()
        self._given = settings
        self._reader: BagReader | None = None

    def __enter__(self) -> Bag:
        with explained(self.path):
            reader = BagReader(self.path)
            reader.open()
            self._reader = reader
        try:
            self.facts = self._read_facts(reader)
            self.task = str((reader.storage.metadata.custom or {}).get(TASK_KEY, self.facts.get("task", "")))
            self.settings = self._given or CutSettings(period_s=float(self.facts.get("period_s", DEFAULT_PERIOD_S)))
            if reader.message_count == 0:
                said = "".join(f" ({note})" for note in reader.notes)
                raise DatasetError(f"{self.path}: the bag is empty{said}; record again, or remove it")
            self._resolved: ResolvedTopics = resolve(reader.connections, self._topics, str(self.path))
        except BaseException:
            reader.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names, as asked for or found."""
        return tuple(self._resolved.cameras)

    @property
    def connections(self) -> list[Connection]:
        """All topics with type and number of messages."""
        return self._open.connections

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of a bag that was not closed; empty when all is well."""
        return self._open.notes

    @property
    def joint_names(self) -> tuple[str, ...]:
        """(D,) of positions and actions; known once ``plans`` has been called."""
        return self._joint_names

    def first_pictures(self) -> dict[str, Pixels]:
        """The first picture of every camera."""
        found: dict[str, Pixels] = {}
        for camera, connection in self._resolved.cameras.items():
            with explained(self.path):
                for _, _, data in self._open.messages([connection]):
                    found[camera] = self._decode(connection, data)
                    break
        return found

    def plans(self) -> list[Plan]:
        """The episodes that are to be used, without their pictures; why others are not is in ``left_out``."""
        with explained(self.path):
            streams = read_streams(self._open, self._resolved, self._topics.joint_names, str(self.path))
        self._joint_names = streams.joint_names
        self.left_out: list[str] = []
        planned: list[Plan] = []
        number = 0
        for run in runs(streams, self.settings):
            for span in self._spans(run, streams):
                name = f"{self.path}" if self.facts else f"{self.path}, episode {number}"
                number += 1
                says_success = streams.success is not None or "success" in self.facts
                if self.settings.only_successes and says_success and span.success_ns is None:
                    self.left_out.append(f"{name}: no success (only_successes: false keeps it)")
                    continue
                facts = {**_known(span.values), **self.facts}
                if says_success:
                    facts["success"] = span.success_ns is not None
                pieces = make_rows(run, span, streams, self.settings, name)
                if isinstance(pieces, str):
                    self.left_out.append(f"{name}: {pieces}")
                    continue
                planned += [
                    Plan(name if len(pieces) == 1 else f"{name}, part {part}", rows, facts)
                    for part, rows in enumerate(pieces)
                ]
        return planned

    def load(self, plan: Plan, fit: Fit | None = None) -> Recorded:
        """Decodes an episode's pictures; ``fit`` brings each to its final size."""
        rows = plan.rows
        with explained(self.path):
            images = {camera: self._pictures(plan, camera, fit) for camera in self._resolved.cameras}
        success = None
        if "success" in plan.facts:
            late = np.full(plan.num_rows, False)
            success = late if rows.success_ns is None else rows.stamps_ns >= rows.success_ns
        episode = Episode(
            stamps_ns=rows.stamps_ns,
            joint_names=self._joint_names,
            positions=rows.positions,
            actions=rows.actions,
            images=images,
            velocities=rows.velocities,
            success=success,
            facts=plan.facts,
        )
        streams = {name: track.stamp_ns for name, track in rows.tracks.items()}
        return Recorded(plan.name, episode, streams, replace(rows.trouble, recording=self.notes))

    # --- inside -----------------------------------------------------------------------------------------------------
    @property
    def _open(self) -> BagReader:
        if self._reader is None:
            raise DatasetError(f"{self.path}: the bag is not open; use it in a with statement")
        return self._reader

    def _read_facts(self, reader: BagReader) -> dict[str, Any]:
        text = (reader.storage.metadata.custom or {}).get(FACTS_KEY)
        if text is None:
            return {}
        try:
            facts = json.loads(text)
        except ValueError as error:
            raise DatasetError(f"{self.path}: custom_data {FACTS_KEY} of metadata.yaml is not JSON: {error}") from error
        return {str(key): value for key, value in facts.items()} if isinstance(facts, dict) else {}

    def _spans(self, run: Run, streams: Streams) -> list[Span]:
        if not self.facts:
            return spans(run, streams, self.settings, self._topics.episode_key)
        first, last = int(run.joints.stamp_ns[0]), int(run.joints.stamp_ns[-1])
        found = spans(run, streams, self.settings, self._topics.episode_key)
        success = next((span.success_ns for span in found if span.success_ns is not None), None)
        if self.facts.get("success") and success is None:
            success = last  # fulfilled by the very last command
        return [Span(first, last + 1, success if self.facts.get("success", True) else None, {})]

    def _pictures(self, plan: Plan, camera: str, fit: Fit | None) -> Pixels:
        """(T, height, width, 3): each row's picture; one that several rows share is decoded once."""
        connection, wanted = self._resolved.cameras[camera], plan.rows.pictures[camera]
        rows_of: dict[tuple[int, int], list[int]] = {}
        for row, (log_ns, stamp_ns) in enumerate(zip(wanted.log_ns, wanted.stamp_ns, strict=True)):
            rows_of.setdefault((int(log_ns), int(stamp_ns)), []).append(row)
        images: Pixels | None = None
        low, high = int(wanted.log_ns.min()), int(wanted.log_ns.max())
        for _, log_ns, data in self._open.messages([connection], low, high + 1):
            rows = rows_of.pop((log_ns, picture_stamp_ns(data)), None)
            if rows is None:
                continue
            picture = self._decode(connection, data)
            picture = picture if fit is None else fit(picture)
            if images is None:
                images = np.empty((plan.num_rows, *picture.shape), np.uint8)
            if picture.shape != images.shape[1:]:
                raise DatasetError(
                    f"{plan.name}: topic {connection.topic}: pictures of {picture.shape[:2]} and {images.shape[1:3]} "
                    "pixels; set image_size in the data set's YAML"
                )
            images[rows] = picture
        if images is None or rows_of:
            raise DatasetError(f"{plan.name}: topic {connection.topic}: {len(rows_of)} pictures vanished while reading")
        return images

    def _decode(self, connection: Connection, data: bytes) -> Pixels:
        try:
            return decode_image(type_store().deserialize_cdr(data, connection.msgtype))
        except MessageError as error:
            stamp_s = picture_stamp_ns(data) * 1e-9
            raise DatasetError(f"{self.path}: topic {connection.topic}, picture at {stamp_s:.3f} s: {error}") from error


def _known(values: Mapping[str, str]) -> dict[str, Any]:
    """What the episode topic says that is worth keeping."""
    return {key: int(values[key]) for key in ("seed",) if values.get(key, "").lstrip("-").isdigit()}
