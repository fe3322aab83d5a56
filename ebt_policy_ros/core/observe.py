"""The newest images and joints that belong together, or the reason why there are none.

Stamps are ROS time and receive times steady time: a source whose stamps are old is stale, and so is one that fell
silent while ROS time stands still.
"""

from __future__ import annotations

import enum
import operator
import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.settings import ObserveSettings
from ebt_policy_ros.core.types import Floats, Instant, Observation, Pixels


class Lack(enum.Enum):
    """Kinds of trouble with the input."""

    NOT_YET_SEEN = "not yet seen"
    STALE_STAMP = "stale stamp"
    STALE_RECEIPT = "silent"
    FUTURE_STAMP = "stamp from the future"
    SKEWED = "skewed"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why there is no observation now."""

    lack: Lack
    sources: tuple[str, ...]
    """Which cameras or ``joint_states``."""
    reason: str
    """One sentence with source, value and what is allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class JointSample:
    """Joint states at one stamp, in the policy's order."""

    stamp_ns: int
    receive_ns: int
    positions: Floats
    """(D,) [rad or m]."""
    velocities: Floats | None
    """(D,) [rad/s or m/s] when the message had them for all joints."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """All that the buffer says at one moment."""

    seen: Observation | Unavailable
    joints: JointSample | None
    """The newest, however old."""
    newest_ns: Mapping[str, int]
    """Source (camera or ``joint_states``) -> stamp of its newest message [ns, ROS time]; those that were seen."""


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    stamp_ns: int
    receive_ns: int
    pixels: Pixels


@dataclass(slots=True, eq=False)
class _Change:
    """When a camera's picture last became another one."""

    stamp_ns: int
    positions: Floats | None
    """(D,) measured then [rad or m]; None when no joints had been seen yet."""


JOINT_STATES = "joint_states"
SAMPLED = 16
"""Every so many rows and columns are compared before whole pictures are: most differ there already. Before that it is
one row, which a camera's noise is enough for: it lies in one piece, while sampling waits for memory at every pixel."""
PERIODS = 6
"""Periods between pictures whose median is a camera's rate; half of them will do at the start."""
ALIVE = 3
"""Different pictures after which a camera that repeats one counts as frozen; one that never changed may well be a test
pattern, or look at nothing that moves."""


