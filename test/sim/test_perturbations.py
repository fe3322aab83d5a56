"""Perturbations: each does what its name says, nothing before its moment, the same for a seed, undone by a reset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ebt_policy_ros.core.errors import MessageError, SettingsError
from ebt_policy_ros.sim.perturbations import FAMILIES, GROUPS, PERTURBATIONS, find_kind
from ebt_policy_ros.sim.perturbations.joints import BIAS_RAD, NOISE_RAD
from ebt_policy_ros.sim.perturbations.scene import HELD_TICKS, OPEN_M, OPEN_TICKS
from ebt_policy_ros.sim.world import Disturbance, SimWorld

SENSES = [name for name, kind in PERTURBATIONS.items() if kind.family in ("camera", "joints", "time")]
TICKS = 40


class StillArm:
    """An arm whose pictures change with time and that grips on request: senses need no simulator."""

    camera_names = ("front", "wrist")
    joint_names = ("shoulder", "elbow", "finger")
    is_success = False

    def __init__(self) -> None:
        self.time_ns, self.grips, self.targets = 7_000_000_000, False, list[Any]()
        self.task = SimpleNamespace(
            name="still", time_limit_s=2.0, perturbations=tuple(PERTURBATIONS), is_gripped=lambda arm: arm.grips
        )

    def reset(self, seed: int) -> None:
        self.time_ns += 50_000_000

    def step(self, targets: Any) -> None:
        self.targets.append(targets)
        self.time_ns += 50_000_000

    def positions(self) -> Any:
        return np.array([0.1, 0.2, 0.03])

    def render(self, camera: str) -> Any:
        rng = np.random.default_rng([self.time_ns // 50_000_000, len(camera)])
        return rng.integers(20, 220, (48, 48, 3), dtype=np.uint8)


def played(
    arm: Any,
    kind: str,
    seed: int = 3,
    severity: float = 1.0,
    moment: float | None = None,
    lasts_s: float | None = None,
) -> Any:
    """What a policy sees at every tick, beside the truth; and from which tick on the world says it is disturbed."""
    world = SimWorld(arm, "cube", seed, lambda _text: None)
    began_ns = world.began_ns
    world.disturb(Disturbance(kind, severity, moment, lasts_s=lasts_s))
    seen, truth, stamps = [], [], []
    last: dict[str, Any] = {}
    for _ in range(TICKS):
        last.update(world.pictures())
        seen.append((world.positions(), {camera: picture.pixels for camera, picture in last.items()}))
        stamps.append({camera: (world.arm.time_ns - p.stamp_ns) * 1e-9 for camera, p in last.items()})
        truth.append((arm.positions(), {camera: arm.render(camera) for camera in arm.camera_names}))
        world.hold(np.zeros(3))
    assert world.disturbed_kind == kind
    return seen, truth, stamps, round((world.disturbed_ns - began_ns) / 50_000_000)


def is_same(one: Any, other: Any) -> bool:
    return np.array_equal(one[0], other[0]) and all(np.array_equal(one[1][c], other[1][c]) for c in one[1])


@pytest.mark.parametrize("kind", SENSES)
def test_senses_lie_from_one_moment_on_and_the_same_way_for_a_seed(kind: str) -> None:
    arm = StillArm()
    seen, truth, _, begin = played(arm, kind)
    assert 0.05 * 2.0 <= begin * 0.05 <= 0.35 * 2.0 + 0.05
    assert all(is_same(one, true) for one, true in zip(seen[:begin], truth[:begin], strict=True))
    lies = [not is_same(one, true) for one, true in zip(seen[begin:], truth[begin:], strict=True)]
    assert sum(lies) >= len(lies) - 1  # what is frozen or late is still true at its first moment
    arm.time_ns = 7_000_000_000  # the pictures of the first time
    assert all(is_same(one, other) for one, other in zip(seen, played(arm, kind)[0], strict=True))
    arm.time_ns = 7_000_000_000
    assert not all(is_same(one, other) for one, other in zip(seen, played(arm, kind, seed=4)[0], strict=True))


@pytest.mark.parametrize("kind", SENSES)
def test_a_fault_of_the_senses_may_pass(kind: str) -> None:
    seen, truth, _, begin = played(StillArm(), kind, moment=0.25, lasts_s=0.5)
    lies = [not is_same(one, true) for one, true in zip(seen, truth, strict=True)]
    assert not any(lies[:begin])
    assert sum(lies[begin : begin + 10]) >= 9
    assert not any(lies[begin + 10 :])


@pytest.mark.parametrize("kind", sorted(set(PERTURBATIONS) - set(SENSES)))
def test_what_happens_at_once_cannot_pass(kind: str) -> None:
    world = SimWorld(StillArm(), "cube", 3, lambda _text: None)
    with pytest.raises(SettingsError, match=f"{kind}~3.*happens at once"):
        world.disturb(Disturbance.from_text(f"{kind}~3"))


@pytest.mark.parametrize("kind", GROUPS["camera"])
def test_one_camera_lies_and_joints_do_not(kind: str) -> None:
    seen, truth, stamps, _ = played(StillArm(), kind, moment=0.0)
    changed = {c for c in StillArm.camera_names if (seen[-1][1][c] != truth[-1][1][c]).any()}
    assert len(changed) == 1
    assert all(np.array_equal(one[0], true[0]) for one, true in zip(seen, truth, strict=True))
    assert set(stamps[-1].values()) == {0.0}
    wrong, right = seen[-1][1][changed.copy().pop()], truth[-1][1][changed.pop()]
    assert wrong.shape == right.shape
    assert wrong.dtype == np.uint8
    if kind == "black":
        assert not wrong.any()
    if kind == "occluded":
        assert (wrong != right).any(axis=2).mean() == pytest.approx(1 / 3, abs=0.03)
    if kind == "blurred":
        assert wrong.mean() == pytest.approx(right.mean(), abs=4)
        assert wrong.std() < 0.6 * right.std()
    if kind == "shifted":
        shifts = [np.roll(right, shift, axis) for shift in (-6, 6) for axis in (0, 1)]
        assert sum((wrong == one)[6:-6, 6:-6].all() for one in shifts) == 1


@pytest.mark.parametrize(("kind", "half"), [("black", 0.5), ("occluded", 0.5), ("tinted", 0.5), ("blurred", 0.5)])
def test_half_the_severity_is_less(kind: str, half: float) -> None:
    def wrong(severity: float) -> float:
        seen, truth, _, _ = played(StillArm(), kind, severity=severity, moment=0.0)
        return float(sum(np.abs(seen[5][1][c].astype(int) - truth[5][1][c]).sum() for c in StillArm.camera_names))

    assert 0 < wrong(half) < 0.8 * wrong(1.0)


def test_a_joint_is_measured_wrong_by_always_the_same_angle() -> None:
    seen, truth, _, begin = played(StillArm(), "biased", severity=0.5)
    wrong = np.array([one[0] - true[0] for one, true in zip(seen[begin:], truth[begin:], strict=True)])
    assert np.abs(wrong).max(1) == pytest.approx(0.5 * BIAS_RAD)
    assert (np.abs(wrong) > 1e-9).sum(1).max() == 1
    assert not wrong[:, -1].any()


def test_noise_is_white_and_does_not_depend_on_how_often_joints_are_read() -> None:
    seen, truth, _, _ = played(StillArm(), "noisy", moment=0.0)
    noise = np.array([one[0] - true[0] for one, true in zip(seen, truth, strict=True)])
    assert noise[:, :-1].std() == pytest.approx(NOISE_RAD, rel=0.3)
    assert 0 < noise[:, -1].std() < 0.004
    assert np.abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 0.5
    world = SimWorld(StillArm(), "cube", 3, lambda _text: None)  # type: ignore[arg-type]
    world.disturb(Disturbance("noisy", at_s=0.0))
    assert np.array_equal(world.positions(), world.positions())


def test_late_pictures_say_when_they_were_taken() -> None:
    seen, truth, ages, begin = played(StillArm(), "late")
    assert all(age == {"front": 0.0, "wrist": 0.0} for age in ages[: begin + 1])
    assert [age["front"] for age in ages[begin : begin + 5]] == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert {round(age["wrist"], 6) for age in ages[begin + 4 :]} == {0.2}
    for tick in range(begin + 4, TICKS):
        assert np.array_equal(seen[tick][1]["front"], truth[tick - 4][1]["front"])


def test_a_late_picture_is_handed_out_once() -> None:
    world = SimWorld(StillArm(), "cube", 3, lambda _text: None)  # type: ignore[arg-type]
    world.disturb(Disturbance("late", at_s=0.0))
    counts = []
    for _ in range(8):
        counts.append(len(world.pictures()))
        world.hold(np.zeros(3))
    assert counts == [2, 0, 0, 0, 0, 2, 2, 2]
    world.reset(3)
    assert set(world.pictures()) == {"front", "wrist"}


def test_the_hand_slips_once_after_it_held() -> None:
    arm = StillArm()
    world = SimWorld(arm, "cube", 0, lambda _text: None)  # type: ignore[arg-type]
    world.disturb(Disturbance("slip"))
    for tick in range(60):
        arm.grips = tick >= 5
        world.hold(np.array([0.0, 0.0, 0.001]))
    opened = np.flatnonzero(np.array(arm.targets)[:, -1] == OPEN_M)
    assert opened.tolist() == list(range(5 + HELD_TICKS, 5 + HELD_TICKS + OPEN_TICKS))
    assert world.values()["perturbed_s"] == f"{(5 + HELD_TICKS) * 0.05:.3f}"


# ---- what needs the real arm -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms(needs_robosuite: None) -> Iterator[Callable[[str], Any]]:
    from ebt_policy_ros.sim.arm import SimulatedArm

    made: dict[str, Any] = {}

    def make(task: str) -> Any:
        if task not in made:
            made[task] = SimulatedArm(task, image_size=48)
        return made[task]

    yield make
    for arm in made.values():
        arm.close()


def reached(arm: Any, kind: str, seed: int, *, after: int = 0, limit: int = 90) -> tuple[SimWorld, list[Any]]:
    """An expert's episode up to ``after`` ticks after the perturbation, and what was seen at every tick."""
    world = SimWorld(arm, arm.task.target, seed, lambda _text: None)
    expert = arm.task.make_expert(arm, np.random.default_rng(0))
    if kind:
        world.disturb(Disturbance(kind))
    states, left = [], after
    for _ in range(limit):
        pictures = {camera: picture.pixels for camera, picture in world.pictures().items()}
        states.append((world.positions(), pictures, arm.object_pose(arm.task.target), arm.tool_pose()[0]))
        if world.disturbed_ns is not None and left == 0:
            break
        left -= world.disturbed_ns is not None
        world.hold(expert.act())
    return world, states


