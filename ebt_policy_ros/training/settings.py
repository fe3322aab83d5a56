"""Everything a training run depends on; stored with the checkpoint and, abridged, in the bundle's provenance."""

from __future__ import annotations

from dataclasses import dataclass

from ebt_policy_ros.core.errors import SettingsError


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one training run; the defaults are those of ``models/lift``."""

    data: str
    """Folder of demonstrations."""
    out: str
    """Folder for the bundle, snapshots, checkpoint and curve."""
    task: str = "lift"
    """Name of the policy; must be the data set's task."""
    steps: int = 12_000
    """Gradient steps; the cosine schedule ends there."""
    minutes: float | None = None
    """Time budget instead of ``steps``: the schedule follows the time trained. Not reproducible bit for bit."""
    batch: int = 64
    """Observations per gradient step."""
    starts: int = 1
    """Random starts per observation: more second-order signal for one encoder pass."""
    start_choices: int = 4
    """Candidate starts of which each expert chunk takes the one that leads nearest to it; 1: no choice, and equally
    good answers are averaged."""
    descent_steps: int = 2
    """K, unrolled."""
    detach: bool = True
    """Cut the graph between descent steps."""
    loss_beta: float = 0.05
    """Smooth-L1 turns from square to absolute here [normalised units]."""
    gripper_weight: float = 1.0
    """Loss weight of joints measured in metres."""
    learning_rate: float = 1e-3
    step_size_rate: float = 5.0
    """Learning rate of the descent's step size, as a multiple."""
    weight_decay: float = 1e-2
    warmup_steps: int = 300
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.999
    """Decay of the averaged weights that are saved."""
    shift: int = 4
    """Random image shift [pixels]."""
    jitter: float = 0.15
    """Strength of brightness, contrast and colour changes."""
    position_noise: float = 0.01
    """Standard deviation of noise on observed joint positions [normalised units]."""
    held_out: float = 0.1
    """Share of episodes kept for validation."""
    limit: int | None = None
    """Use only the first episodes."""
    model_width: int = 96
    layers: int = 4
    keypoints: int = 32
    shards: int = 2
    """Parts of a batch computed at the same time, one CPU thread each. Part of the result: it decides the random
    numbers and the order of summation."""
    threads: int | None = None
    """CPU threads that compute shards; None: one per shard."""
    precision: str = "auto"
    """Of the image encoders: 'float32', 'bfloat16', or 'auto' (bfloat16 where the processor computes in it)."""
    device: str = "auto"
    seed: int = 0
    validate_every: int = 500
    """Gradient steps between validations."""
    checkpoint_every_s: float = 120.0
    snapshot_every_s: float = 600.0
    """Seconds between bundle snapshots in ``out/snapshots``."""
    execute_steps: int = 8
    horizon: int = 16

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "shards", "starts", "start_choices", "descent_steps", "horizon", "execute_steps")
        for name in counts:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingsError(f"precision: expected auto, float32 or bfloat16, got '{self.precision}'")
        if self.minutes is not None and self.minutes <= 0:
            raise SettingsError(f"minutes: expected a positive time, got {self.minutes}")
