"""A simulated episode: arm, controller and what happens to the scene. One thread, no middleware."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ebt_policy_ros.core.errors import MessageError, SettingsError
from ebt_policy_ros.core.types import Floats, SafeChunk
from ebt_policy_ros.messages import TrajectoryReading
from ebt_policy_ros.messages.controller import RejectedTrajectory, TrajectoryController
from ebt_policy_ros.sim.perturbations import Moment, Perturbation, Picture, find_kind

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm


GRAMMAR = "kind[:severity][~seconds][@reaching|@seconds]"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that is to happen once in an episode."""

    kind: str
    """A name of ``PERTURBATIONS``, such as ``teleport``."""
    severity: float = 1.0
    """1 is what the kind calls normal; more is worse."""
    at_s: float | None = None
    """Not before this time of the episode [s]; None, and ``within_m`` as well: the kind's own moment."""
    within_m: float | None = None
    """Not before the tool is this near to the object [m]; None: whatever the distance."""
    lasts_s: float | None = None
    """Over after this time [s]; None: never."""

    @classmethod
    def from_text(cls, text: str) -> Disturbance:
        """``kind[:severity][~<seconds>][@reaching[<metres>] | @<seconds>]``, such as ``teleport``, ``black~3``,
        ``teleport:0.5@reaching0.1``."""
        what, _, when = text.strip().partition("@")
        what, _, lasts = what.partition("~")
        kind, _, severity = what.partition(":")
        try:
            disturbance = cls(
                kind,
                float(severity or 1.0),
                at_s=float(when) if when and not when.startswith("reaching") else None,
                within_m=float(when.removeprefix("reaching") or 0.1) if when.startswith("reaching") else None,
                lasts_s=float(lasts) if lasts else None,
            )
        except ValueError as error:
            raise MessageError(f"perturbation '{text}': expected {GRAMMAR} ({error})") from error
        numbers = (disturbance.severity, disturbance.at_s, disturbance.within_m, disturbance.lasts_s)
        if not kind or not all(math.isfinite(value) for value in numbers if value is not None):
            raise MessageError(f"perturbation '{text}': expected {GRAMMAR}")
        for value, what in ((disturbance.severity, "severity"), (disturbance.lasts_s, "duration")):
            if value is not None and value <= 0.0:
                raise MessageError(f"perturbation '{text}': expected a {what} above 0, got {value:g}")
        return disturbance

    @property
    def label(self) -> str:
        """What results call it: the kind, with how long it lasts when it passes, such as ``black~3``."""
        return self.kind if self.lasts_s is None else f"{self.kind}~{self.lasts_s:g}"

    @property
    def moment(self) -> Moment:
        """When it may set in, as far as it says."""
        return Moment(self.at_s or 0.0, self.within_m)

    @property
    def has_moment(self) -> bool:
        """Whether it says when; else it sets in at the kind's own moment."""
        return self.at_s is not None or self.within_m is not None


