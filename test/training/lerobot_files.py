"""LeRobot data sets on disk, written with pyarrow and PyAV in the layout of ``lerobot`` 0.3.3 (v2.1) and 0.4.4 (v3.0).

Files, keys, columns and types were compared with data sets that those libraries wrote.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["panda_joint1", "panda_joint2", "panda_finger_joint1"]
SIZE = (64, 80)
FPS = 10
TASK = "Push the block."
LENGTHS = (8, 9, 7)
CAMERAS = ("front", "wrist")
DEFAULTS = {
    "timestamp": ("float32", pa.float32()),
    "frame_index": ("int64", pa.int64()),
    "episode_index": ("int64", pa.int64()),
    "index": ("int64", pa.int64()),
    "task_index": ("int64", pa.int64()),
}


def path_of(episode: int, length: int) -> np.ndarray:
    """(length + 1, 3) joints; positions are all but the last row, actions all but the first."""
    along = np.linspace(0, 1, length + 1)
    return np.stack([along * (episode + 1) * 0.3, np.sin(along * 3), 0.04 * along], 1).astype(np.float32)


def picture(camera: str, episode: int, row: int) -> np.ndarray:
    image = np.full((*SIZE, 3), 20 * row + 5 if camera == "wrist" else 60, dtype=np.uint8)
    if camera == "front":
        image[20:40, 2 + 6 * row : 12 + 6 * row] = [250, 40 * episode, 10]
    return image


def write(root: Path, version: str = "v3.0", *, stills: bool = False, codec: str = "libx264", lengths=LENGTHS) -> Path:
    """A data set of ``lengths`` rows an episode, with videos or with image columns."""
    is_v3 = version.startswith("v3")
    info = {
        "codebase_version": version,
        "robot_type": "panda",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        if is_v3
        else "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None
        if stills
        else "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if is_v3
        else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": _features(stills),
    }
    write_json(root / "meta" / "info.json", info)
    tables = [_table(episode, length, sum(lengths[:episode]), stills) for episode, length in enumerate(lengths)]
    if is_v3:
        _write_v3(root, tables, lengths, stills, codec)
    else:
        _write_v2(root, tables, lengths, stills, codec)
    return root


def _features(stills: bool) -> dict:
    numbers = {"dtype": "float32", "shape": [3], "names": NAMES}
    names = ["height", "width", "channels"]
    pictures = {"dtype": "image" if stills else "video", "shape": [*SIZE, 3], "names": names}
    return {
        "observation.state": numbers,
        "action": numbers,
        **{f"observation.images.{camera}": pictures for camera in CAMERAS},
        **{key: {"dtype": dtype, "shape": [1], "names": None} for key, (dtype, _) in DEFAULTS.items()},
    }


def _table(episode: int, length: int, begin: int, stills: bool):
    path, rows = path_of(episode, length), np.arange(length)
    columns = {
        "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(path[:-1].ravel()), 3),
        "action": pa.FixedSizeListArray.from_arrays(pa.array(path[1:].ravel()), 3),
    }
    for camera in CAMERAS if stills else ():
        entries = [{"bytes": png(picture(camera, episode, r)), "path": f"frame-{r:06d}.png"} for r in rows]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns[f"observation.images.{camera}"] = pa.array(entries, type=kind)
    values = (rows / FPS, rows, np.full(length, episode), begin + rows, np.zeros(length))
    for (key, (dtype, _)), column in zip(DEFAULTS.items(), values, strict=True):
        columns[key] = pa.array(column.astype(dtype))
    return pa.table(columns)


def _write_v2(root: Path, tables, lengths, stills: bool, codec: str) -> None:
    for episode, table in enumerate(tables):
        write_parquet(root / "data" / "chunk-000" / f"episode_{episode:06d}.parquet", table)
        for camera in () if stills else CAMERAS:
            folder = root / "videos" / "chunk-000" / f"observation.images.{camera}"
            write_video(folder / f"episode_{episode:06d}.mp4", [(camera, episode, lengths[episode])], codec)
    entries = [{"episode_index": e, "tasks": [TASK], "length": n} for e, n in enumerate(lengths)]
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (root / "meta" / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": TASK}) + "\n")


def _write_v3(root: Path, tables, lengths, stills: bool, codec: str) -> None:
    write_parquet(root / "data" / "chunk-000" / "file-000.parquet", pa.concat_tables(tables))
    ends = np.cumsum(lengths).tolist()
    zeros = [0] * len(lengths)
    columns = {
        "episode_index": list(range(len(lengths))),
        "tasks": [[TASK]] * len(lengths),
        "length": list(lengths),
        "data/chunk_index": zeros,
        "data/file_index": zeros,
        "dataset_from_index": [0, *ends[:-1]],
        "dataset_to_index": ends,
    }
    for camera in () if stills else CAMERAS:
        key = f"videos/observation.images.{camera}"
        columns |= {
            f"{key}/chunk_index": zeros,
            f"{key}/file_index": zeros,
            f"{key}/from_timestamp": [end / FPS for end in [0, *ends[:-1]]],
            f"{key}/to_timestamp": [end / FPS for end in ends],
        }
        parts = [(camera, episode, length) for episode, length in enumerate(lengths)]
        write_video(root / key / "chunk-000" / "file-000.mp4", parts, codec)
    columns["stats/action/min"] = [[0.0, 0.0, 0.0]] * len(lengths)
    columns |= {"meta/episodes/chunk_index": zeros, "meta/episodes/file_index": zeros}
    write_parquet(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet", pa.table(columns))
    write_parquet(root / "meta" / "tasks.parquet", pa.table({"task_index": [0], "__index_level_0__": [TASK]}))


def write_video(path: Path, parts, codec: str) -> None:
    """The pictures of (camera, episode, rows) parts, one after the other, with a key frame every second frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"g": "2", "crf": "30" if codec == "libsvtav1" else "12"}
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=Fraction(FPS), options=options)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for camera, episode, length in parts:
            for row in range(length):
                frame = av.VideoFrame.from_ndarray(picture(camera, episode, row), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_json(path: Path, entries: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, indent=4))


def write_parquet(path: Path, table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)


def png(image: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()
