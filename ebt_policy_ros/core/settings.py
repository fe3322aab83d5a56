"""Settings of the control flow and of the robot: frozen, every field explained, checked on construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.checked import Checked, setting
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.types import Floats


@dataclass(frozen=True)
class JointSettings(Checked):
    """What one joint may do."""

    name: str
    """Name in the joint states and in the trajectory."""
    kind: str = setting(choices=("revolute", "prismatic"))
    """``revolute`` [rad] or ``prismatic`` [m]: the unit of all that follows."""
    lower: float = setting()
    """Lowest position ever commanded [rad or m]."""
    upper: float = setting()
    """Highest position ever commanded [rad or m]."""
    velocity: float = setting(above=0.0)
    """Highest speed ever commanded [rad/s or m/s]."""
    acceleration: float = setting(above=0.0)
    """Highest acceleration and deceleration ever commanded [rad/s^2 or m/s^2]."""

    @property
    def unit(self) -> str:
        """'rad' or 'm'."""
        return "rad" if self.kind == "revolute" else "m"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise SettingsError("joint: expected a name, got an empty one")
        if self.lower >= self.upper:
            raise SettingsError(f"joint '{self.name}': expected lower < upper, got {self.lower} and {self.upper}")


@dataclass(frozen=True)
class GripperSettings(Checked):
    """Which joint is the gripper, for the retry rule that may open it."""

    joint: str
    """Name of one of the robot's joints."""
    open: float
    """Position of the open hand [rad or m]."""
    closed: float
    """Position of the hand closed on nothing [rad or m]."""
    tolerance: float = setting(0.002, above=0.0)
    """How near the closed end a measured position counts as closed on nothing [rad or m]."""


@dataclass(frozen=True)
class RobotSettings(Checked):
    """The joints a policy commands, in its order, and their limits (``config/robots/<name>.yaml``)."""

    name: str
    """Name of the robot, for messages."""
    joints: tuple[JointSettings, ...]
    """Every commanded joint, the gripper included."""
    gripper: GripperSettings | None = None
    """None: retry never opens a hand, and no joint is allowed to be stopped by what it grasps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.joint_names
        if not names or len(set(names)) != len(names):
            raise SettingsError(f"robot '{self.name}': expected joints of different names, got {', '.join(names)}")
        if self.gripper is not None and self.gripper.joint not in names:
            raise SettingsError(f"robot '{self.name}': gripper joint '{self.gripper.joint}' is none of its joints")

    @property
    def joint_names(self) -> tuple[str, ...]:
        """(D,) names in the policy's order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def gripper_index(self) -> int | None:
        """Where the gripper stands among the joints."""
        return None if self.gripper is None else self.joint_names.index(self.gripper.joint)

    def per_joint(self, field: str) -> Floats:
        """(D,) one number of every joint, such as ``velocity``."""
        return np.array([getattr(joint, field) for joint in self.joints], dtype=np.float64)

    def per_kind(self, revolute: float, prismatic: float) -> Floats:
        """(D,) one number for the revolute joints [rad], another for the prismatic ones [m]."""
        return np.array([revolute if joint.kind == "revolute" else prismatic for joint in self.joints])


@dataclass(frozen=True)
class ObserveSettings(Checked):
    """Which cameras, and how fresh and how simultaneous their images and the joint states must be."""

    cameras: tuple[str, ...] = ()
    """Names of the cameras the policy needs."""
    max_stamp_age_s: float = setting(0.5, above=0.0)
    """Oldest stamp that is still acted on [s, ROS time]."""
    max_receive_age_s: float = setting(1.0, above=0.0)
    """Longest silence of a source [s, steady time]; notices a simulator that died together with its /clock."""
    max_skew_s: float = setting(0.05, low=0.0)
    """Largest difference of stamps within one observation [s]."""
    wait_for_camera_s: float = setting(0.03, low=0.0)
    """How long a plan waits for the picture of a camera that is due by the camera's own rate, so that it begins with
    pictures of one moment [s]; 0: never."""
    max_future_s: float = setting(0.05, low=0.0)
    """How far a stamp may lie ahead of ROS time [s] before it counts as another clock's."""
    max_unseen_motion: float = setting(0.1, low=0.0)
    """How far a joint may move [rad or m] while a camera sends the same picture, bit for bit, for longer than
    ``max_stamp_age_s``: beyond it the camera counts as frozen, whatever its stamps say, unless it never sent any other
    picture. 0 never looks."""
    image_history: int = setting(16, low=1, high=256)
    """Images kept of every camera."""
    joint_history: int = setting(512, low=2, high=8192)
    """Joint states kept."""


