"""Everything a training run depends on; stored with the checkpoint and, abridged, in the bundle's provenance."""

from __future__ import annotations

from dataclasses import dataclass

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import POLICY_METHODS

METHODS = (*POLICY_METHODS, "encoder", "critic")
LEARNING_RATES = {"ebt": 3e-3, "dp": 3e-3, "regression": 3e-3, "encoder": 1e-3, "critic": 1e-3}
"""Of the policies: chosen among 3e-4, 1e-3, 3e-3 and 1e-2 on Square (docs/training.md)."""
STEPS = {"ebt": 2_500, "dp": 7_000, "regression": 2_000, "encoder": 3_000, "critic": 1_000}


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one training run; what a shipped bundle was trained with is in its card."""

    data: str
    """Demonstrations: a folder, a file or a YAML that describes them."""
    out: str
    """Folder for the bundle, snapshots, checkpoint and curve."""
    task: str | None = None
    """Name of the policy; None: the data set's task, which it must be otherwise."""
    method: str = "ebt"
    """'ebt' (energy minimisation), 'dp' (Diffusion Policy), 'regression'; 'encoder' (the first stage alone), or
    'critic' (how far from the expert's the chunks of ``policy`` are)."""
    policy: str | None = None
    """Folder of the 'ebt' bundle that a critic judges; its encoders and statistics are the critic's."""
    encoder: str | None = None
    """Folder of trained camera encoders to take and keep; None: they are trained first, into ``out/encoder``."""
    encoder_steps: int = STEPS["encoder"]
    """Gradient steps of the encoders' own training; 0: encoders and policy are trained together, end to end."""
    encoder_share: float = 0.4
    """Part of ``minutes`` that the encoders' training takes."""
    keyframe_weight: float = 1.0
    """Weight of the keyframe targets in the encoders' training."""
    feature_copies: int = 4
    """Differently augmented copies of every frame that frozen encoders are run on, once."""
    steps: int | None = None
    """Gradient steps; the cosine schedule ends there. None: the method's own number."""
    minutes: float | None = None
    """Time budget instead of ``steps``: the schedule follows the time trained. Not reproducible bit for bit."""
    batch: int = 64
    """Observations per gradient step."""
    starts: int = 1
    """Random starts (or noise levels) per observation: more signal for one encoder pass."""
    start_choices: int = 1
    """Candidate starts of which each expert chunk takes the one that leads nearest to it; 1: no choice."""
    descent_steps: int = 2
    """K, unrolled."""
    random_descent_steps: bool = False
    """Draw the number of unrolled steps from 1..K at every gradient step."""
    step_noise: float = 0.0
    """Standard deviation of noise added between unrolled steps [normalised units]."""
    detach: bool = True
    """Cut the graph between descent steps."""
    anchor: float = 0.0
    """Weight of the loss that gives energies a scale and a zero (``objective.anchor_loss``)."""
    loss_beta: float = 0.05
    """Smooth-L1 turns from square to absolute here [normalised units]."""
    gripper_weight: float = 1.0
    """Loss weight of joints measured in metres."""
    learning_rate: float | None = None
    """None: the method's own."""
    step_size_rate: float = 5.0
    """Learning rate of the descent's step size, as a multiple."""
    weight_decay: float = 1e-2
    warmup_steps: int = 200
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.995
    """Decay of the averaged weights that are saved."""
    shift: int = 3
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
    validate_every: int = 250
    """Gradient steps between validations."""
    checkpoint_every_s: float = 120.0
    snapshots: int = 6
    """Bundles kept along the way in ``out/snapshots``, evenly spread over the run: what rollouts choose from."""
    execute_steps: int = 8
    horizon: int = 16

    @property
    def num_steps(self) -> int:
        """Gradient steps of the whole run, where no time budget is given."""
        return STEPS[self.method] if self.steps is None else self.steps

    @property
    def base_rate(self) -> float:
        """The learning rate before warm-up and decay."""
        return LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate

    def __post_init__(self) -> None:
        counts = (
            "batch", "shards", "starts", "start_choices", "descent_steps", "horizon", "execute_steps",
            "feature_copies",
        )  # fmt: skip
        for name in counts:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.method not in METHODS:
            raise SettingsError(f"method: expected one of {', '.join(METHODS)}, got '{self.method}'")
        if (self.method == "critic") != (self.policy is not None):
            raise SettingsError(f"policy: expected with method 'critic' and nowhere else, got {self.policy}")
        if self.num_steps < 1:
            raise SettingsError(f"steps: expected at least 1, got {self.steps}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingsError(f"precision: expected auto, float32 or bfloat16, got '{self.precision}'")
        if self.minutes is not None and self.minutes <= 0:
            raise SettingsError(f"minutes: expected a positive time, got {self.minutes}")
        if not 0 <= self.encoder_share < 1:
            raise SettingsError(f"encoder_share: expected 0 to below 1, got {self.encoder_share}")