@pytest.mark.sim
@pytest.mark.parametrize("task", ["lift", "can", "square"])
@pytest.mark.parametrize("kind", ["teleport", "nudge", "distractor", "pushed"])
def test_the_scene_changes_when_the_hand_is_near(arms: Callable[[str], Any], task: str, kind: str) -> None:
    arm = arms(task)
    world, states = reached(arm, kind, 5)
    assert world.disturbed_ns is not None
    assert np.linalg.norm(states[-2][3] - states[-2][2][0]) == pytest.approx(0.1, abs=0.03)
    moved = np.linalg.norm(states[-1][2][0] - states[-2][2][0])
    turned = np.arccos(np.clip((np.trace(states[-1][2][1] @ states[-2][2][1].T) - 1) / 2, -1, 1))
    if kind == "teleport":
        assert moved > 0.075
    elif kind == "nudge":
        assert moved == pytest.approx(0.03, abs=0.002)
        assert turned == pytest.approx(0.35, abs=0.02)
        for _ in range(3):
            arm.step(arm.positions())
        assert arm.object_speed(arm.task.target) < 0.02
    else:
        assert moved < 1e-3


@pytest.mark.sim
def test_a_distractor_is_seen_and_touches_nothing(arms: Callable[[str], Any]) -> None:
    calm, true = reached(arms("lift"), "", 5, limit=40)
    world, states = reached(arms("lift"), "distractor", 5, after=100, limit=40)
    begin = round((world.disturbed_ns - world.began_ns) / 50_000_000)
    assert calm.disturbed_ns is None
    for tick, (one, other) in enumerate(zip(states, true, strict=True)):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[2][0], other[2][0])
        assert (one[1]["front"] != other[1]["front"]).any() == (tick >= begin)
    assert (states[begin][1]["front"] != true[begin][1]["front"]).any(axis=2).sum() > 15


