"""Streams at their own rates, late, doubled, skewed and with holes -> rows one period apart."""

import numpy as np
import pytest

from ebt_policy_ros.bags import ActionTopic, Bag, BagTopics, CutSettings
from ebt_policy_ros.core.errors import DatasetError

from .recordings import (
    JOINTS,
    SECOND,
    T0,
    TYPES,
    Recorder,
    boolean,
    image,
    joint_state,
    jpeg,
    picture,
    record,
    trajectory,
)

MS = 1_000_000


def read(path, topics=None, **settings):
    with Bag(path, topics, CutSettings(**settings)) as bag:
        found = [bag.load(plan) for plan in bag.plans()]
        return found, bag.left_out


def only(path, topics=None, **settings):
    found, left_out = read(path, topics, **settings)
    assert len(found) == 1, left_out
    return found[0]


def test_rows_are_made_by_stamp_not_by_arrival(tmp_path):
    path = record(tmp_path / "bag", 2.0, joint_hz=500, camera_hz=30, latency_ns=30 * MS, joints=lambda t: [t, -t, 0.02])
    found = only(path)
    seconds = (found.episode.stamps_ns - T0) / SECOND
    np.testing.assert_allclose(np.diff(seconds), 0.05)
    assert seconds[0] == 0.0
    np.testing.assert_allclose(found.episode.positions[:, 0], seconds, atol=1e-9)
    # The newest picture not newer than the row; jitter within a tenth of a period is forgiven.
    np.testing.assert_array_equal(found.episode.images["front"][:, 0, 0, 0], np.floor(seconds * 30 + 0.15))
    assert found.trouble.skew_s == pytest.approx(1 / 60, abs=1e-3)


def test_recorder_latency_does_not_shift_commands(tmp_path):
    prompt, late = only(record(tmp_path / "a", 1.0)), only(record(tmp_path / "b", 1.0, latency_ns=40 * MS))
    np.testing.assert_array_equal(prompt.episode.actions, late.episode.actions)
    seconds = (prompt.episode.stamps_ns - T0) / SECOND
    np.testing.assert_allclose(prompt.episode.actions[:, 0], seconds + 0.1, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"storage": "sqlite3"}, {"compression": "STORAGE"}, {"compression": "FILE", "storage": "sqlite3"}, {"version": 9}],
)
def test_every_storage_reads_the_same(tmp_path, options):
    expected = only(record(tmp_path / "plain", 0.5)).episode
    found = only(record(tmp_path / "bag", 0.5, **options)).episode
    np.testing.assert_array_equal(found.actions, expected.actions)
    np.testing.assert_array_equal(found.images["front"], expected.images["front"])


def write(path, joints=(), pictures=(), commands=(), more=()):
    """Messages at (recorded, stamped) times [ms]."""
    entries = [(log, "/joint_states", joint_state(T0 + stamp * MS, [stamp, 0, 0])) for log, stamp in joints]
    entries += [(log, "/camera/front/image_raw", image(T0 + stamp * MS, picture(n)))
                for n, (log, stamp) in enumerate(pictures)]  # fmt: skip
    entries += [(log, "/joint_trajectory", message) for log, message in commands]
    entries += list(more)
    with Recorder(path) as recorder:
        for log, topic, message in sorted(entries, key=lambda entry: entry[0]):
            recorder.add(topic, message, T0 + log * MS)
    return path


def steady(begin, end, step):
    return [(t, t) for t in range(begin, end, step)]


def test_a_little_jitter_neither_repeats_nor_drops_pictures(tmp_path):
    pictures = [(t + (3 if t % 100 else 0), t + (3 if t % 100 else 0)) for t in range(0, 1000, 50)]
    found = only(write(tmp_path / "bag", steady(0, 1000, 10), pictures, [(0, target(0, 1))]))
    np.testing.assert_array_equal(found.episode.images["front"][:, 0, 0, 0], np.arange(20))


def target(stamp_ms, value, **more):
    return trajectory(T0 + stamp_ms * MS, [0.0, 0.05], [[value, 0, 0]] * 2, **more)


def test_doubled_and_late_messages_are_counted_and_left_out(tmp_path):
    pictures = steady(0, 1000, 50)
    pictures[5:5] = [(205, 200), (206, 150)]
    joints = steady(0, 1000, 10)
    joints[50:50] = [(491, 300)]
    found = only(write(tmp_path / "bag", joints, pictures, [(0, target(0, 1))]))
    assert found.trouble.duplicated == {"joints": 0, "camera front": 1}
    assert found.trouble.backward == {"joints": 1, "camera front": 1}
    np.testing.assert_allclose(found.episode.positions[:, 0], np.arange(0, 1000, 50))
    assert np.all(np.diff(found.streams["camera front"]) > 0)
    numbers = [n for n in range(22) if n not in (5, 6)]
    np.testing.assert_array_equal(found.episode.images["front"][:, 0, 0, 0], numbers)