class SimWorld:
    """Episodes of one simulated arm whose joints follow trajectories as a joint_trajectory_controller lets them.

    What a policy sees comes from here (``positions``, ``velocities``, ``pictures``), through whatever disturbs the
    senses; ``arm`` is the true one, which success and experts go by.
    """

    def __init__(self, arm: SimulatedArm, object_name: str, seed: int, log: Callable[[str], None]) -> None:
        self.arm = arm
        self._object_name = object_name
        self._log = log
        self._waiting: list[tuple[Moment, Perturbation]] = []
        self._running: list[Perturbation] = []
        self._handed_ns: dict[str, int] = {}
        self.num_episodes = 0
        self.num_accepted = 0
        self.num_rejected = 0
        self.last_rejection = ""
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """A new episode from ``seed``; the arm stands still and waits for a trajectory."""
        self.arm.reset(seed)
        self.seed = seed
        self.num_episodes += 1
        self.began_ns = self.arm.time_ns
        self.success_ns: int | None = None
        self.disturbed_ns: int | None = None
        self.disturbed_kind = ""
        self._num_planned = 0
        self._waiting.clear()
        self._running.clear()
        self._handed_ns.clear()
        self._end_ns: int | None
        self.stand()

    @property
    def elapsed_s(self) -> float:
        """Simulated time since the episode began [s]."""
        return (self.arm.time_ns - self.began_ns) / 1e9

    def disturb(self, disturbance: Disturbance) -> None:
        """Plans a disturbance for this episode, which sets in at once where its moment is there; SettingsError when
        the task does not know its kind. What it chooses at will depends on seed and order alone."""
        kind, known = find_kind(disturbance.kind), self.arm.task.perturbations
        if kind.name not in known:
            raise SettingsError(f"perturbation '{kind.name}': task '{self.arm.task.name}' has {', '.join(known)}")
        if disturbance.lasts_s is not None and not kind.can_pass:
            raise SettingsError(f"perturbation '{disturbance.label}': {kind.name} happens at once and cannot pass")
        rng = np.random.default_rng([self.seed, 5, self._num_planned])
        self._num_planned += 1
        perturbation = kind(self.arm, disturbance.severity, rng)
        perturbation.lasts_s = disturbance.lasts_s
        moment = disturbance.moment if disturbance.has_moment else perturbation.default_moment
        self._waiting.append((moment, perturbation))
        self._disturb_if_due()

    # --- what a policy sees -------------------------------------------------------------------------------------
    def positions(self) -> Floats:
        """(D,) [rad, m] as measured now, in the order of the arm's ``joint_names``."""
        positions = self.arm.positions()
        for perturbation in self._running:
            positions = perturbation.positions(positions)
        return positions

    def velocities(self) -> Floats:
        """(D,) [rad/s, m/s] as measured now."""
        return self.arm.velocities()

    def pictures(self) -> dict[str, Picture]:
        """The newest picture of every camera from which one has arrived since the last call in this episode."""
        arrived = {}
        for camera in self.arm.camera_names:
            picture = Picture(self.arm.time_ns, self.arm.render(camera))
            for perturbation in self._running:
                picture = perturbation.picture(camera, picture)
            if picture.stamp_ns > self._handed_ns.get(camera, -1):
                self._handed_ns[camera] = picture.stamp_ns
                arrived[camera] = picture
        return arrived

    # --- what moves it --------------------------------------------------------------------------------------------
    def follow(self, trajectory: TrajectoryReading | SafeChunk, now_ns: int) -> None:
        """Hands a trajectory to the controller; a refusal is counted and logged with its reason."""
        if 0 < trajectory.start_ns < self.began_ns:
            # Planned for the arm as it stood in the episode before: a real arm is never put elsewhere at once.
            self.reject("it was planned before the reset")
            return
        try:
            self._controller.accept(
                start_ns=trajectory.start_ns,
                joint_names=trajectory.joint_names,
                times_s=trajectory.times_s,
                positions=trajectory.positions,
                velocities=trajectory.velocities,
                accelerations=trajectory.accelerations,
                now_ns=now_ns,
            )
        except RejectedTrajectory as error:
            self.reject(str(error))
        else:
            self.num_accepted += 1
            self._end_ns = (trajectory.start_ns or now_ns) + round(float(trajectory.times_s[-1]) * 1e9)

    def reject(self, reason: str) -> None:
        """Counts a trajectory that was not followed."""
        self.num_rejected += 1
        self.last_rejection = reason
        self._log(f"trajectory rejected: {reason}")

    def runs_out_within(self, now_ns: int, margin_s: float) -> bool:
        """Whether the running trajectory ends in less than ``margin_s`` [s]; true once for every trajectory."""
        if self._end_ns is None or now_ns < self._end_ns - margin_s * 1e9:
            return False
        self._end_ns = None
        return True

    def stand(self) -> None:
        """Forgets the running trajectory: the arm stands where it is."""
        self._end_ns = None
        self._controller = TrajectoryController(self.arm.joint_names, self.arm.positions())

    def step(self, now_ns: int) -> None:
        """One control period under the target the controller has for ``now_ns``."""
        self.hold(self._controller.sample(now_ns))

    def hold(self, targets: Floats) -> None:
        """One control period under ``targets`` (D,) [rad, m], such as an expert's, past the controller."""
        for perturbation in self._running:
            targets = perturbation.targets(targets)
        self.arm.step(targets)
        for perturbation in self._running:
            perturbation.step()
        self._running = [one for one in self._running if one.over_ns is None or self.arm.time_ns < one.over_ns]
        self._disturb_if_due()
        if self.arm.is_success and self.success_ns is None:
            self.success_ns = self.arm.time_ns

    def _disturb_if_due(self) -> None:
        for moment, perturbation in list(self._waiting):
            if self.elapsed_s < moment.at_s or not self._is_near(moment.within_m) or not perturbation.begin():
                continue
            self._waiting.remove((moment, perturbation))
            self._running.append(perturbation)
            if perturbation.lasts_s is not None:
                perturbation.over_ns = self.arm.time_ns + round(perturbation.lasts_s * 1e9)
            # A late picture is spoilt like any other.
            self._running.sort(key=lambda running: running.family != "time")
            self.disturbed_ns, self.disturbed_kind = self.arm.time_ns, perturbation.name
            self._log(f"{perturbation.name} at {self.elapsed_s:.2f} s of the episode")

    def _is_near(self, within_m: float | None) -> bool:
        if within_m is None:
            return True
        tool, thing = self.arm.tool_pose()[0], self.arm.object_pose(self._object_name)[0]
        return bool(np.linalg.norm(tool - thing) <= within_m)

    def values(self) -> dict[str, str]:
        """The episode as key/value text, for ``~/episode``."""
        began = self.began_ns
        return {
            "episode": str(self.num_episodes),
            "seed": str(self.seed),
            "elapsed_s": f"{self.elapsed_s:.3f}",
            "success": str(self.success_ns is not None).lower(),
            "success_s": "" if self.success_ns is None else f"{(self.success_ns - began) / 1e9:.3f}",
            "perturbed": self.disturbed_kind,
            "perturbed_s": "" if self.disturbed_ns is None else f"{(self.disturbed_ns - began) / 1e9:.3f}",
            "trajectories_accepted": str(self.num_accepted),
            "trajectories_rejected": str(self.num_rejected),
            "last_rejection": self.last_rejection,
        }


def camera_matrix(arm: Any, camera: str, size: int) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) [pixels] of a square picture of ``size``: a pinhole with MuJoCo's vertical field of view."""
    model = arm.environment.sim.model._model
    view = arm.task.views[camera]
    fovy_deg = model.vis.global_.fovy if view.model_camera is None else float(model.cam(view.model_camera).fovy[0])
    focal = size / 2.0 / math.tan(math.radians(float(fovy_deg)) / 2.0)
    return focal, focal, (size - 1) / 2.0, (size - 1) / 2.0
