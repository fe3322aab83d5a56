"""The old folder of ``episode_*.npz`` with a ``dataset.json``; goes when all demonstrations are bags."""

from __future__ import annotations

import json
import zipfile

import numpy as np

from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.training.optimise import unit_of
from ebt_policy_ros.training.readers import Episode, Joint, Recording, Source, resized


def read_npz(source: Source, limit: int | None) -> Recording:
    """The first ``limit`` episodes of the folder ``source.path``."""
    path = source.path / "dataset.json"
    try:
        index = json.loads(path.read_text())
        entries = [(e, source.path / e["file"]) for e in index["episodes"]]
        cameras, period_s = tuple(index["cameras"]), float(index["period_s"])
        joints = tuple(Joint(name, name, unit_of(name)) for name in index["joint_names"])
        task = source.task or str(index["task"])
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path} cannot be read as a data set: {error}") from error
    episodes = []
    for number in source.chosen(len(entries), limit):
        record, file = entries[number]
        try:
            with np.load(file, allow_pickle=False) as arrays:
                images = {camera: arrays[f"image.{camera}"] for camera in cameras}
                positions, actions = arrays["positions"], arrays["actions"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DatasetError(f"{file} cannot be read as an episode: {error}") from error
        size = source.size_for([pictures.shape[1:3] for pictures in images.values()])
        images = {camera: resized(pictures, size) for camera, pictures in images.items()}
        stamps = np.arange(len(positions), dtype=np.int64) * round(period_s * 1e9)
        episodes.append(Episode(str(file), stamps, positions, actions, images, record))
    return Recording("npz", task, joints, cameras, period_s, episodes)