def test_a_gap_cuts_an_episode_or_is_refused(tmp_path):
    pictures = [p for p in steady(0, 2000, 50) if not 800 <= p[0] < 1400]
    path = write(tmp_path / "bag", steady(0, 2000, 10), pictures, [(0, target(0, 1))])
    found, _ = read(path)
    assert [f.name.rsplit(", ")[-1] for f in found] == ["part 0", "part 1"]
    first, second = ((f.episode.stamps_ns - T0) // MS for f in found)
    assert (first[0], first[-1]) == (0, 1050)  # the last picture may serve for 0.3 s
    assert (second[0], second[-1]) == (1400, 1950)
    assert found[0].trouble.rows_in_gaps == 6
    assert found[0].trouble.largest_gap_s == pytest.approx(0.6)
    with pytest.raises(DatasetError, match=r"episode 0: 0\.35 s without a picture.*max_gap_s"):
        read(path, split_at_gaps=False)
    assert len(read(path, max_gap_s=0.7)[0]) == 1


def test_a_hole_in_the_joint_states_is_a_gap_too(tmp_path):
    joints = [j for j in steady(0, 2000, 10) if not 700 <= j[0] < 1200]
    found, _ = read(write(tmp_path / "bag", joints, steady(0, 2000, 50), [(0, target(0, 1))]))
    assert [((f.episode.stamps_ns[[0, -1]] - T0) // MS).tolist() for f in found] == [[0, 650], [1200, 1950]]


def test_rows_begin_when_everything_is_there(tmp_path):
    path = write(tmp_path / "bag", steady(130, 1000, 10), steady(100, 1000, 50), [(220, target(220, 1))])
    rows = (only(path).episode.stamps_ns - T0) // MS
    assert rows[0] == 250  # the first picture with a command in force
    assert rows[-1] == 950


def test_a_trajectory_is_followed_as_its_controller_would(tmp_path):
    """Linear without velocities, cubic with them; replaced on receipt, from where the command is; held at the end."""
    slow = trajectory(T0, [1.0], [[1.0, 0, 0]], None)
    smooth = trajectory(T0 + 500 * MS, [0.2, 0.4], [[2.0, 0, 0], [3.0, 0, 0]], [[1.0, 0, 0], [0.0, 0, 0]])
    entries = [(t, "/joint_states", joint_state(T0 + t * MS, [0.0, 0, 0])) for t in range(0, 1500, 10)]
    path = write(tmp_path / "bag", [], steady(0, 1500, 50), [(0, slow), (500, smooth)], entries)
    actions = only(path).episode.actions[:, 0]
    np.testing.assert_allclose(actions[:10], np.arange(10) * 0.05, atol=1e-9)
    # Hermite from 0.5 with the slope 1/s of the running line to 2 with slope 1/s, half way.
    assert actions[12] == pytest.approx((0.5 + 2.0) / 2 + 0.2 / 8 * (1.0 - 1.0))
    assert actions[14] == pytest.approx(2.0)
    assert actions[18] == pytest.approx(3.0)
    assert actions[-1] == 3.0


def test_what_a_controller_refuses_changes_nothing_and_is_reported(tmp_path):
    commands = [
        (0, target(0, 1)),
        (200, target(0, 7)),  # over before it came
        (250, target(250, 8, names=("shoulder", "elbow", "nose"))),
        (300, trajectory(T0 + 300 * MS, [0.1], [[9, 0, 0]], [[1, 0, 0]])),  # still moving at its end
        (350, trajectory(T0 + 350 * MS, [0.1], [[9, 0]])),  # ragged
        (400, target(400, 2)),
    ]
    found = only(write(tmp_path / "bag", steady(0, 800, 10), steady(0, 800, 50), commands))
    np.testing.assert_array_equal(found.episode.actions[:, 0], [1.0] * 8 + [2.0] * 8)
    assert len(found.trouble.refused) == 4
    assert any("nose" in reason for reason in found.trouble.refused)


def test_without_one_command_that_is_followed_there_is_no_episode(tmp_path):
    path = write(tmp_path / "bag", steady(0, 800, 10), steady(0, 800, 50), [(500, target(0, 7))])
    found, left_out = read(path)
    assert found == []
    assert "no command that a controller would follow (of 1, the first: the trajectory ended" in left_out[0]


def test_a_leader_arm_commands_by_its_joint_states(tmp_path):
    names = ("finger_slide", "elbow", "shoulder")
    leader = [(t, "/leader", joint_state(T0 + t * MS, [0.01, t, 5], names)) for t in range(100, 1000, 20)]
    path = write(tmp_path / "bag", steady(0, 1000, 10), steady(0, 1000, 50), more=leader)
    found = only(path, BagTopics(actions=(ActionTopic("/leader", "joint_state"),))).episode
    assert (found.stamps_ns[0] - T0) // MS == 100
    np.testing.assert_array_equal(found.actions[:3], [[5, 100, 0.01], [5, 140, 0.01], [5, 200, 0.01]])


def test_arm_and_gripper_may_be_commanded_apart(tmp_path):
    layout = TYPES["std_msgs/msg/MultiArrayLayout"]([], 0)
    gripper = [(t, "/gripper", TYPES["std_msgs/msg/Float64MultiArray"](layout, np.array([t / 1e4])))
               for t in range(0, 1000, 100)]  # fmt: skip
    arm = trajectory(T0, [0.0, 0.1], [[1.0, 2.0]] * 2, names=JOINTS[:2])
    path = write(tmp_path / "bag", steady(0, 1000, 10), steady(0, 1000, 50), [(0, arm)], gripper)
    both = (ActionTopic("/joint_trajectory"), ActionTopic("/gripper", "commands", JOINTS[2:]))
    actions = only(path, BagTopics(actions=both)).episode.actions
    np.testing.assert_allclose(actions[4], [1.0, 2.0, 0.02])
    # Alone, a topic decides which joints are learned.
    assert only(path).episode.joint_names == JOINTS[:2]
    with pytest.raises(DatasetError, match="nothing commands joint 'finger_slide'"):
        read(path, BagTopics(joint_names=JOINTS))


def test_measured_positions_may_stand_for_commands(tmp_path):
    path = write(tmp_path / "bag", steady(0, 500, 10), steady(0, 500, 50))
    found = only(path, BagTopics(actions=(ActionTopic(None, "next_position"),))).episode
    np.testing.assert_array_equal(found.actions[:-1], found.positions[1:])


def test_joints_are_matched_by_name(tmp_path):
    names = ("lift", "finger_slide", "shoulder", "elbow")
    states = [(t, "/joint_states", joint_state(T0 + t * MS, [9, 3, 1, 2], names)) for t in range(0, 500, 10)]
    others = [(t, "/joint_states", joint_state(T0 + t * MS, [0], ("wheel",))) for t in range(5, 500, 100)]
    path = write(tmp_path / "bag", [], steady(0, 500, 50), [(0, target(0, 1))], states + others)
    found = only(path).episode
    assert found.joint_names == ("finger_slide", "shoulder", "elbow")  # the lift is not commanded
    np.testing.assert_array_equal(found.positions[0], [3, 1, 2])
    np.testing.assert_array_equal(found.actions[0], [0, 1, 0])
    assert only(path, BagTopics(joint_names=("elbow", "shoulder"))).episode.joint_names == ("elbow", "shoulder")


def test_pictures_are_found_raw_or_compressed_under_either_name(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8) + np.array([200, 10, 30], np.uint8)
    compressed = [(t, "/camera/front/image_raw/compressed", jpeg(T0 + t * MS, red)) for t in range(0, 500, 50)]
    bgr = [(t, "/camera/top/image_raw", image(T0 + t * MS, red[..., ::-1], "bgr8")) for t in range(0, 500, 50)]
    path = write(tmp_path / "bag", steady(0, 500, 10), [], [(0, target(0, 1))], compressed + bgr)
    found = only(path).episode
    assert list(found.images) == ["front", "top"]
    for pictures in found.images.values():
        assert np.abs(pictures.astype(int) - red).max() < 6
    named = BagTopics(cameras={"left": "camera/front/image_raw", "right": "/camera/top/image_raw/compressed"})
    assert list(only(path, named).episode.images) == ["left", "right"]


def test_success_is_known_for_every_row(tmp_path):
    told = [(t, "/sim_node/success", boolean(t >= 600)) for t in range(0, 1000, 50)]
    found = only(write(tmp_path / "bag", steady(0, 1000, 10), steady(0, 1000, 50), [(0, target(0, 1))], told)).episode
    np.testing.assert_array_equal(found.success, (found.stamps_ns - T0) // MS >= 600)
    assert found.facts == {"success": True}
