"""A path or a YAML file -> what kind of data set it is and how to read it."""

import sys

import numpy as np
import pytest

from ebt_policy_ros.training.dataset import DatasetError, Demonstrations
from ebt_policy_ros.training.readers import Joint, Source
from ebt_policy_ros.training.readers.source import describe_source


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("file", "given", "kind"),
    [
        ("set/meta/info.json", "set", "lerobot"),
        ("one.hdf5", "one.hdf5", "robomimic"),
        ("one.h5", "one.h5", "robomimic"),
        ("bag/metadata.yaml", "bag", "rosbag2"),
        ("bag/metadata.yaml", "bag/metadata.yaml", "rosbag2"),
        ("bag/x.mcap", "bag/x.mcap", "rosbag2"),
        ("bag/x.db3", "bag", "rosbag2"),
        ("bags/first/metadata.yaml", "bags", "rosbag2"),
    ],
)
def test_the_kind_is_found_out(tmp_path, file, given, kind):
    touch(tmp_path / file)
    assert describe_source(tmp_path / given).kind == kind


@pytest.mark.parametrize(
    ("file", "given", "message"),
    [
        ("x.txt", "nowhere", "no such file or directory; expected a rosbag2 bag"),
        ("x.txt", "x.txt", "x.txt: not a data set by its name"),
        ("set/x.txt", "set", "set: not a data set; expected .*meta/info.json.*; found x.txt"),
        ("set/a.hdf5", "set", "a robomimic data set is one file; expected the path of one of a.hdf5"),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path, file, given, message):
    touch(tmp_path / file)
    with pytest.raises(DatasetError, match=message):
        describe_source(tmp_path / given)


def described(tmp_path, text):
    touch(tmp_path / "data" / "meta" / "info.json")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_a_description_is_read(tmp_path):
    path = described(
        tmp_path,
        "path: data\ntask: pick\ncameras: {top: cam_high}\njoints: {a: deg, b: {key: motor.2}, finger_1: {}}\n"
        "state: measured\naction: wanted\nperiod_s: 0.1\nimage_size: [48, 64]\nskip: [3]\nfilter: train\n",
    )
    assert describe_source(path) == Source(
        path=tmp_path / "data",
        kind="lerobot",
        task="pick",
        cameras={"top": "cam_high"},
        joints=(Joint("a", "a", "deg"), Joint("b", "motor.2", "rad"), Joint("finger_1", "finger_1", "m")),
        state="measured",
        action="wanted",
        period_s=0.1,
        image_size=(48, 64),
        skip=frozenset({3}),
        options={"filter": "train"},
    )
    assert describe_source(path, task="push", period_s=None).task == "push"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: pick\n", "at least the key 'path'"),
        ("- 1\n", "at least the key 'path'"),
        ("path: [\n", "cannot be read"),
        ("path: !!python/object:os.system {}\n", "cannot be read"),
        ("path: nowhere\n", "path .*nowhere does not exist"),
        ("path: data\nkind: zarr\n", "kind 'zarr' is not known; expected rosbag2, lerobot, robomimic"),
        ("path: data\nimage_size: 96\n", "image_size: expected .height, width."),
        ("path: data\nperiod_s: fast\n", "period_s: expected 0.001 to 10 s, got fast"),
        ("path: data\nskip: 3\n", "skip: expected a list of episode numbers"),
        ("path: data\ncameras: [front]\n", "cameras: expected a mapping"),
        ("path: data\njoints: {a: gon}\n", "joints: a: unit 'gon' is not known"),
        ("path: data\njoints: {a: {name: x}}\n", "joints: a: key 'name' is not known"),
        ("path: data\naction: {topic: x}\n", "action: expected text"),
    ],
)
def test_a_bad_description_is_explained(tmp_path, text, message):
    with pytest.raises(DatasetError, match=f"mine.yaml.*{message}|{message}"):
        describe_source(described(tmp_path, text))


def test_sizes(tmp_path):
    source = Source(tmp_path, "lerobot")
    assert source.size_for([(84, 84), (84, 84)]) == (84, 84)
    assert source.size_for([(84, 84), (64, 64)]) == (96, 96)
    assert source.size_for([(480, 640)]) == (96, 96)
    assert Source(tmp_path, "lerobot", image_size=(72, 128)).size_for([(480, 640)]) == (72, 128)


@pytest.mark.parametrize(("file", "package"), [("set/meta/info.json", "pyarrow"), ("one.hdf5", "h5py")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, file, package):
    for name in [name for name in sys.modules if name.startswith("ebt_policy_ros.training.readers.")]:
        if name.rsplit(".", 1)[1] in ("lerobot", "robomimic"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    given = touch(tmp_path / file)
    with pytest.raises(DatasetError, match=rf"{package}.*pip install 'ebt_policy_ros\[data\]'"):
        Demonstrations.load(given if given.suffix == ".hdf5" else tmp_path / "set")


def test_units():
    assert Joint("a", "a", "deg").factor == pytest.approx(np.pi / 180)
    assert [Joint("a", "a", unit).robot_unit for unit in ("rad", "deg", "m", "mm")] == ["rad", "rad", "m", "m"]


@pytest.mark.parametrize("name", ["own_robot_bags", "own_robot_lerobot", "robomimic"])
def test_the_examples_can_be_read(tmp_path, name):
    """As they are but for the path."""
    from ebt_policy_ros.resources import find_resource

    lines = find_resource(f"config/data/{name}.yaml").read_text().splitlines()
    text = "\n".join("path: data" if line.startswith("path:") else line for line in lines)
    assert describe_source(described(tmp_path, text)).joints