@dataclass(frozen=True)
class MinimiseSettings(Checked):
    """How much thought a chunk gets."""

    steps: int = setting(2, low=1, high=1000)
    """Gradient steps of an ordinary chunk."""
    starts: int = setting(1, low=1, high=1024)
    """Candidates of an ordinary chunk."""
    more_steps: int = setting(8, low=1, high=1000)
    """Gradient steps when thinking more."""
    more_starts: int = setting(8, low=1, high=1024)
    """Candidates when thinking more."""
    deadline_s: float = setting(0.2, above=0.0)
    """Longest thought about one chunk [s]: no further round begins that is not expected to end by then."""
    encode_ahead_s: float = setting(0.1, low=0.0)
    """How long before a plan is due pictures are encoded as they come, so that it begins with what they hold [s]; 0:
    only when it is due."""
    warm_start: bool = False
    """Start the first candidate from the previous chunk, shifted by the time gone, instead of noise, and leave the rows
    that time overtakes meanwhile as they are. With two starts or more the others are fresh, and the lowest energy
    decides."""
    seed: int = setting(0, low=0, high=2**23 - 1)
    """Base of all random starts; combined with the chunk number and the round of thought without collisions."""


@dataclass(frozen=True)
class RetrySettings(Checked):
    """When to doubt, and what is tried before giving up."""

    enabled: bool = True
    """False: every finite chunk is accepted, whatever its score."""
    think_rounds: int = setting(2, low=0, high=8)
    """How often one chunk is thought over with more steps and starts, while that lowers the doubt and the deadline
    allows."""
    patience_s: float = setting(1.6, low=0.0, high=60.0)
    """How long doubt may last (after thinking more) before the arm holds [s]: what lasts tells failures from episodes
    that recover by themselves (docs/uncertainty.md). Every retreat that is not forgiven yet doubles it: a doubt that a
    retreat did not end is not the arm's."""
    slow_speed: float = setting(1.0, above=0.0, high=1.0)
    """Speed of doubtful chunks as a share of the policy's own; 1: not slowed down."""
    hold_s: float = setting(0.2, low=0.0)
    """How long the arm stands and looks again before it retreats [s]."""
    look_again_s: float = setting(0.1, above=0.0)
    """Time between two looks while holding [s]."""
    retreat_s: float = setting(6.0, above=0.0, high=60.0)
    """How far a retreat goes back along the executed path at most [s of motion], loops left out."""
    min_retreat_s: float = setting(1.0, low=0.0, high=60.0)
    """A calm point nearer than this is passed: what went wrong began before the score rose [s of motion]."""
    min_retreat_rad: float = setting(0.3, low=0.0, high=7.0)
    """A calm point at which no joint but the hand's is this far from where the retreat begins is passed, too: an arm
    that trembled on the spot would retreat to the same spot [rad or m]."""
    calm_fraction: float = setting(0.8, above=0.0, high=1.0)
    """A chunk is calm when its own score is at most this fraction of the threshold."""
    max_retreats: int = setting(3, low=0, high=100)
    """Retreats in a row before giving up; calm chunks forgive."""
    max_total_retreats: int = setting(20, low=0)
    """Retreats since the last reset before giving up, forgiven or not. Raise it for long unattended runs."""
    calm_to_forgive: int = setting(10, low=1)
    """Calm chunks in a row that take one retreat off the count."""
    longer_chunks: bool = True
    """After a retreat, until it is forgiven, three quarters of every chunk are executed where
    ``schedule.execute_steps`` is less: another rhythm is another way to try, and a policy that dithers does it anew at
    every plan. The last quarter is left to compare the next plan with."""
    release: str = setting("when_empty", choices=("never", "when_empty", "always"))
    """Whether a retreat opens the hand; ``when_empty``: only a hand that closed and holds nothing."""
    blind_retreat_s: float = setting(0.0, low=0.0)
    """Retreat after this time without a reset or retreat, whatever the score [s]; 0: never. A baseline."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_retreat_s > self.retreat_s:
            raise SettingsError(
                f"RetrySettings.min_retreat_s: expected at most retreat_s = {self.retreat_s}, got {self.min_retreat_s}"
            )


@dataclass(frozen=True)
class SafetySettings(Checked):
    """What happens to targets that cannot be followed; the limits themselves belong to the robot."""

    on_non_finite: str = setting("reject", choices=("reject", "clamp"))
    """A NaN or infinite target: refuse the chunk, or repeat the target before it."""
    on_jump: str = setting("reject", choices=("reject", "clamp"))
    """A first target too far from the running command: refuse the chunk, or go there within the limits."""
    max_jump_rad: float = setting(0.5, above=0.0)
    """Largest distance of a revolute joint's first target from the running command [rad]."""
    max_jump_m: float = setting(0.1, above=0.0)
    """Largest distance of a prismatic joint's first target from the running command [m]."""
    blend_s: float = setting(0.05, above=0.0)
    """Time constant with which the difference between running command and new chunk is taken up [s]; at least one
    half chunk period is used."""
    rest_s: float = setting(1.0, above=0.0)
    """How long a braking trajectory goes on at rest [s]: one that reaches the controller late has not ended yet."""


