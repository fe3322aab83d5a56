"""A small robot, a fake clock and minimisers with known answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ebt_policy_ros.core.minimise import MayStep, minimise_numpy
from ebt_policy_ros.core.normalise import Normaliser, Stats
from ebt_policy_ros.core.pipeline import Cycle, Pipeline
from ebt_policy_ros.core.settings import PipelineSettings, RobotSettings
from ebt_policy_ros.core.types import Floats, Instant, Minimum, NormalisedObservation, Outcome, Pixels
from ebt_policy_ros.core.uncertainty import Calibration, Uncertainty

SECOND = 1_000_000_000
PERIOD = 50_000_000
ARM = {
    "name": "small_arm",
    "joints": [
        {"name": "shoulder", "kind": "revolute", "lower": -2.0, "upper": 2.0, "velocity": 2.0, "acceleration": 10.0},
        {"name": "elbow", "kind": "revolute", "lower": -0.5, "upper": 3.0, "velocity": 3.0, "acceleration": 20.0},
        {"name": "finger", "kind": "prismatic", "lower": 0.0, "upper": 0.04, "velocity": 0.25, "acceleration": 10.0},
    ],
    "gripper": {"joint": "finger", "open": 0.04, "closed": 0.0},
}
ROBOT = RobotSettings.from_mapping(ARM)
HOME = np.array([0.0, 1.0, 0.04])


def at(seconds: float, *, steady_s: float | None = None) -> Instant:
    """An instant on both clocks."""
    return Instant(round(seconds * SECOND), round((seconds if steady_s is None else steady_s) * SECOND))


def normaliser() -> Normaliser:
    """The whole range of the small arm to [-1, 1]."""
    stats = Stats(ROBOT.per_joint("lower"), ROBOT.per_joint("upper"))
    return Normaliser(stats, stats)


def calibration(threshold: float = 1.0, window_s: float = 0.0, plan_change: float | None = None) -> Calibration:
    """A calibration on 100 episodes whose raw threshold is given."""
    quantiles = np.linspace(0.2 * threshold, threshold * 1.04, 100)
    chunks = 1 + round(window_s / 0.4)
    return Calibration("unfamiliarity", 0.05, 100, threshold, quantiles, "abc", 0.1, window_s, chunks, plan_change, 1.0)


@dataclass
class ScriptedMinimiser:
    """Moves every joint from where it is towards a goal; doubt, trouble and delay are set from outside."""

    goal: Floats = field(default_factory=lambda: np.array([0.6, 1.6, 0.04]))
    speed: float = 0.02
    """Largest change of a target from row to row [rad or m]."""
    raw: float = 0.1
    """Raw score (unfamiliarity) of the next minima."""
    raw_after_thought: float | None = None
    """Raw score when there are more than the usual starts; None: no better."""
    outcome: Outcome = Outcome.DESCENDED
    energy: float = -1.0
    target_override: Floats | None = None
    """(H, D) in robot units instead of the way to the goal."""
    row_errors: Floats | None = None
    """(H,) of the next minima; 1 is usual."""
    calls: list[dict[str, object]] = field(default_factory=list)
    ahead: list[dict[str, Pixels]] = field(default_factory=list)
    """Pictures that were encoded before a plan asked for them."""

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
        may_step: MayStep | None = None,
    ) -> Minimum:
        thought = {"steps": steps, "starts": starts, "seed": seed}
        self.calls.append({**thought, "warm_start": warm_start, "frozen_rows": frozen_rows})
        if may_step is not None:
            steps = next((taken for taken in range(1, steps) if not may_step(taken)), steps)
        positions = normaliser().positions.unnormalise(observation.positions)
        ramp = np.arange(16)[:, None] * self.speed
        rows = positions + np.clip(self.goal - positions, -ramp, ramp)
        rows = rows if self.target_override is None else self.target_override
        raw = self.raw if self.raw_after_thought is None or starts == 1 else self.raw_after_thought
        return Minimum(
            chunk=normaliser().normalise_chunk(rows),
            energy=self.energy,
            trace=np.linspace(0.0, self.energy, steps + 1),
            outcome=self.outcome,
            steps=steps,
            network_evaluations=steps,
            candidate_energies=np.full(starts, self.energy),
            row_errors=self.row_errors,
            terms={"unfamiliarity": math.exp(raw)},
        )

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        return self.energy

    def encode_ahead(self, images: Mapping[str, Pixels]) -> None:
        self.ahead.append(dict(images))


@dataclass
class BowlMinimiser:
    """The reference descent in a bowl around a chunk that stands still at a normalised position."""

    centre: Floats
    broken: bool = False
    """Energies are NaN."""

    def _bowl(self, chunks: Floats) -> tuple[Floats, Floats]:
        away = chunks - self.centre
        energies = np.square(away).sum(axis=(1, 2)) / 2.0
        return (energies * np.nan if self.broken else energies), away

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
        may_step: MayStep | None = None,
    ) -> Minimum:
        noise = np.random.default_rng(seed).normal(size=(starts, 16, len(self.centre)))
        if warm_start is not None:
            noise[0] = warm_start
        return minimise_numpy(self._bowl, noise, 0.9, steps)

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        return float(self._bowl(chunk[None])[0][0])

    def encode_ahead(self, images: Mapping[str, Pixels]) -> None:
        """There is nothing to encode."""


def pipeline_settings(**groups: dict[str, object]) -> PipelineSettings:
    """Settings of the small arm with one camera; groups of changes by name."""
    mapping: dict[str, dict[str, object]] = {"observe": {"cameras": ["front"]}}
    for name, changes in groups.items():
        mapping[name] = {**mapping.get(name, {}), **changes}
    return PipelineSettings.from_mapping(mapping)


class Bench:
    """A pipeline in lockstep with an arm that follows every command exactly, or not."""

    def __init__(
        self,
        minimiser: object,
        *,
        calibrated: bool = True,
        window_s: float = 0.0,
        plan_change: float | None = None,
        robot: RobotSettings = ROBOT,
        **groups: dict[str, object],
    ) -> None:
        self.minimiser = minimiser
        self.pipeline = Pipeline(
            minimiser,  # type: ignore[arg-type]
            normaliser(),
            Uncertainty(calibration(window_s=window_s, plan_change=plan_change) if calibrated else None),
            pipeline_settings(**groups),
            robot,
        )
        self.now_ns, self.steady_ns = SECOND, 7 * SECOND
        self.positions = HOME.copy()
        self.running = None
        self.commands = []
        self.camera_works = self.joints_work = True
        self.camera_is_frozen = False
        self.renders_on_demand = False
        self.num_images = 0
        self.hand_blocked_at: float | None = None

    @property
    def now(self) -> Instant:
        return Instant(self.now_ns, self.steady_ns)

    def feed(self) -> None:
        """What the sensors say now."""
        wanted = not self.renders_on_demand or self.pipeline.wants_images(self.now)
        if self.camera_works and wanted:
            self.num_images += 1
            picture = np.full((4, 4, 3), 0 if self.camera_is_frozen else self.num_images % 256, np.uint8)
            self.pipeline.add_image("front", self.now_ns, self.steady_ns, picture)
        if self.joints_work:
            names = ["elbow", "other", "finger", "shoulder"]
            self.pipeline.add_joints(
                self.now_ns, self.steady_ns, names, [self.positions[1], 9.0, self.positions[2], self.positions[0]]
            )

    def tick(self, *, thinking_s: float = 0.0) -> Cycle | None:
        """One control period: sense, plan when due, move."""
        self.feed()
        cycle = None
        if self.pipeline.is_due(self.now):
            plan = self.pipeline.think(self.now)
            late = Instant(self.now_ns + round(thinking_s * SECOND), self.steady_ns + round(thinking_s * SECOND))
            cycle = self.pipeline.act(plan, late)
            self.send(cycle, late.ros_ns)
        self.move()
        return cycle

    def send(self, cycle: Cycle, now_ns: int) -> None:
        """What the controller would receive."""
        if cycle.command is not None:
            assert cycle.command.start_ns >= now_ns
            self.commands.append(cycle.command)
            self.running = cycle.command

    def move(self) -> None:
        self.now_ns += PERIOD
        self.steady_ns += PERIOD
        if self.running is not None:
            self.positions = self.running.sample(self.now_ns)[0].copy()
            if self.hand_blocked_at is not None:
                self.positions[2] = max(self.positions[2], self.hand_blocked_at)

    def run(self, ticks: int) -> list[Cycle]:
        """The cycles of so many periods."""
        return [cycle for cycle in (self.tick() for _ in range(ticks)) if cycle is not None]


def states(cycles: Sequence[Cycle]) -> list[str]:
    """State names with repetitions left out."""
    names: list[str] = []
    for cycle in cycles:
        if not names or names[-1] != cycle.state.value:
            names.append(cycle.state.value)
    return names
