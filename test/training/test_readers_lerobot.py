"""LeRobot data sets: what is read is what was written, and what is broken is named."""

import json

import numpy as np
import pytest

from ebt_policy_ros.training.dataset import DatasetError, Demonstrations

from . import lerobot_files
from .lerobot_files import CAMERAS, FPS, LENGTHS, NAMES, pa, parquet, path_of, picture, write

V2_DATA = "data/chunk-000/episode_000001.parquet"
V3_DATA = "data/chunk-000/file-000.parquet"
V3_VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


def describe(tmp_path, root, **entries):
    path = tmp_path / "described.yaml"
    path.write_text(json.dumps({"path": str(root), **entries}))
    return path


def change_info(root, change):
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_rows(path, name, values):
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(table.schema.names.index(name), name, values), path)


@pytest.mark.parametrize(
    ("version", "stills", "codec", "tolerance"),
    [
        ("v2.1", False, "libx264", 4.0),
        ("v3.0", False, "libx264", 4.0),
        ("v3.0", False, "libsvtav1", 8.0),
        ("v2.1", True, "", 0.0),
        ("v3.0", True, "", 0.0),
    ],
)
def test_everything_is_read_row_by_row(tmp_path, version, stills, codec, tolerance):
    data = Demonstrations.load(write(tmp_path / "set", version, stills=stills, codec=codec))
    assert (data.kind, data.task, data.joint_names) == ("lerobot", lerobot_files.TASK, tuple(NAMES))
    assert data.units == ("rad", "rad", "m")
    assert (data.cameras, data.period_s) == (CAMERAS, 1 / FPS)
    assert data.ends.tolist() == np.cumsum(LENGTHS).tolist()
    row = 0
    for episode, length in enumerate(LENGTHS):
        path = path_of(episode, length)
        np.testing.assert_array_equal(data.positions[row : row + length], path[:-1])
        np.testing.assert_array_equal(data.actions[row : row + length], path[1:])
        for step in range(length):
            for camera in CAMERAS:
                seen, drawn = data.images[camera][row + step], picture(camera, episode, step)
                assert np.abs(seen.astype(float) - drawn).mean() <= tolerance
        row += length


def test_skipped_and_limited_episodes(tmp_path):
    root = write(tmp_path / "set")
    data = Demonstrations.load(describe(tmp_path, root, skip=[0]), limit=1)
    assert data.num_episodes == 1
    np.testing.assert_array_equal(data.positions, path_of(1, LENGTHS[1])[:-1])
    assert np.abs(data.images["front"][3].astype(float) - picture("front", 1, 3)).mean() < 4  # in the middle of a file


def test_a_description_chooses_names_units_size_and_rate(tmp_path):
    root = write(tmp_path / "set", "v2.1", stills=True)
    described = describe(
        tmp_path,
        root,
        task="push",
        cameras={"top": "observation.images.front"},
        joints={"finger": {"key": "panda_finger_joint1", "unit": "mm"}, "base": {"key": "panda_joint1", "unit": "deg"}},
        action="next_position",
        period_s=0.05,
        image_size=[32, 40],
    )
    data = Demonstrations.load(described, limit=1)
    path = path_of(0, LENGTHS[0])
    assert (data.task, data.cameras, data.joint_names, data.units) == (
        "push",
        ("top",),
        ("finger", "base"),
        ("m", "rad"),
    )
    assert data.images["top"].shape == (2 * LENGTHS[0] - 1, 32, 40, 3)
    np.testing.assert_allclose(data.positions[::2], path[:-1, [2, 0]] * [1e-3, np.pi / 180], rtol=1e-5)
    np.testing.assert_allclose(data.positions[1], (data.positions[0] + data.positions[2]) / 2, rtol=1e-5)
    np.testing.assert_allclose(data.actions[::2][:-1], data.positions[2::2], rtol=1e-5)
    np.testing.assert_array_equal(data.images["top"][0], data.images["top"][1])  # not there yet: the one before
    assert data.quality[0].rate_hz["camera top"] == pytest.approx(FPS, rel=1e-4)


def test_rows_with_a_hole_are_put_on_the_grid(tmp_path):
    root = write(tmp_path / "set", "v2.1", stills=True)
    times = np.array([0, 1, 2, 6, 7, 8, 9, 10, 11], dtype=np.float32) / FPS
    change_rows(root / V2_DATA, "timestamp", pa.array(times))
    data = Demonstrations.load(describe(tmp_path, root, skip=[0, 2]))
    assert len(data.positions) == 12
    assert data.quality[0].largest_gap_s["joints"] == pytest.approx(0.4, abs=1e-3)


