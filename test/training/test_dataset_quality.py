"""Every defect that describe warns of, made on purpose; and none found where there is none."""

import numpy as np
import pytest

from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.readers import Episode, Joint, Recording, resampled

JOINTS = (Joint("elbow", "elbow", "rad"), Joint("finger_slide", "finger_slide", "m"))
PERIOD_S = 0.05
LAG = 3
LENGTH = 60


def good(number):
    """Fields of an episode whose positions follow the targets by three rows, seen by two moving cameras."""
    times = np.arange(LENGTH) * PERIOD_S
    elbow = (0.4 + 0.1 * number) * np.sin(2 * times + number)
    finger = np.where(times < 1.5, 0.04, 0.0)
    actions = np.stack([elbow, finger], 1).astype(np.float32)
    positions = np.concatenate([np.repeat(actions[:1], LAG, 0), actions[:-LAG]])
    images = np.random.default_rng(number).integers(20, 200, (LENGTH, 12, 12, 3), dtype=np.uint8)
    return {
        "name": f"episode {number}",
        "stamps_ns": np.arange(LENGTH, dtype=np.int64) * 50_000_000,
        "positions": positions,
        "actions": actions,
        "images": {"front": images, "wrist": images[:, ::-1]},
    }


def warnings(change=lambda number, fields: None, episodes=4):
    made = []
    for number in range(episodes):
        fields = good(number)
        change(number, fields)
        made.append(Episode(**fields))
    return Demonstrations.of(Recording("rosbag2", "lift", JOINTS, ("front", "wrist"), PERIOD_S, made)).warnings()


def test_nothing_is_found_in_good_data():
    assert warnings() == []
    made = Demonstrations.of(Recording("rosbag2", "lift", JOINTS, ("front",), PERIOD_S, [Episode(**good(0))]))
    assert made.quality[0].lag_s == pytest.approx(LAG * PERIOD_S)
    assert made.quality[0].rate_hz["camera front"] == pytest.approx(20)
    assert made.quality[0].duration_s == pytest.approx((LENGTH - 1) * PERIOD_S)


def freeze(number, fields):
    if number in (1, 3):
        fields["images"]["wrist"] = np.repeat(fields["images"]["wrist"][:1], LENGTH, 0)


def halve_rate(number, fields):
    fields["images"]["front"] = np.repeat(fields["images"]["front"][::2], 2, 0)


def overexpose(number, fields):
    if number == 2:
        fields["images"]["front"] = np.maximum(fields["images"]["front"], 255)


def darken(number, fields):
    fields["images"]["wrist"] = fields["images"]["wrist"] // 80


def cover(number, fields):
    if number == 2:
        fields["images"]["wrist"][:] = np.arange(LENGTH, dtype=np.uint8)[:, None, None, None] + 60


def fix_elbow(number, fields):
    for key in ("positions", "actions"):
        fields[key][:, 0] = 0.3


def stand_still(number, fields):
    if number == 0:
        for key in ("positions", "actions"):
            fields[key][:] = fields[key][0]


def degrees(number, fields):
    for key in ("positions", "actions"):
        fields[key] = fields[key] * np.float32([180 / np.pi, 1])


def jump(number, fields):
    if number == 1:
        fields["positions"][30, 0] += 3


def deltas(number, fields):
    change = np.diff(fields["positions"], axis=0, append=fields["positions"][-1:])
    fields["actions"] = change.astype(np.float32) + np.float32(1e-6)


def echo(number, fields):
    fields["actions"] = fields["positions"]


def other_zero(number, fields):
    fields["actions"] = fields["actions"] + np.float32([2.0, 0])


def dead_finger(number, fields):
    fields["actions"][:, 1] = 0.02


def hole(number, fields):
    if number == 3:
        stamps = np.delete(fields["stamps_ns"], range(20, 30))
        fields["streams"] = {"camera wrist": stamps, "joints": fields["stamps_ns"]}


def cut(number, fields):
    if number == 2:
        for key in ("stamps_ns", "positions", "actions"):
            fields[key] = fields[key][:10]
        fields["images"] = {camera: pictures[:10] for camera, pictures in fields["images"].items()}


def noted(number, fields):
    refused = ("stamp before the last",) if number == 1 else ()
    fields["record"] = {"trouble": {"duplicated": {"joints": 2}, "refused": refused, "rows_in_gaps": 5 * (number == 0)}}


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (freeze, ["camera wrist is frozen in episodes 1, 3"]),
        (halve_rate, ["camera front repeats", "all 4 episodes"]),
        (overexpose, ["camera front is overexposed in episode 2"]),
        (darken, ["camera wrist is dark in all 4 episodes"]),
        (cover, ["camera wrist sees one colour only in episode 2"]),
        (fix_elbow, ["joint elbow never moves"]),
        (stand_still, ["the arm does not move in episode 0"]),
        (degrees, ["joint elbow goes from", "not radians", "unit: deg"]),
        (jump, ["joint elbow jumps in episode 1"]),
        (deltas, ["actions look like deltas", "next_position"]),
        (echo, ["actions are the measured positions of the same row"]),
        (other_zero, ["actions are far from the positions", "all 4 episodes"]),
        (dead_finger, ["joint finger_slide moves but its action never changes"]),
        (hole, ["camera wrist: gaps of up to 0.55 s in episode 3"]),
        (cut, ["episode 2: unusually short (0.5 s; the median is 3.0 s)"]),
        (noted, ["joints: 8 messages came twice in all 4 episodes", "refuse some trajectories in episode 1 (the first: "
                 "stamp before", "5 rows are left out for gaps in episode 0"]),
    ],
)  # fmt: skip
def test_defects_are_found_and_named(change, sentences):
    found = "\n".join(warnings(change))
    for sentence in sentences:
        assert sentence in found


def test_resampled_rows_are_never_from_the_future():
    episode = Episode(**good(0))
    faster = resampled(episode, 0.02)
    assert faster.stamps_ns[1] - faster.stamps_ns[0] == 20_000_000
    old = np.searchsorted(episode.stamps_ns, faster.stamps_ns, side="right") - 1
    np.testing.assert_array_equal(faster.images["front"], episode.images["front"][old])
    np.testing.assert_allclose(faster.positions[::5], episode.positions[::2], atol=1e-6)
    assert set(faster.streams) == {"joints", "actions", "camera front", "camera wrist"}
