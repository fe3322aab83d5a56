"""Episodes of one long recording: by success and reset, by the episode topic, at clock jumps."""

import numpy as np
import pytest

from ebt_policy_ros.bags import Bag, BagTopics, CutSettings
from ebt_policy_ros.bags.store import type_store

from .recordings import SECOND, T0, Recorder, boolean, image, joint_state, picture, record, trajectory

MS = 1_000_000


def read(path, **settings):
    with Bag(path, BagTopics(), CutSettings(**settings)) as bag:
        found = [bag.load(plan) for plan in bag.plans()]
        return found, bag.left_out


def times(found):
    return [((f.episode.stamps_ns[[0, -1]] - T0) // MS).tolist() for f in found]


def test_episodes_end_shortly_after_success_and_begin_at_the_reset(tmp_path):
    path = record(tmp_path / "bag", 6.0, success=lambda t: 1.0 <= t < 2.0 or 4.0 <= t < 5.0)
    found, left_out = read(path)
    assert times(found) == [[0, 1500], [2000, 4500]]
    assert len(left_out) == 1  # the last second has no success
    found, _ = read(path, only_successes=False, after_success_s=0.2)
    assert times(found) == [[0, 1200], [2000, 4200], [5000, 5950]]
    assert [f.episode.facts["success"] for f in found] == [True, True, False]


def test_without_a_success_topic_everything_is_one_episode(tmp_path):
    found, _ = read(record(tmp_path / "bag", 2.0))
    assert times(found) == [[0, 1950]]
    assert "success" not in found[0].episode.facts
    assert found[0].episode.success is None


def two_episodes(path, is_fulfilled):
    """Ticks 0 to 39 are episode 1 (seed 71), 40 to 79 episode 2 (seed 72), as the episode topic says."""
    types = type_store().types
    with Recorder(path) as recorder:
        for tick in range(80):
            stamp, number = T0 + tick * 50 * MS, 1 if tick < 40 else 2
            if tick % 20 == 0:
                pairs = (("episode", str(number)), ("seed", str(70 + number)))
                values = [types["diagnostic_msgs/msg/KeyValue"](*pair) for pair in pairs]
                status = types["diagnostic_msgs/msg/DiagnosticStatus"](0, "sim_node: episode", "", "lift", values)
                told = joint_state(stamp, []).header
                recorder.add("/sim_node/episode", types["diagnostic_msgs/msg/DiagnosticArray"](told, [status]), stamp)
            recorder.add("/joint_states", joint_state(stamp, [number, 0, 0]), stamp)
            recorder.add("/camera/front/image_raw", image(stamp, picture(tick)), stamp)
            recorder.add("/sim_node/success", boolean(is_fulfilled(tick)), stamp)
            if tick in (0, 39, 42):
                # One of the first episode's that comes late is not followed: the arm was put elsewhere.
                start = stamp if tick != 42 else stamp - 1 * SECOND
                recorder.add("/joint_trajectory", trajectory(start, [0.5, 5.0], [[tick, 0, 0]] * 2), stamp)
            if tick == 45:
                recorder.add("/joint_trajectory", trajectory(stamp, [0.0, 1.0], [[5, 0, 0]] * 2), stamp)
    return path


def test_the_episode_topic_separates_failures_from_what_follows(tmp_path):
    found, left_out = read(two_episodes(tmp_path / "bag", lambda tick: tick >= 60))
    assert times(found) == [[45 * 50, 70 * 50]]
    assert found[0].episode.facts == {"success": True, "seed": 72}
    np.testing.assert_array_equal(found[0].episode.actions[:, 0], 5.0)
    assert "episode 0: no success" in left_out[0]


def test_a_success_that_is_still_told_after_the_reset_is_the_old_one(tmp_path):
    found, _ = read(two_episodes(tmp_path / "bag", lambda tick: 30 <= tick < 42 or tick >= 60))
    assert times(found) == [[0, 1950], [45 * 50, 70 * 50]]
    assert [f.episode.facts["seed"] for f in found] == [71, 72]


def test_a_clock_that_jumps_back_begins_something_new(tmp_path):
    """As when a simulation starts anew, or a bag is played in a loop: the recorder's clock goes on."""
    path = tmp_path / "bag"
    with Recorder(path) as recorder:
        record(path, 1.5, recorder=recorder)
        # The cameras see the new clock a little later than the joints.
        late = T0 + 1480 * MS
        recorder.add("/joint_states", joint_state(T0, [0.0, 0, 0.02]), T0 + 1500 * MS)
        recorder.add("/camera/front/image_raw", image(late, picture(99)), T0 + 1501 * MS)
        record(path, 1.5, begin=T0 + 1, latency_ns=1510 * MS, recorder=recorder, joints=lambda t: [5 + t, 0, 0])
    found, _ = read(path)
    assert len(found) == 2
    assert times(found) == [[0, 1450], [0, 1450]]
    np.testing.assert_allclose(found[1].episode.positions[:, 0], 5 + np.arange(30) * 0.05, atol=1e-6)
    np.testing.assert_array_equal(found[1].episode.images["front"][:, 0, 0, 0], np.arange(30))


def test_simulated_time_stands_still_between_joint_states(tmp_path):
    """With /clock in the bag, a command received between two ticks came into force at the earlier one."""
    clock = type_store().types["rosgraph_msgs/msg/Clock"]
    path = tmp_path / "bag"
    with Recorder(path) as recorder:
        for tick in range(20):
            stamp, log = SECOND + tick * 50 * MS, T0 + tick * 400 * MS  # slower than real time
            recorder.add("/clock", clock(joint_state(stamp, []).header.stamp), log)
            recorder.add("/joint_states", joint_state(stamp, [0, 0, 0]), log + 1 * MS)
            recorder.add("/camera/front/image_raw", image(stamp, picture(tick)), log + 2 * MS)
            if tick in (0, 8):
                message = trajectory(stamp, [0.0, 0.05], [[tick, 0, 0]] * 2)
                recorder.add("/joint_trajectory", message, log + 300 * MS)
    (found,), _ = read(path)
    np.testing.assert_array_equal(found.episode.actions[:, 0], [0] * 8 + [8] * 12)


@pytest.mark.parametrize("hertz", [7, 25, 60])
def test_any_rate_of_the_camera_gives_rows_of_the_period(tmp_path, hertz):
    found, _ = read(record(tmp_path / "bag", 2.0, camera_hz=hertz), period_s=0.1)
    steps = np.diff(found[0].episode.stamps_ns)
    assert (steps == 100 * MS).all()
    assert len(steps) >= 17