class ObservationBuffer:
    """Short histories of every camera and of the joints; locked, so that callbacks and the model thread share it."""

    def __init__(self, settings: ObserveSettings, joint_names: Sequence[str]) -> None:
        self._settings = settings
        self._joint_names = tuple(joint_names)
        self._images: dict[str, deque[_Image]] = {
            camera: deque(maxlen=settings.image_history) for camera in settings.cameras
        }
        self._joints: deque[JointSample] = deque(maxlen=settings.joint_history)
        self._places: tuple[tuple[str, ...], list[int]] = (), []
        """The names of the last joint state, and where the policy's joints are among them."""
        self._changes: dict[str, _Change] = {}
        self._num_pictures: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._counters: Counter[str] = Counter()

    def add_image(self, camera: str, stamp_ns: int, receive_ns: int, pixels: Pixels) -> None:
        """Store an image (height, width, 3) uint8 RGB, not copied; MessageError when it is none or nobody's camera."""
        with self._lock:
            if camera not in self._images:
                self._counters["unknown_camera"] += 1
                known = ", ".join(self._images) or "none"
                raise MessageError(f"image of camera '{camera}': expected one of the policy's cameras ({known})")
            if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape or pixels.dtype != np.uint8:
                self._counters["malformed_image"] += 1
                raise MessageError(
                    f"image of camera '{camera}': expected (height, width, 3) uint8, got {pixels.shape} {pixels.dtype}"
                )
            history = self._images[camera]
            if self._is_in_order(history, stamp_ns):
                if not history or not _is_same(history[-1].pixels, pixels):
                    self._num_pictures[camera] += 1
                    positions = self._joints[-1].positions if self._joints else None
                    self._changes[camera] = _Change(stamp_ns, positions)
                history.append(_Image(stamp_ns, receive_ns, pixels))

    def add_joints(
        self,
        stamp_ns: int,
        receive_ns: int,
        names: Sequence[str],
        positions: Sequence[float] | Floats,
        velocities: Sequence[float] | Floats | None = None,
    ) -> None:
        """Store a joint state; names in any order, further joints ignored. MessageError names what is malformed."""
        try:
            ordered = self._ordered(names, positions, "positions")
            if not np.isfinite(ordered).all():
                bad = [name for name, value in zip(self._joint_names, ordered, strict=True) if not np.isfinite(value)]
                raise MessageError(f"joint state: expected finite positions, got {', '.join(bad)} that are not")
            rates = None
            if velocities is not None and len(velocities) > 0:
                rates = self._ordered(names, velocities, "velocities")
                rates = rates if np.isfinite(rates).all() else None  # drivers that do not measure them send NaN
        except MessageError:
            with self._lock:
                self._counters["malformed_joints"] += 1
            raise
        with self._lock:
            if self._is_in_order(self._joints, stamp_ns):
                self._joints.append(JointSample(stamp_ns, receive_ns, ordered, rates))
                for change in self._changes.values():
                    change.positions = ordered if change.positions is None else change.positions

    def clear(self) -> None:
        """Forget everything received; counters stay."""
        with self._lock:
            self._joints.clear()
            self._changes.clear()
            for history in self._images.values():
                history.clear()

    def counters(self) -> dict[str, int]:
        """What was refused or passed over, by name."""
        with self._lock:
            return dict(self._counters)

    def latest_joints(self) -> JointSample | None:
        """The newest joint state, however old."""
        with self._lock:
            return self._joints[-1] if self._joints else None

    def newest_images(self) -> dict[str, Pixels]:
        """The newest picture of every camera that sent one."""
        with self._lock:
            return {camera: history[-1].pixels for camera, history in self._images.items() if history}

    def awaits_picture(self, now: Instant) -> bool:
        """Whether a camera's next picture is due by its own rate, belongs to the newest of the others, and should come
        within ``wait_for_camera_s`` of that one, as the one before did."""
        wait_ns = self._settings.wait_for_camera_s * 1e9
        with self._lock:
            seen = [history for history in self._images.values() if history]
            leading = max(seen, key=lambda history: history[-1].stamp_ns, default=None)
            if leading is None or now.steady_ns - leading[-1].receive_ns >= wait_ns:
                return False
            return any(
                _is_due(history, leading[-1].stamp_ns) and _lag_ns(history[-1], leading) <= wait_ns for history in seen
            )

    def oldest_image_s(self, now: Instant) -> float:
        """Age of the newest image of the camera that is furthest behind [s, ROS time]; infinite before the first."""
        with self._lock:
            ages = [now.ros_ns - history[-1].stamp_ns if history else np.inf for history in self._images.values()]
        return float(max(ages, default=0.0)) * 1e-9

    def observe(self, now: Instant) -> Observation | Unavailable:
        """The newest images within the allowed skew of each other, with the joints at the stamp of the newest one."""
        return self.look(now).seen

    def look(self, now: Instant) -> Look:
        """``observe``, and what it was made from."""
        with self._lock:
            images = {camera: tuple(history) for camera, history in self._images.items()}
            joints = tuple(self._joints)
            frozen = self._frozen()
        newest = {camera: history[-1].stamp_ns for camera, history in images.items() if history}
        newest.update({JOINT_STATES: joints[-1].stamp_ns} if joints else {})
        seen = self._trouble(images, joints, now) or frozen or self._matched(images, joints, now)
        return Look(seen, joints[-1] if joints else None, newest)

    def _matched(
        self, images: dict[str, tuple[_Image, ...]], joints: tuple[JointSample, ...], now: Instant
    ) -> Observation | Unavailable:
        """The newest set of fresh sources whose stamps lie within the allowed skew."""
        skew_ns = round(self._settings.max_skew_s * 1e9)
        chosen = _newest_set(images, skew_ns) if images else {}
        if chosen is None:
            stamps = {camera: history[-1].stamp_ns for camera, history in images.items()}
            return self._skewed(stamps)
        stamp_ns = max((image.stamp_ns for image in chosen.values()), default=joints[-1].stamp_ns)
        oldest_ns = min((image.stamp_ns for image in chosen.values()), default=stamp_ns)
        if now.ros_ns - oldest_ns > self._settings.max_stamp_age_s * 1e9:
            stamps = {camera: history[-1].stamp_ns for camera, history in images.items()}
            return self._skewed(stamps)
        positions = _joints_at(joints, stamp_ns, skew_ns)
        if positions is None:
            near = min(joints, key=lambda sample: abs(sample.stamp_ns - stamp_ns))
            return self._skewed({"images": stamp_ns, JOINT_STATES: near.stamp_ns})
        pixels = {camera: image.pixels for camera, image in chosen.items()}
        return Observation(stamp_ns, pixels, self._joint_names, positions)

    def _is_in_order(self, history: deque[_Image] | deque[JointSample], stamp_ns: int) -> bool:
        """Whether to store: a message overtaken on its way is passed over, one from long before begins anew."""
        if not history or stamp_ns > history[-1].stamp_ns:
            return True
        if history[-1].stamp_ns - stamp_ns <= self._settings.max_stamp_age_s * 1e9:
            self._counters["out_of_order"] += 1
            return False
        self._counters["stamp_jumped_back"] += 1
        history.clear()
        return True

    def _ordered(self, names: Sequence[str], values: Sequence[float] | Floats, what: str) -> Floats:
        """(D,) values in the policy's order, finite or not."""
        if len(names) != len(values):
            raise MessageError(f"joint state: expected as many {what} as names, got {len(values)} and {len(names)}")
        if self._places[0] != (given := tuple(names)):
            self._places = given, self._places_in(given)
        try:
            ordered = np.array([values[place] for place in self._places[1]], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise MessageError(f"joint state: expected numbers as {what}, got {values!r}") from error
        ordered.setflags(write=False)
        return ordered

    def _places_in(self, names: tuple[str, ...]) -> list[int]:
        """Where the policy's joints are among these; MessageError when one is missing or any is doubled."""
        index = {name: i for i, name in enumerate(names)}
        if len(index) != len(names):
            doubled = sorted(name for name, count in Counter(names).items() if count > 1)
            raise MessageError(f"joint state: expected every joint once, got {', '.join(doubled)} more than once")
        missing = [name for name in self._joint_names if name not in index]
        if missing:
            raise MessageError(
                f"joint state: joints {', '.join(missing)} are missing, got {', '.join(names) or 'none'}"
            )
        return [index[name] for name in self._joint_names]

    def _trouble(
        self, images: dict[str, tuple[_Image, ...]], joints: tuple[JointSample, ...], now: Instant
    ) -> Unavailable | None:
        """The first thing wrong with any single source: unseen, from the future, old, silent."""
        histories: dict[str, tuple[_Image, ...] | tuple[JointSample, ...]] = {**images, JOINT_STATES: joints}
        unseen = tuple(source for source, history in histories.items() if not history)
        if unseen:
            return Unavailable(Lack.NOT_YET_SEEN, unseen, f"nothing received yet from {', '.join(unseen)}")
        allowed = self._settings
        for source, history in histories.items():
            age_s = (now.ros_ns - history[-1].stamp_ns) * 1e-9
            silence_s = (now.steady_ns - history[-1].receive_ns) * 1e-9
            if age_s < -allowed.max_future_s:
                return Unavailable(
                    Lack.FUTURE_STAMP,
                    (source,),
                    f"{source}: stamp lies {-age_s:.3f} s ahead of ROS time, allowed are {allowed.max_future_s:g} s; "
                    f"check use_sim_time and the clocks",
                )
            if silence_s > allowed.max_receive_age_s:
                return Unavailable(
                    Lack.STALE_RECEIPT,
                    (source,),
                    f"{source}: silent for {silence_s:.3f} s, allowed are {allowed.max_receive_age_s:g} s",
                )
            if age_s > allowed.max_stamp_age_s:
                hint = "; its stamp is zero, the driver does not set it" if history[-1].stamp_ns == 0 else ""
                return Unavailable(
                    Lack.STALE_STAMP,
                    (source,),
                    f"{source}: newest stamp is {age_s:.3f} s old, allowed are {allowed.max_stamp_age_s:g} s{hint}",
                )
        return None

    def _frozen(self) -> Unavailable | None:
        """The first camera that sends the same picture while the arm moves, and has been seen to send others."""
        allowed = self._settings
        if allowed.max_unseen_motion == 0.0 or not self._joints:
            return None
        for camera, change in self._changes.items():
            same_s = (self._images[camera][-1].stamp_ns - change.stamp_ns) * 1e-9
            if change.positions is None or same_s <= allowed.max_stamp_age_s or self._num_pictures[camera] < ALIVE:
                continue
            moved = np.abs(self._joints[-1].positions - change.positions)
            if moved.max() > allowed.max_unseen_motion:
                return Unavailable(
                    Lack.FROZEN,
                    (camera,),
                    f"{camera}: frozen, the same picture for {same_s:.3f} s while {self._joint_names[moved.argmax()]} "
                    f"moved by {moved.max():.3f}, allowed are {allowed.max_unseen_motion:g}; check the camera's driver",
                )
        return None

    def _skewed(self, stamps: dict[str, int]) -> Unavailable:
        """No simultaneous set; says how far the newest stamps lie behind the newest of all."""
        newest = max(stamps.values())
        behind = ", ".join(f"{source} -{(newest - stamp) * 1e-9:.3f} s" for source, stamp in stamps.items())
        return Unavailable(
            Lack.SKEWED,
            tuple(stamps),
            f"no stamps within {self._settings.max_skew_s:g} s of each other: newest are {behind}",
        )


def _is_same(one: Pixels, other: Pixels) -> bool:
    """Whether two pictures are equal bit for bit."""
    return (
        one.shape == other.shape
        and np.array_equal(one[len(one) // 2], other[len(one) // 2])
        and np.array_equal(one[::SAMPLED, ::SAMPLED], other[::SAMPLED, ::SAMPLED])
        and np.array_equal(one, other)
    )


def _is_due(history: deque[_Image], stamp_ns: int) -> bool:
    """Whether a camera that goes on at its rate has a picture of about this moment that has not come yet."""
    stamps = [image.stamp_ns for image in history][-PERIODS - 1 :]
    if len(stamps) <= PERIODS // 2 or stamps[-1] >= stamp_ns:
        return False
    period_ns = float(np.median(np.diff(stamps)))
    return stamps[-1] + period_ns <= stamp_ns + period_ns / 8


def _lag_ns(image: _Image, others: deque[_Image]) -> int:
    """How much later an image came than the one of its moment among those of another camera [ns]."""
    return image.receive_ns - min(others, key=lambda other: abs(other.stamp_ns - image.stamp_ns)).receive_ns


def _newest_set(images: dict[str, tuple[_Image, ...]], skew_ns: int) -> dict[str, _Image] | None:
    """The set with the newest newest stamp such that all lie within the skew of it; of each camera the newest."""
    last = {camera: history[-1] for camera, history in images.items()}
    ends = [image.stamp_ns for image in last.values()]
    if max(ends) - min(ends) <= skew_ns:
        return last
    stamps = {camera: [image.stamp_ns for image in history] for camera, history in images.items()}
    for newest in sorted({stamp for history in stamps.values() for stamp in history}, reverse=True):
        chosen = {}
        for camera, history in stamps.items():
            index = bisect_right(history, newest) - 1
            if index < 0 or newest - history[index] > skew_ns:
                break
            chosen[camera] = images[camera][index]
        if len(chosen) == len(images):
            return chosen
    return None


def _joints_at(joints: tuple[JointSample, ...], stamp_ns: int, skew_ns: int) -> Floats | None:
    """(D,) positions at a stamp: between two samples on the line, else the nearest; None beyond the skew."""
    after = bisect_right(joints, stamp_ns, key=operator.attrgetter("stamp_ns"))
    left = joints[after - 1] if after > 0 else None
    right = joints[after] if after < len(joints) else None
    near = [sample for sample in (left, right) if sample is not None and abs(sample.stamp_ns - stamp_ns) <= skew_ns]
    if not near:
        return None
    if len(near) == 2 and left is not None and right is not None:
        part = (stamp_ns - left.stamp_ns) / (right.stamp_ns - left.stamp_ns)
        return np.asarray(left.positions + part * (right.positions - left.positions))
    return near[0].positions