@pytest.mark.sim
def test_a_push_displaces_the_hand_and_ends(arms: Callable[[str], Any]) -> None:
    _, calm = reached(arms("lift"), "", 5, limit=60)
    world, pushed = reached(arms("lift"), "pushed", 5, after=100, limit=60)
    begin = round((world.disturbed_ns - world.began_ns) / 50_000_000)
    off = [float(np.linalg.norm(one[3] - other[3])) for one, other in zip(pushed, calm, strict=True)]
    assert max(off[: begin + 1]) == 0.0
    assert 0.03 < max(off[begin : begin + 8]) < 0.12
    assert np.argmax(off[begin:]) <= 7


@pytest.mark.sim
@pytest.mark.parametrize("task", ["lift", "can", "square"])
def test_in_a_wrong_scene_the_object_is_nowhere_to_be_seen(arms: Callable[[str], Any], task: str) -> None:
    arm = arms(task)
    world = SimWorld(arm, arm.task.target, 1, lambda _text: None)
    right = {camera: picture.pixels for camera, picture in world.pictures().items()}
    for seed in (1, 1, 2):
        world.reset(seed)
        world.disturb(Disturbance("wrong_scene"))
        assert world.values()["perturbed_s"] == "0.000"
        assert (next(iter(world.pictures().values())).pixels != right["front"]).any()
        assert np.linalg.norm(arm.object_pose(arm.task.target)[0] - arm.tool_pose()[0]) > 3
    for _ in range(10):
        world.hold(arm.positions())
    assert arm.object_speed(arm.task.target) < 0.1
    world.reset(1)
    for camera, picture in world.pictures().items():
        assert np.array_equal(picture.pixels, right[camera])