def test_actions_are_matched_by_name(tmp_path):
    root = write(tmp_path / "set", "v2.1", stills=True)
    change_info(root, lambda info: info["features"]["action"].update(names=[NAMES[2], NAMES[0], NAMES[1]]))
    data = Demonstrations.load(root, limit=1)
    np.testing.assert_array_equal(data.actions, path_of(0, LENGTHS[0])[1:][:, [1, 2, 0]])


def test_names_of_other_shapes(tmp_path):
    root = write(tmp_path / "set", "v2.1", stills=True)
    change_info(root, lambda info: info["features"]["observation.state"].update(names={"motors": ["a.pos", "b", "c"]}))
    change_info(root, lambda info: info["features"]["action"].update(names=None))
    assert Demonstrations.load(root, limit=1).joint_names == ("a", "b", "c")


BREAKS = {
    "a missing description": (
        lambda root: (root / "meta" / "info.json").write_text("{}"),
        "info.json.*codebase_version",
    ),
    "an unknown version": (
        lambda root: change_info(root, lambda info: info.update(codebase_version="v1.6")),
        "info.json.*v2.x or v3.x.*v1.6",
    ),
    "a missing feature": (
        lambda root: change_info(root, lambda info: info["features"].pop("action")),
        "expected the feature 'action', found observation.state",
    ),
    "a missing column": (
        lambda root: parquet.write_table(parquet.read_table(root / V3_DATA).drop(["action"]), root / V3_DATA),
        "file-000.parquet, episode 0: expected the column 'action'",
    ),
    "numbers that are not finite": (
        lambda root: change_rows(root / V3_DATA, "action", _with(10, np.nan)),
        "file-000.parquet, episode 1: actions: .*nan for joint 'panda_joint1' at row 2.*skip",
    ),
    "rows of different widths": (
        lambda root: change_rows(root / V3_DATA, "action", pa.array([[0.0] * (2 + i % 2) for i in range(24)])),
        "episode 0: action: expected as many numbers in every row",
    ),
    "a table that is cut short": (lambda root: _cut(root / V3_DATA), "file-000.parquet.*parquet.*copy it again"),
    "a video that is cut short": (lambda root: _cut(root / V3_VIDEO), "file-000.mp4: observation.images.front of"),
    "a video that is missing": (lambda root: (root / V3_VIDEO).unlink(), "file-000.mp4"),
    "a list of episodes that is missing": (
        lambda root: (root / "meta/episodes/chunk-000/file-000.parquet").unlink(),
        "meta/episodes: expected chunk-",
    ),
    "fewer rows than promised": (
        lambda root: parquet.write_table(parquet.read_table(root / V3_DATA).slice(0, 20), root / V3_DATA),
        "episode 2: expected 7 rows as meta/ says, got 3",
    ),
    "a path out of the data set": (
        lambda root: change_info(root, lambda info: info.update(data_path="../secret.parquet")),
        "leads out of the data set",
    ),
}


def _with(row, value):
    values = np.concatenate([path_of(e, n)[1:] for e, n in enumerate(LENGTHS)])
    values[row, 0] = value
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 3)


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("what", BREAKS)
def test_broken_data_is_named(tmp_path, what):
    root = write(tmp_path / "set")
    break_it, message = BREAKS[what]
    break_it(root)
    with pytest.raises(DatasetError, match=message):
        Demonstrations.load(root)


def test_an_episode_of_one_row_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="episode 1: expected at least 2 rows, got 1.*skip"):
        Demonstrations.load(write(tmp_path / "set", stills=True, lengths=(4, 1)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"cameras": {"top": "observation.images.up"}},
            "camera 'top'.*observation.images.front, observation.images.wrist",
        ),
        ({"joints": ["elbow"]}, "joint 'elbow': expected 'elbow' among the names of observation.state"),
        ({"action": "action.joints"}, "expected the feature 'action.joints'"),
        ({"actions": "x"}, "unknown key 'actions'"),
    ],
)
def test_a_description_that_does_not_fit(tmp_path, entries, message):
    root = write(tmp_path / "set", stills=True)
    with pytest.raises(DatasetError, match=message):
        Demonstrations.load(describe(tmp_path, root, **entries))