@dataclass(frozen=True)
class ScheduleSettings(Checked):
    """How chunks follow each other in time."""

    execute_steps: int = setting(8, low=1)
    """Rows of a chunk that are executed before a new one is planned."""
    alert_steps: int = setting(0, low=0)
    """The same after a doubtful chunk; 0: as many as ever."""
    look_steps: int = setting(0, low=0)
    """Rows after which the running plan is judged again at what is seen by then, and replaced when that contradicts it;
    0: only when it is used up. Every look costs as much as a new plan."""
    trust: float = setting(0.0, low=0.0)
    """Executed are only the first rows whose expected error is at most this many usual ones, two at least; 0: all
    ``execute_steps``. Needs a critic."""
    lead_s: float = setting(0.0, low=0.0)
    """How far ahead of now a new trajectory starts [s]: the way to the controller."""
    max_deviation_rad: float = setting(0.3, above=0.0)
    """A revolute joint measured farther than this from its command restarts the motion from where it is [rad]."""
    max_deviation_m: float = setting(0.05, above=0.0)
    """The same for prismatic joints [m]. The gripper is exempt: what it grasps stops it."""
    follow_s: float = setting(0.25, low=0.0)
    """How late the arm may be [s]: a measured position is compared with all commands of this time before it."""
    path_s: float = setting(30.0, above=0.0, high=3600.0)
    """How much of the executed path is remembered for retreats [s]."""


@dataclass(frozen=True)
class PipelineSettings(Checked):
    """Everything the pipeline needs to know beside the model and the robot."""

    period_s: float = setting(0.05, above=0.0)
    """Time from one row of a chunk to the next [s]; a property of the bundle."""
    horizon: int = setting(16, low=2)
    """Rows of a chunk; a property of the bundle."""
    observe: ObserveSettings = ObserveSettings()
    """Freshness of the input."""
    minimise: MinimiseSettings = MinimiseSettings()
    """Amount of thought."""
    retry: RetrySettings = RetrySettings()
    """The ladder of doubt."""
    safety: SafetySettings = SafetySettings()
    """Refuse or clamp."""
    schedule: ScheduleSettings = ScheduleSettings()
    """Chunks in time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("execute_steps", "alert_steps"):
            steps = getattr(self.schedule, name)
            if steps > self.horizon:
                raise SettingsError(f"schedule.{name}: expected at most the horizon of {self.horizon}, got {steps}")

    @property
    def period_ns(self) -> int:
        """Time from one row to the next [ns]."""
        return round(self.period_s * 1e9)

    def with_changes(self, **changes: Any) -> PipelineSettings:
        """A copy with other values, checked again."""
        return dataclasses.replace(self, **changes)


SECTIONS: Mapping[str, type[Checked]] = {
    "observe": ObserveSettings,
    "minimise": MinimiseSettings,
    "retry": RetrySettings,
    "safety": SafetySettings,
    "schedule": ScheduleSettings,
}
"""Settings by the name under which parameters, overrides and files have them: ``<section>.<field>``."""
FROM_BUNDLE = frozenset(
    {"minimise.steps", "minimise.starts", "minimise.more_steps", "minimise.more_starts", "schedule.execute_steps"}
)
"""Settings of which 0 means the bundle's own value, where a parameter sets them."""