@pytest.mark.sim
@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_an_episode_depends_on_its_seed_alone_and_is_undone_by_a_reset(arms: Callable[[str], Any], kind: str) -> None:
    arm = arms("lift")
    _, calm = reached(arm, "", 6, limit=10)
    limit = 75 if kind == "slip" else 40
    first, states = reached(arm, kind, 6, after=5, limit=limit)
    assert first.disturbed_kind == kind
    _, after = reached(arm, "", 6, limit=10)
    for one, other in zip(after, calm, strict=True):
        assert np.array_equal(one[0], other[0])
        assert all(np.array_equal(one[1][camera], other[1][camera]) for camera in one[1])
    reached(arm, "pushed", 7, limit=30)
    _, again = reached(arm, kind, 6, after=5, limit=limit)
    assert len(again) == len(states)
    for one, other in zip(again, states, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[2][0], other[2][0])
        assert one[1].keys() == other[1].keys()
        assert all(np.array_equal(one[1][camera], other[1][camera]) for camera in one[1])


# ---- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_kind_says_what_it_is(name: str) -> None:
    kind = find_kind(name)
    assert kind.name == name
    assert kind.family in FAMILIES
    assert "\n" not in kind.description + kind.severity_text
    table = (Path(__file__).parents[2] / "docs" / "perturbations.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    yes_no = ["yes" if kind.is_recoverable else "no", "yes" if kind.is_held_out else "no"]
    assert cells[1:4] == [kind.family, kind.description, kind.severity_text]
    assert cells[-2:] == yes_no


def test_held_out_and_recoverable_kinds_are_those_agreed_on() -> None:
    assert set(GROUPS["held-out"]) == {
        "nudge", "distractor", "wrong_scene", "blurred", "occluded", "noisy", "pushed", "late",
    }  # fmt: skip
    assert set(GROUPS["recoverable"]) == {"teleport", "nudge", "slip", "pushed", "distractor", "late"}
    assert set(FAMILIES) == {"scene", "camera", "joints", "arm", "time"}
    with pytest.raises(SettingsError, match=r"'rain'.*teleport.*late"):
        find_kind("rain")


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_text_says_kind_severity_and_moment(kind: str) -> None:
    assert Disturbance.from_text(kind) == Disturbance(kind)
    assert not Disturbance(kind).has_moment
    assert Disturbance.from_text(f"{kind}:0.5@1.5") == Disturbance(kind, 0.5, at_s=1.5)
    assert Disturbance.from_text(f"{kind}@reaching0.2") == Disturbance(kind, within_m=0.2)
    assert Disturbance.from_text(f" {kind}@reaching ").moment.within_m == 0.1
    assert Disturbance.from_text(f"{kind}:0.5~3@1.5") == Disturbance(kind, 0.5, at_s=1.5, lasts_s=3.0)
    assert Disturbance.from_text(f"{kind}~2.5@reaching").label == f"{kind}~2.5"
    assert Disturbance.from_text(f"{kind}:2@1").label == kind
    for wrong, what in (("0", "severity"), ("1~0", "duration"), ("1~-1", "duration")):
        with pytest.raises(MessageError, match=f"{what} above 0"):
            Disturbance.from_text(f"{kind}:{wrong}")


@pytest.mark.parametrize("kind", SENSES)
def test_a_moment_that_is_named_wins_over_the_kinds_own(kind: str) -> None:
    *_, begin = played(StillArm(), kind, moment=1.0)
    assert begin == math.ceil(1.0 / 0.05)
