"""Images and joints that belong together, or the reason why not."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.observe import Lack, ObservationBuffer, Unavailable
from ebt_policy_ros.core.settings import ObserveSettings
from ebt_policy_ros.core.types import Observation

from .fakes import SECOND, at

MS = 1_000_000
SETTINGS = ObserveSettings(cameras=("front", "wrist"), max_skew_s=0.03)


def image(shade: int) -> np.ndarray:
    return np.full((2, 2, 3), shade, np.uint8)


def filled(**stamps_ms: list[int]) -> ObservationBuffer:
    """A buffer with images of ``front`` and ``wrist`` and joints at these stamps after one second; shade = index."""
    buffer = ObservationBuffer(SETTINGS, ("a", "b"))
    for source, stamps in stamps_ms.items():
        for index, stamp_ms in enumerate(stamps):
            stamp_ns = SECOND + stamp_ms * MS
            if source == "joints":
                buffer.add_joints(stamp_ns, stamp_ns, ["b", "x", "a"], [stamp_ms * 10.0, 5.0, stamp_ms])
            else:
                buffer.add_image(source, stamp_ns, stamp_ns, image(index))
    return buffer


def seen(buffer: ObservationBuffer, now_ms: int) -> Observation:
    observation = buffer.observe(at(1 + now_ms / 1000))
    assert isinstance(observation, Observation), observation
    return observation


def lacking(buffer: ObservationBuffer, now_ms: int, *, steady_ms: int | None = None) -> Unavailable:
    steady_s = None if steady_ms is None else 1 + steady_ms / 1000
    trouble = buffer.observe(at(1 + now_ms / 1000, steady_s=steady_s))
    assert isinstance(trouble, Unavailable), trouble
    return trouble


def test_joints_are_matched_by_name_and_interpolated_at_the_newest_image() -> None:
    observation = seen(filled(front=[0, 100], wrist=[0, 90], joints=[80, 90, 110]), 120)
    assert observation.stamp_ns == SECOND + 100 * MS
    assert observation.joint_names == ("a", "b")
    np.testing.assert_allclose(observation.positions, [100.0, 1000.0])
    assert observation.images["front"][0, 0, 0] == 1
    assert observation.images["wrist"][0, 0, 0] == 1


@pytest.mark.parametrize(
    ("front", "wrist", "is_awaited"),
    [
        ([0, 33, 66, 100, 133], [0, 33, 66, 100], True),  # taken together
        ([0, 33, 66, 100, 133], [1, 35, 65, 101], True),  # about
        ([0, 33, 66, 100, 133], [16, 50, 83, 116], False),  # in between
        ([0, 33, 66, 100, 133], [0, 66], False),  # half the rate, as far as is known
        ([0, 33, 66, 100, 133], [0, 66, -66, -132], False),  # that has jumped back: its rate is not known
        ([0, 33, 66, 100, 133], [0, 33, 66, 133], False),  # one was lost before
        ([0, 33, 66, 100, 133], [0, 33, 66, 100, 133], False),
        ([0, 33, 66, 100, 133], [], False),
        ([], [], False),
    ],
)
def test_a_picture_is_awaited_that_its_cameras_rate_promises(
    front: list[int], wrist: list[int], is_awaited: bool
) -> None:
    buffer = filled(front=front, wrist=wrist, joints=[0])
    assert buffer.awaits_picture(at(1.134)) is is_awaited
    assert not buffer.awaits_picture(at(1.2))


def test_the_newest_pictures_are_at_hand() -> None:
    newest = filled(front=[0, 100], joints=[0]).newest_images()
    assert list(newest) == ["front"]
    assert newest["front"][0, 0, 0] == 1


def test_the_nearest_joints_do_when_none_are_newer() -> None:
    np.testing.assert_allclose(seen(filled(front=[100], wrist=[100], joints=[60, 80]), 100).positions[0], 80.0)


def test_an_older_set_is_taken_when_the_newest_images_do_not_match() -> None:
    observation = seen(filled(front=[0, 50, 100], wrist=[10, 60], joints=list(range(0, 120, 10))), 110)
    assert observation.stamp_ns == SECOND + 60 * MS
    assert observation.images["front"][0, 0, 0] == 1
    np.testing.assert_allclose(observation.positions[0], 60.0)


def test_without_cameras_the_newest_joints_count() -> None:
    buffer = ObservationBuffer(ObserveSettings(), ("a",))
    buffer.add_joints(5, 5, ["a"], [1.5])
    observation = buffer.observe(at(0.0))
    assert isinstance(observation, Observation)
    assert observation.stamp_ns == 5


def test_what_was_never_seen_is_named() -> None:
    trouble = lacking(filled(front=[0]), 0)
    assert trouble.lack is Lack.NOT_YET_SEEN
    assert trouble.sources == ("wrist", "joint_states")
    assert "wrist, joint_states" in trouble.reason


def test_an_old_stamp_is_stale_by_ros_time() -> None:
    buffer = filled(front=[0, 500], wrist=[0], joints=[500])
    trouble = lacking(buffer, 600, steady_ms=600)
    assert (trouble.lack, trouble.sources) == (Lack.STALE_STAMP, ("wrist",))
    assert "0.600 s" in trouble.reason
    assert "0.5 s" in trouble.reason


def test_silence_is_noticed_by_steady_time_when_ros_time_stands_still() -> None:
    buffer = filled(front=[0], wrist=[0], joints=[0])
    seen(buffer, 0)
    assert isinstance(buffer.observe(at(1.0, steady_s=1.9)), Observation)
    trouble = lacking(buffer, 0, steady_ms=1100)
    assert trouble.lack is Lack.STALE_RECEIPT
    assert "silent for 1.100 s" in trouble.reason


def test_a_stamp_from_the_future_is_no_observation() -> None:
    trouble = lacking(filled(front=[0], wrist=[0], joints=[100]), 0)
    assert (trouble.lack, trouble.sources) == (Lack.FUTURE_STAMP, ("joint_states",))
    assert "use_sim_time" in trouble.reason
    seen(filled(front=[0], wrist=[0], joints=[20]), 0)


def test_sources_that_never_coincide_are_skewed() -> None:
    trouble = lacking(filled(front=[0, 100], wrist=[50, 150], joints=[0, 50, 100, 150]), 150)
    assert trouble.lack is Lack.SKEWED
    assert "front -0.050 s" in trouble.reason
    assert lacking(filled(front=[100], wrist=[100], joints=[0, 30]), 100).lack is Lack.SKEWED


def test_a_zero_stamp_is_explained() -> None:
    buffer = ObservationBuffer(ObserveSettings(), ("a",))
    buffer.add_joints(0, 10 * SECOND, ["a"], [0.0])
    trouble = buffer.observe(at(10.0))
    assert isinstance(trouble, Unavailable)
    assert "stamp is zero" in trouble.reason


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (["a", "b"], [1.0, np.nan], ["b", "finite"]),
        (["a", "b"], [np.inf, 1.0], ["a", "finite"]),
        (["a", "b", "a"], [1.0, 2.0, 3.0], ["a", "more than once"]),
        (["a", "b"], [1.0], ["1 and 2"]),
        (["a"], [1.0], ["joints b are missing"]),
        ([], [], ["joints a, b are missing", "got none"]),
        (["a", "b"], ["x", 1.0], ["numbers"]),
    ],
)
def test_malformed_joints_are_named_and_counted(names: list[str], positions: list[float], words: list[str]) -> None:
    buffer = filled(front=[0], wrist=[0], joints=[0])
    with pytest.raises(MessageError) as caught:
        buffer.add_joints(SECOND + 1, SECOND + 1, names, positions)
    for word in words:
        assert word in str(caught.value)
    assert buffer.counters() == {"malformed_joints": 1}
    seen(buffer, 0)


def test_velocities_are_kept_when_they_are_numbers() -> None:
    buffer = ObservationBuffer(ObserveSettings(), ("a", "b"))
    buffer.add_joints(1, 1, ["b", "a"], [1.0, 2.0], [3.0, 4.0])
    newest = buffer.latest_joints()
    assert newest is not None
    assert newest.velocities is not None
    assert newest.velocities.tolist() == [4.0, 3.0]
    buffer.add_joints(2, 2, ["b", "a"], [1.0, 2.0], [np.nan, 4.0])
    newest = buffer.latest_joints()
    assert newest is not None
    assert newest.velocities is None
    with pytest.raises(MessageError, match="velocities"):
        buffer.add_joints(3, 3, ["b", "a"], [1.0, 2.0], [3.0])


def test_malformed_images_and_unknown_cameras_are_named_and_counted() -> None:
    buffer = filled(front=[0], wrist=[0], joints=[0])
    for bad in (np.zeros((2, 2), np.uint8), np.zeros((2, 0, 3), np.uint8), np.zeros((2, 2, 3))):
        with pytest.raises(MessageError, match="front"):
            buffer.add_image("front", SECOND + 1, SECOND + 1, bad)
    with pytest.raises(MessageError, match="'top'.*front, wrist"):
        buffer.add_image("top", 0, 0, image(0))
    assert buffer.counters() == {"malformed_image": 3, "unknown_camera": 1}


def test_overtaken_messages_are_passed_over_and_a_jump_back_begins_anew() -> None:
    buffer = filled(front=[0, 100], wrist=[100], joints=[100])
    buffer.add_image("front", SECOND + 50 * MS, SECOND, image(9))
    assert seen(buffer, 100).images["front"][0, 0, 0] == 1
    assert buffer.counters() == {"out_of_order": 1}
    buffer.add_image("front", 10 * MS, SECOND, image(9))
    assert buffer.counters()["stamp_jumped_back"] == 1
    assert lacking(buffer, 100).sources == ("front",)
    buffer.clear()
    assert lacking(buffer, 100).lack is Lack.NOT_YET_SEEN


def test_callbacks_and_model_thread_may_meet() -> None:
    buffer = filled(front=[0], wrist=[0], joints=[0])
    stop = threading.Event()

    def feed() -> None:
        stamp_ns = SECOND
        while not stop.is_set():
            stamp_ns += MS
            buffer.add_image("front", stamp_ns, stamp_ns, image(1))
            buffer.add_image("wrist", stamp_ns, stamp_ns, image(1))
            buffer.add_joints(stamp_ns, stamp_ns, ["a", "b"], [0.0, 0.0])

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for _ in range(300):
            newest = buffer.latest_joints()
            assert newest is not None
            instant = at(newest.stamp_ns / SECOND)
            found = buffer.observe(instant)
            assert isinstance(found, Observation) or found.lack in (Lack.FUTURE_STAMP, Lack.SKEWED)
    finally:
        stop.set()
        feeder.join()


def frozen_front(
    *, moves: float, pictures: int = 10, changes_at: int = -1, max_unseen_motion: float = 0.1, before: int = 2
) -> ObservationBuffer:
    """``pictures`` of both cameras 100 ms apart; the front's stay equal, joint ``b`` moves by ``moves`` altogether.

    ``before``: other pictures of the front's, before that.
    """
    settings = ObserveSettings(cameras=("front", "wrist"), max_unseen_motion=max_unseen_motion)
    buffer = ObservationBuffer(settings, ("a", "b"))
    for index in range(before):
        buffer.add_image("front", SECOND - 100 * MS * (before - index), SECOND, image(100 + index))
    for index in range(pictures):
        stamp_ns = SECOND + 100 * MS * index
        buffer.add_image("front", stamp_ns, stamp_ns, image(7 if index == changes_at else 0))
        buffer.add_image("wrist", stamp_ns, stamp_ns, image(index))
        buffer.add_joints(stamp_ns, stamp_ns, ["a", "b"], [0.0, moves * index / (pictures - 1)])
    return buffer


def test_a_picture_that_stays_the_same_while_the_arm_moves_is_no_observation() -> None:
    trouble = lacking(frozen_front(moves=0.3), 900)
    assert trouble.lack is Lack.FROZEN
    assert trouble.sources == ("front",)
    assert trouble.reason.startswith(
        "front: frozen, the same picture for 0.900 s while b moved by 0.300, allowed are 0.1"
    )


def test_another_picture_ends_it() -> None:
    buffer = frozen_front(moves=0.3)
    buffer.add_image("front", SECOND + 1000 * MS, SECOND + 1000 * MS, image(1))
    buffer.add_image("wrist", SECOND + 1000 * MS, SECOND + 1000 * MS, image(1))
    buffer.add_joints(SECOND + 1000 * MS, SECOND + 1000 * MS, ["a", "b"], [0.0, 0.3])
    seen(buffer, 1000)


@pytest.mark.parametrize(
    "harmless",
    [
        {"moves": 0.09},  # the arm rests: nothing need change
        {"moves": 0.3, "pictures": 6},  # for no longer than a picture may be old
        {"moves": 0.3, "changes_at": 5},
        {"moves": 0.3, "max_unseen_motion": 0.0},
        {"moves": 0.3, "before": 0},  # a test pattern
    ],
)
def test_equal_pictures_are_fine(harmless: dict[str, float]) -> None:
    seen(frozen_front(**harmless), 100 * (int(harmless.get("pictures", 10)) - 1))


def test_a_frozen_camera_counts_from_the_first_joints_on() -> None:
    buffer = ObservationBuffer(ObserveSettings(cameras=("front",)), ("a",))
    for index in range(12):
        stamp_ns = SECOND + 100 * MS * (index - 2)
        buffer.add_image("front", stamp_ns, stamp_ns, image(max(0, 2 - index)))
        if index > 6:
            buffer.add_joints(stamp_ns, stamp_ns, ["a"], [5.0 + 0.05 * index])
    assert lacking(buffer, 900).lack is Lack.FROZEN


def test_a_cleared_buffer_has_not_seen_the_picture() -> None:
    buffer = frozen_front(moves=0.3)
    buffer.clear()
    assert lacking(buffer, 900).lack is Lack.NOT_YET_SEEN
    for source in ("front", "wrist"):
        buffer.add_image(source, SECOND, SECOND, image(0))
    buffer.add_joints(SECOND, SECOND, ["a", "b"], [0.0, 0.0])
    seen(buffer, 0)
