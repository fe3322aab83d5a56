"""LeRobot data sets on disk, format v2.x (a parquet file and a video per episode) and v3.0 (many episodes a file).

Written from the format as ``lerobot`` 0.3.3 (v2.1) and 0.4.4 (v3.0) write it. Cameras are videos, or image columns of
encoded bytes. Positions and actions are matched by the names in ``meta/info.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import DatasetError, MessageError
from ebt_policy_ros.messages.compressed import decode_compressed
from ebt_policy_ros.training.optimise import unit_of
from ebt_policy_ros.training.readers import (
    NEXT_POSITION,
    Array32,
    Episode,
    Images,
    Joint,
    Recording,
    Source,
    gathered,
    next_positions,
    on_grid,
)
from ebt_policy_ros.training.readers.video import frames_at

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
MAX_PIXELS = 64 * 1024 * 1024


def read_lerobot(source: Source, limit: int | None) -> Recording:
    """The first ``limit`` episodes that are not skipped; DatasetError names file, episode and feature."""
    source.check_options(())
    layout = _Layout.read(source.path)
    columns = _Columns.choose(source, layout)
    cameras = _cameras(source, layout)
    size = source.size_for([_picture_shape(layout.features[key]["shape"]) for key in cameras.values()])
    episodes = [
        _episode(layout, columns, cameras, size, number, source)
        for number in source.chosen(len(layout.episodes), limit)
    ]
    tasks = sorted({task for entry in layout.episodes for task in entry.get("tasks") or []})
    return Recording(
        kind="lerobot",
        task=source.task or (tasks[0] if len(tasks) == 1 else source.path.resolve().name),
        joints=columns.joints,
        cameras=tuple(cameras),
        period_s=source.period_s or 1 / layout.fps,
        episodes=episodes,
    )


class _Layout:
    """meta/: which features there are, which episodes, and in which files."""

    def __init__(self, root: Path, entries: Mapping[str, Any]) -> None:
        self.root = root
        self.version = str(entries["codebase_version"])
        self.fps = float(entries["fps"])
        self.features: dict[str, Any] = dict(entries["features"])
        self.data_path = str(entries["data_path"])
        self.video_path = str(entries.get("video_path") or "")
        self.chunks_size = int(entries.get("chunks_size", 1000))
        self.is_v3 = self.version.startswith("v3")
        self.episodes: list[dict[str, Any]] = []
        self._last: tuple[Path, tuple[str, ...], pa.Table] | None = None

    @classmethod
    def read(cls, root: Path) -> _Layout:
        path = root / "meta" / "info.json"
        try:
            layout = cls(root, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"key {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path} cannot be read as a LeRobot description: {what}") from error
        if not layout.version.startswith(("v2", "v3")) or not layout.fps > 0:
            found = f"'{layout.version}' at {layout.fps} fps"
            raise DatasetError(f"{path}: expected LeRobot format v2.x or v3.x and fps > 0, got {found}; convert it")
        layout.episodes = layout._episodes_v3() if layout.is_v3 else layout._episodes_v2()
        return layout

    def _episodes_v2(self) -> list[dict[str, Any]]:
        path = self.root / "meta" / "episodes.jsonl"
        try:
            entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return sorted(entries, key=lambda entry: int(entry["episode_index"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read as the list of episodes: {error}") from error

    def _episodes_v3(self) -> list[dict[str, Any]]:
        paths = sorted((self.root / "meta" / "episodes").glob("*/*.parquet"))
        if not paths:
            raise DatasetError(f"{self.root / 'meta' / 'episodes'}: expected chunk-*/file-*.parquet, found none")
        entries: list[dict[str, Any]] = []
        for path in paths:
            try:
                schema = parquet.read_schema(path)
                columns = [name for name in schema.names if not name.startswith("stats/")]
                entries += parquet.read_table(path, columns=columns).to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(f"{path} cannot be read as the list of episodes: {error}") from error
        return sorted(entries, key=lambda entry: int(entry["episode_index"]))

    def data_file(self, number: int) -> Path:
        return self._file(self.data_path, number, "data", "")

    def video_file(self, number: int, key: str) -> Path:
        return self._file(self.video_path, number, f"videos/{key}", key)

    def _file(self, template: str, number: int, prefix: str, video_key: str) -> Path:
        """The file of an episode, by the template in info.json; never one outside of the data set."""
        entry = self.episodes[number]
        index = int(entry["episode_index"])
        try:
            values = {"video_key": video_key}
            if self.is_v3:
                values |= {f"{part}_index": int(entry[f"{prefix}/{part}_index"]) for part in ("chunk", "file")}
            else:
                values |= {"episode_chunk": index // self.chunks_size, "episode_index": index}
            relative = Path(template.format(**values))
        except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            raise DatasetError(f"{self.root}: episode {index}: no path from '{template}': {error}") from error
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise DatasetError(f"{self.root}: episode {index}: path '{relative}' leads out of the data set")
        return self.root / relative

    def table(self, number: int, columns: Sequence[str]) -> pa.Table:
        """The rows of an episode, in order. The last file read is kept: in v3.0 the next episode is in it too."""
        path, index = self.data_file(number), int(self.episodes[number]["episode_index"])
        where = f"{path}, episode {index}"
        if self._last is None or self._last[:2] != (path, tuple(columns)):
            try:
                missing = sorted(set(columns) - set(parquet.read_schema(path).names))
                if missing:
                    raise DatasetError(f"{where}: expected the column '{missing[0]}' that meta/info.json promises")
                self._last = (path, tuple(columns), parquet.read_table(path, columns=list(columns)))
            except (pa.ArrowException, OSError) as error:
                fix = "the file is missing or cut short; copy it again"
                raise DatasetError(f"{where}: cannot be read as parquet: {error}; {fix}") from error
        table = self._last[2]
        table = table.filter(pa.compute.equal(table["episode_index"], index))
        expected = self.episodes[number].get("length")
        if expected is not None and table.num_rows != int(expected):
            raise DatasetError(f"{where}: expected {expected} rows as meta/ says, got {table.num_rows}; copy it again")
        return table


@dataclass(frozen=True)
class _Columns:
    """Which joints are read, and where they are in the rows of state and action."""

    joints: tuple[Joint, ...]
    state: str
    action: str
    state_places: list[int]
    action_places: list[int]

    @classmethod
    def choose(cls, source: Source, layout: _Layout) -> _Columns:
        state, action = source.state or STATE, source.action or ACTION
        measured = _names(layout, state)
        commanded = measured if action == NEXT_POSITION else _names(layout, action)
        if source.joints:
            joints = source.joints
        else:
            keys = [key for key in measured if key in commanded] if set(commanded) <= set(measured) else measured
            if len(keys) != len(commanded):
                raise DatasetError(
                    f"{layout.root}: {state} has {len(measured)} values ({', '.join(measured)}), {action} "
                    f"{len(commanded)} ({', '.join(commanded)}): say in a YAML which joints they are (joints: {{name: "
                    "{key: NAME IN THE DATA, unit: rad}})"
                )
            joints = tuple(Joint(key.removesuffix(".pos"), key, unit_of(key)) for key in keys)
        state_places = [_place(layout, state, measured, joint) for joint in joints]
        by_name = all(_find(commanded, joint.key) is not None for joint in joints)
        if not by_name and len(commanded) != len(measured):
            raise DatasetError(
                f"{layout.root}: {action} has {len(commanded)} values ({', '.join(commanded)}), expected one for each "
                f"of the joints {', '.join(joint.key for joint in joints)}; name another action key in the YAML"
            )
        action_places = [_place(layout, action, commanded, j) for j in joints] if by_name else state_places
        return cls(joints, state, action, state_places, action_places)

    @property
    def stored(self) -> list[str]:
        """Columns of numbers to read."""
        return [self.state] if self.action == NEXT_POSITION else [self.state, self.action]


def _names(layout: _Layout, key: str) -> list[str]:
    """Names of the values of a feature, in their order."""
    feature = layout.features.get(key)
    if feature is None:
        raise DatasetError(f"{layout.root}: expected the feature '{key}', found {', '.join(layout.features)}")
    count = int(np.prod(feature["shape"]))
    names = feature.get("names")
    if isinstance(names, dict):  # {"motors": [...]}, or {name: place}
        values = list(names.values())
        names = values[0] if len(values) == 1 and isinstance(values[0], list) else list(names)
    if not isinstance(names, list) or len(names) != count:
        names = [f"joint_{place}" for place in range(count)]
    return [str(name) for name in names]


def _find(names: Sequence[str], key: str) -> int | None:
    for candidate in (key, f"{key}.pos"):
        if candidate in names:
            return names.index(candidate)
    return None


def _place(layout: _Layout, feature: str, names: Sequence[str], joint: Joint) -> int:
    place = _find(names, joint.key)
    if place is None:
        raise DatasetError(
            f"{layout.root}: joint '{joint.name}': expected '{joint.key}' among the names of {feature}, found "
            f"{', '.join(names)}; correct its key in the YAML"
        )
    return place


def _cameras(source: Source, layout: _Layout) -> dict[str, str]:
    """Our camera name -> feature."""
    found = {
        key.removeprefix(IMAGES): key
        for key, feature in layout.features.items()
        if feature["dtype"] in ("video", "image") and not (feature.get("info") or {}).get("video.is_depth_map")
    }
    if not source.cameras:
        if not found:
            raise DatasetError(f"{layout.root}: expected at least one video or image feature, found none")
        return found
    chosen = {}
    for name, key in source.cameras.items():
        full = key if key in layout.features else IMAGES + key
        if full not in found.values():
            listed = ", ".join(found.values()) or "none"
            raise DatasetError(
                f"{layout.root}: camera '{name}': expected the feature '{key}'; image features: {listed}"
            )
        chosen[name] = full
    return chosen


def _picture_shape(shape: Sequence[int]) -> tuple[int, int]:
    """(height, width) of an image feature: some describe it with the channels first."""
    height, width = shape[1:3] if shape[0] in (1, 3) and shape[-1] not in (1, 3) else shape[:2]
    return int(height), int(width)


def _episode(
    layout: _Layout,
    columns: _Columns,
    cameras: Mapping[str, str],
    size: tuple[int, int],
    number: int,
    source: Source,
) -> Episode:
    entry = layout.episodes[number]
    name = f"{layout.data_file(number)}, episode {entry['episode_index']}"
    stills = [key for key in cameras.values() if layout.features[key]["dtype"] == "image"]
    table = layout.table(number, ["timestamp", "episode_index", *columns.stored, *stills])
    seconds = np.asarray(table["timestamp"].to_numpy(), dtype=float)
    factors = np.array([joint.factor for joint in columns.joints], dtype=np.float32)
    positions = _numbers(table, columns.state, name)[:, columns.state_places] * factors
    if columns.action == NEXT_POSITION:
        actions = next_positions(positions)
    else:
        actions = _numbers(table, columns.action, name)[:, columns.action_places] * factors
    images: dict[str, Images] = {}
    for camera, key in cameras.items():
        if key in stills:
            pictures: Iterator[NDArray[np.uint8]] = _stills(table, key, name)
        else:
            begin = float(entry.get(f"videos/{key}/from_timestamp", 0.0))
            pictures = frames_at(layout.video_file(number, key), begin + seconds, 0.5 / layout.fps, f"{key} of {name}")
        images[camera] = gathered(pictures, len(seconds), size)
    episode = Episode(
        name=name,
        stamps_ns=np.round(seconds * 1e9).astype(np.int64),
        positions=positions,
        actions=actions,
        images=images,
        record={"episode": int(entry["episode_index"]), "tasks": list(entry.get("tasks") or [])},
    )
    return on_grid(episode, source.period_s or 1 / layout.fps)


def _numbers(table: pa.Table, key: str, name: str) -> Array32:
    """(T, n) float32 of a column of numbers or of lists of n numbers."""
    column = table[key].combine_chunks()
    try:
        values = column.flatten() if pa.types.is_nested(column.type) else column
        flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32)
        return flat.reshape(table.num_rows, -1) if table.num_rows else flat.reshape(0, 0)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise DatasetError(f"{name}: {key}: expected as many numbers in every row: {error}") from error


def _stills(table: pa.Table, key: str, name: str) -> Iterator[NDArray[np.uint8]]:
    for row, entry in enumerate(table[key].to_pylist()):
        encoded = entry.get("bytes") if isinstance(entry, dict) else None
        if not encoded:
            raise DatasetError(f"{name}: {key}: row {row} has no embedded picture; expected encoded bytes")
        try:
            yield decode_compressed(str(entry.get("path") or key), np.frombuffer(encoded, np.uint8), MAX_PIXELS)
        except MessageError as error:
            raise DatasetError(f"{name}: {key}: row {row}: {error}") from error
