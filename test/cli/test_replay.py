"""Bags through the pipeline again: sound ones, and ones in which everything goes wrong."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import yaml
from bags.recordings import SECOND, T0, Recorder, image, joint_state, picture
from messages.urdfs import panda_urdf
from nodes.tiny_bundle import HOME, JOINTS, SIZE, make_tiny_bundle

from ebt_policy_ros.assemble import load_robot
from ebt_policy_ros.bags import Bag
from ebt_policy_ros.cli.main import main
from ebt_policy_ros.messages.urdf_tool import UrdfTool
from ebt_policy_ros.resources import find_robot

MS = 1_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def tick(bag, stamp_ns, row, *, log_ns=None, cameras=("front", "wrist"), pixels=None):
    """Joints and pictures at one stamp."""
    log_ns = stamp_ns + 2 * MS if log_ns is None else log_ns
    bag.add("/joint_states", joint_state(stamp_ns, HOME, JOINTS), log_ns)
    for camera in cameras:
        shown = picture(row, SIZE) if pixels is None else pixels
        bag.add(f"/camera/{camera}/image_raw", image(stamp_ns, shown), log_ns + MS)


def written(path, ticks=60, storage="mcap"):
    """Three seconds in which nothing is wrong."""
    with Recorder(path, storage=storage) as bag:
        for row in range(ticks):
            tick(bag, T0 + 50 * MS * row, row)
    return path


def replayed(path, model, *more):
    result = path.parent / "result.json"
    status = main(["replay", str(path), "--model", str(model), "--json", str(result), *more])
    return status, json.loads(result.read_text())


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_without_statuses_is_planned_on_as_the_node_would(model, tmp_path, capsys, storage):
    status, result = replayed(written(tmp_path / "bag", storage=storage), model)
    assert status == 0
    assert result["timing"] == "free"
    assert 6 <= result["chunks"] <= 10  # every 0.4 s
    assert result["recorded"] is None
    assert result["sources"]["front"]["messages"] == 60
    assert result["holds"] == {"nothing received yet from front, wrist": 1, "nothing received yet from wrist": 1}
    assert "chunks in" in capsys.readouterr().out
    again = replayed(tmp_path / "bag", model)[1]
    for one in (result, again):
        one.pop("think_ms")
    assert again == result


def test_two_bundles_are_compared_on_the_same_observations(model, tmp_path):
    other = make_tiny_bundle(tmp_path / "other")
    same = replayed(written(tmp_path / "bag"), model, "--compare", str(other))[1]["compare"]
    assert same["chunks"] > 5
    assert set(same["mean_difference"].values()) == {0.0}
    assert set(same["mean_difference"]) == set(JOINTS)
    more = replayed(tmp_path / "bag", model, "--compare", str(other), "--set", "minimise.seed=5")[1]["compare"]
    assert more["chunks"] == same["chunks"]


def test_gaps_jumps_late_frames_and_nonsense_are_counted_and_nothing_breaks(model, tmp_path, capsys):
    with Recorder(tmp_path / "bag") as bag:
        row, now_ns = 0, T0
        for row in range(30):
            now_ns = T0 + 50 * MS * row
            tick(bag, now_ns, row)
        now_ns += 2 * SECOND  # a gap
        for row in range(30, 50):
            now_ns += 50 * MS
            tick(bag, now_ns, row)
        # Two cameras' frames come half a second late, and in between one whose sizes do not fit, and joints of nobody.
        for row in range(50, 70):
            now_ns += 50 * MS
            tick(bag, now_ns, row, cameras=("front",))
            bag.add("/camera/wrist/image_raw", image(now_ns - 500 * MS, picture(row, SIZE)), now_ns + 3 * MS)
        broken = image(now_ns + MS, picture(3, SIZE))
        broken.step = 5
        bag.add("/camera/front/image_raw", broken, now_ns + 4 * MS)
        bag.add("/joint_states", joint_state(now_ns + MS, [1.0], ["nobody"]), now_ns + 5 * MS)
        log_ns = now_ns
        for row in range(70, 110):  # the clock jumps back to the beginning
            tick(bag, T0 + 50 * MS * (row - 70), row, log_ns=log_ns + 50 * MS * (row - 69))
    status, result = replayed(tmp_path / "bag", model, "--report", str(tmp_path / "page.html"))
    assert status == 0
    front, wrist, joints = (result["sources"][name] for name in ("front", "wrist", "joint_states"))
    assert (front["gaps"], front["jumps_back"], front["refused"]) == (1, 1, 1)
    assert front["longest_gap_s"] == pytest.approx(2.05)
    assert wrist["out_of_order"] == 10
    assert joints["refused"] == 1
    assert result["events"]["clock jumped back"] == 1
    assert any("step" in reason for reason in result["refusals"])
    assert any("#" in reason for reason in result["holds"])  # stale, or stamps that do not match
    assert result["chunks"] > 10
    said = capsys.readouterr().out
    assert "front: 1 refused, 1 gaps, 1 jumps back" in said
    page = (tmp_path / "page.html").read_text()
    assert "chunks in" in page
    assert page.count("<svg") >= 1


def test_what_was_replayed_is_a_bag_again(model, tmp_path):
    replayed(written(tmp_path / "bag"), model, "--record", str(tmp_path / "out.mcap"))
    assert (tmp_path / "out.mcap").is_file()
    with Bag(tmp_path / "out.mcap") as bag:
        counts = {connection.topic: connection.msgcount for connection in bag.connections}
    assert counts["/joint_states"] == counts["/camera/front/image_raw"] == 60
    assert counts["/replay/joint_trajectory"] == counts["/replay/energy"] > 5
    assert counts["/replay/plan"] == counts["/replay/joint_trajectory"]
    assert counts["/replay/status"] >= counts["/replay/energy"]
    assert not list(tmp_path.glob(".replay-*"))
    assert main(["replay", str(tmp_path / "bag"), "--model", str(model), "--record", str(tmp_path / "out.mcap")]) == 2


def test_topics_of_foreign_types_are_copied_as_they_are(model, tmp_path):
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float64 value", "my_robot_msgs/msg/Torque"))
    forever = QosTime(2147483647, 4294967295)
    latched = Qos(
        QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, forever, forever,
        QosLiveliness.AUTOMATIC, forever, False,
    )  # fmt: skip
    with Recorder(tmp_path / "bag") as bag:
        for row in range(30):
            tick(bag, T0 + 50 * MS * row, row)
        kind = "my_robot_msgs/msg/Torque"
        foreign = bag._writer.add_connection("/torque", kind, typestore=store, offered_qos_profiles=[latched])
        bag._writer.write(foreign, T0, store.serialize_cdr(store.types[kind](1.5), kind))
    replayed(tmp_path / "bag", model, "--record", str(tmp_path / "out"))
    with Reader(tmp_path / "out") as reader:
        (found,) = [connection for connection in reader.connections if connection.topic == "/torque"]
        assert found.msgtype == "my_robot_msgs/msg/Torque"
        assert "float64 value" in found.msgdef.data
        assert found.ext.offered_qos_profiles[0].durability == QosDurability.TRANSIENT_LOCAL
        ((_, log_ns, data),) = reader.messages([found])
        assert (log_ns, store.deserialize_cdr(data, kind).value) == (T0, 1.5)


def test_the_path_is_that_of_the_robot_that_was_named(model, tmp_path):
    entries = yaml.safe_load(find_robot("panda_sim").read_text())
    del entries["kinematics"]
    (tmp_path / "pathless.yaml").write_text(yaml.safe_dump(entries))
    replayed(
        written(tmp_path / "bag"), model, "--robot", str(tmp_path / "pathless.yaml"), "--record", str(tmp_path / "out")
    )
    with Bag(tmp_path / "out") as bag:
        topics = {connection.topic for connection in bag.connections}
    assert "/replay/joint_trajectory" in topics
    assert "/replay/plan" not in topics


@pytest.mark.skipif(importlib.util.find_spec("pinocchio") is None, reason="Pinocchio is not installed")
def test_the_path_can_be_drawn_with_a_urdf(model, tmp_path):
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_typestore

    (tmp_path / "panda.urdf").write_text(panda_urdf())
    more = ["--urdf", str(tmp_path / "panda.urdf"), "--record", str(tmp_path / "out")]
    replayed(written(tmp_path / "bag"), model, *more)
    store = get_typestore(Stores.ROS2_JAZZY)
    with Reader(tmp_path / "out") as reader:
        plans = [connection for connection in reader.connections if connection.topic == "/replay/plan"]
        told = [store.deserialize_cdr(data, one.msgtype) for one, _, data in reader.messages(plans)]
    assert len(told) > 5
    # The robot file names panda_link0; the fingers' hand in it, at home and in all that the tiny policy does.
    assert {marker.header.frame_id for plan in told for marker in plan.markers} == {"panda_link0"}
    robot, settings = load_robot("panda_sim")
    hand = UrdfTool(panda_urdf(), robot, settings).tool_positions(JOINTS, HOME)[0]
    begin = told[0].markers[0].points[0]
    np.testing.assert_allclose([begin.x, begin.y, begin.z], hand, atol=0.05)
    assert np.linalg.norm(settings.chain.tool_positions(JOINTS, HOME)[0] - hand) > 0.1


def test_a_urdf_that_cannot_be_used_is_told_before_anything_is_replayed(model, tmp_path, capsys):
    (tmp_path / "bad.urdf").write_text("<robot/>")
    assert main(["replay", str(tmp_path / "no_bag"), "--urdf", str(tmp_path / "bad.urdf")]) == 2
    assert "bad.urdf: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        (["--timing", "recorded"], "no status of a node that says when it planned; use --timing free"),
        (["--topic", "front=/elsewhere"], "no messages on topic /elsewhere (camera 'front')"),
        (["--topic", "tail=/elsewhere"], "topic of 'tail': expected one of front, wrist, joint_states"),
        (["--set", "retry.patience=1"], "retry"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence(model, tmp_path, capsys, more, wrong):
    written(tmp_path / "bag", ticks=5)
    assert main(["replay", str(tmp_path / "bag"), "--model", str(model), *more]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert wrong in error


def test_a_bag_in_which_nothing_fits_together_is_an_error(model, tmp_path, capsys):
    with Recorder(tmp_path / "bag") as bag:
        bag.add("/joint_states", joint_state(T0, HOME, JOINTS), T0)
        bag.add("/camera/front/image_raw", image(T0 + 9 * SECOND, picture(1, SIZE)), T0 + MS)
        bag.add("/camera/wrist/image_raw", image(T0 + 5 * SECOND, picture(1, SIZE)), T0 + MS)
    assert main(["replay", str(tmp_path / "bag"), "--model", str(model)]) == 2
    assert "nothing was planned from it" in capsys.readouterr().err


def test_a_trajectory_is_the_same_only_bit_for_bit():
    from types import SimpleNamespace

    from messages.safe_chunks import safe_chunk

    from ebt_policy_ros.cli.replay_run import trajectory_difference
    from ebt_policy_ros.messages import TrajectoryReading

    chunk = safe_chunk()
    same = TrajectoryReading(
        chunk.start_ns, chunk.joint_names, chunk.times_s, chunk.positions, chunk.velocities, chunk.accelerations
    )
    replayed = SimpleNamespace(command=chunk)
    assert trajectory_difference(replayed, same) == 0.0
    for name in ("positions", "velocities", "accelerations"):
        off = dataclasses.replace(same, **{name: getattr(same, name) + 1e-12})
        assert 0.0 < trajectory_difference(replayed, off) < 1e-11
    assert trajectory_difference(replayed, dataclasses.replace(same, start_ns=chunk.start_ns + 1)) == np.inf
    assert trajectory_difference(replayed, dataclasses.replace(same, accelerations=None)) == np.inf
    assert trajectory_difference(None, same) == np.inf
