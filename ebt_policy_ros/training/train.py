"""Training: one call from demonstrations to a policy bundle, for every method, in two stages.

First the camera encoders (``representation``), once a data set; then the policy on their features. With
``encoder_steps`` 0 the policy trains its encoders itself, end to end.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError
from ebt_policy_ros.policy.bundle import Bounds, Bundle, CameraSpec, ChunkSpec, JointSpec, MinimiserDefaults
from ebt_policy_ros.policy.network import Architecture
from ebt_policy_ros.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.examples import Batch, Examples
from ebt_policy_ros.training.methods import make_method
from ebt_policy_ros.training.optimise import parameter_groups, pick_device, rate_at, use_bfloat16
from ebt_policy_ros.training.report import ProgressLine, draw_curve
from ebt_policy_ros.training.representation import NOTES_FILE, Encoder
from ebt_policy_ros.training.settings import TrainSettings

CHECKPOINT = "checkpoint.safetensors"


class NonFiniteError(EbtPolicyError):
    """The loss or its gradient became NaN or infinite; training stopped, the last checkpoint is kept."""


class Trainer:
    """One run: data, network, moving average, optimiser. ``run`` goes on from the checkpoint in ``out`` if any."""

    def __init__(
        self,
        settings: TrainSettings,
        demonstrations: Demonstrations,
        encoder: Encoder | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        named = {str(record["task"]) for record in demonstrations.records if record.get("task")}
        if settings.task is not None and named - {settings.task}:
            others = ", ".join(sorted(named))
            raise SettingsError(f"task: the data set says that it is of '{others}', expected '{settings.task}'")
        self.settings, self.data, self.encoder = settings, demonstrations, encoder
        self.out, self.line = Path(settings.out), ProgressLine(report)
        self.device = torch.device(pick_device(settings.device))
        self.autocast = torch.bfloat16 if use_bfloat16(settings.precision, self.device) else None
        self.policy = Bundle.load(settings.policy) if settings.policy is not None else None
        bounds = None if self.policy is None else self._bounds_of(self.policy)
        self.examples = Examples(settings, demonstrations, self.device, bounds)
        self.fingerprint = demonstrations.fingerprint()
        self.method = make_method(settings, self.examples.joint_weights())
        # Shards of a batch on threads of their own: kernels this small gain nothing from threads inside them, and
        # two threads that wait for each other at every kernel stand still on a machine that does other work.
        workers = settings.threads or settings.shards if self.device.type == "cpu" else 1
        self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        self._build()

    def _bounds_of(self, policy: Bundle) -> tuple[Bounds, Bounds]:
        """The statistics of the policy that a critic is for; SettingsError when it is not one of this data."""
        for name, ours, wanted in (
            ("joints", tuple(self.data.joint_names), policy.joint_names),
            ("cameras", tuple(self.data.cameras), tuple(camera.name for camera in policy.cameras)),
        ):
            if ours != wanted:
                raise SettingsError(f"policy: its {name} are {', '.join(wanted)}; the data set's are {', '.join(ours)}")
        if self.settings.horizon != policy.chunk.horizon:
            raise SettingsError(f"horizon: expected the policy's {policy.chunk.horizon}, got {self.settings.horizon}")
        return policy.positions, policy.actions

    def _build(self) -> None:
        torch.manual_seed(self.settings.seed)
        self.network = self.method.build(self._architecture())
        if self.encoder is not None:
            self.encoder.fill(self.network)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        if self.encoder is not None:
            given = self.settings.encoder
            folder = Path(given) if given is not None else self.out / "encoder"
            self.examples.encode_once(self.network, folder, self.autocast, self.line.say)
        batch, generator = self.examples.shard(0, 0)
        with torch.no_grad():
            features = self.features(batch)
        self.method.begin(self.network, features, batch, generator)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(parameter_groups(self.network, self.settings), betas=(0.9, 0.98))
        self.base_rates = [group["lr"] for group in self.optimiser.param_groups]

    def _architecture(self) -> Architecture:
        if self.policy is not None:
            return Architecture.from_mapping(self.policy.architecture)
        height, width = next(iter(self.data.images.values())).shape[1:3]
        s = self.settings
        return Architecture(
            cameras=self.data.cameras,
            height=height,
            width=width,
            joints=len(self.data.joint_names),
            horizon=s.horizon,
            model_width=s.model_width,
            layers=s.layers,
            keypoints=s.keypoints,
        )

    def features(self, batch: Batch, network: torch.nn.Module | None = None) -> Tensor:
        """(B, cameras, F): the batch's own, or those of the network's encoders, with their graph."""
        if batch.features is not None:
            return batch.features
        encoders = network or self.network
        with torch.autocast(self.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            features: Tensor = encoders.features(batch.images)  # type: ignore[operator]
        return features.float()

    def gradient_step(self, step: int, rate: float) -> float:
        """One optimiser step at ``rate`` times the base learning rates; returns the loss. NonFiniteError at once."""
        s = self.settings
        for group, base in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = base * rate
        results = list(self.pool.map(lambda shard: self._shard_gradients(step, shard), range(s.shards)))
        loss = torch.stack([loss for loss, _ in results]).mean()
        for parameter, *gradients in zip(self.trained, *(gradients for _, gradients in results), strict=True):
            parameter.grad = torch.stack(gradients).mean(0)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, s.clip)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            raise NonFiniteError(
                f"step {step}: loss {float(loss)}, gradient norm {float(norm)}; lower learning_rate and start again "
                f"from {self.out / CHECKPOINT}"
            )
        self.optimiser.step()
        decay = min(s.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return float(loss)

    def _shard_gradients(self, step: int, shard: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Loss and gradients on one shard of the batch."""
        batch, generator = self.examples.shard(step, shard)
        loss = self.method.loss(self.network, self.features(batch), batch, generator)
        return loss.detach(), torch.autograd.grad(loss, self.trained)

    def validate(self, limit: int = 512) -> dict[str, float]:
        """Mean absolute error of the averaged network's chunks on held-out episodes, per part [normalised units]."""
        s = self.settings
        rows = self.examples.held_out(limit, s.seed)
        generator = torch.Generator().manual_seed(s.seed)
        errors = []
        for part in np.array_split(rows, max(1, len(rows) // 64)):
            batch = self.examples.at(part, None)
            with torch.no_grad():
                features = self.features(batch, self.average)
            errors.append(self.method.errors(self.average, features, batch, generator))
        error = torch.cat(errors)
        return {
            "error": float(error.mean()),
            "error_executed": float(error[:, : s.execute_steps].mean()),
            "error_last_joint": float(error[:, : s.execute_steps, -1].mean()),
        }

    def provenance(self, progress: Progress) -> dict[str, object]:
        """Everything needed to train this again, and what it cost."""
        s = self.settings
        places = ("data", "out", "encoder", "policy", "threads", "device")
        kept = {k: v for k, v in asdict(s).items() if k not in places}
        kept |= {"steps": None if s.minutes is not None else s.num_steps, "learning_rate": s.base_rate}
        notes: dict[str, object] = {
            "data": {
                "task": self.data.task,
                "episodes": self.examples.num_training,
                "held_out_episodes": self.examples.num_held_out,
                "rows": len(self.examples.rows),
                "kind": self.data.kind,
                "sha256": self.fingerprint,
            },
            "training": kept,
            "gradient_steps": progress.step,
            "training_s": round(progress.elapsed_s, 1),
            "training_cpu_s": round(progress.cpu_s, 1),
            "device": str(self.device),
            "validation": progress.history[-1] if progress.history else None,
            "torch": torch.__version__,
        }
        if self.encoder is not None:
            notes["encoder"] = self.encoder.provenance
            notes["encoder_cpu_s"] = self.encoder.provenance["training_cpu_s"]
        return notes

    def bundle(self, progress: Progress) -> Bundle:
        """The averaged network as a policy bundle, not yet calibrated."""
        s, a = self.settings, self.network.architecture
        tensors = {f"network.{k}": v.detach().cpu().contiguous().numpy() for k, v in self.average.state_dict().items()}
        return Bundle(
            name=self.data.task,
            method=s.method,
            architecture=a.as_mapping(),
            cameras=tuple(CameraSpec(name, a.height, a.width) for name in a.cameras),
            joints=tuple(JointSpec(*pair) for pair in zip(self.data.joint_names, self.examples.units, strict=True)),
            positions=self.examples.position_bounds,
            actions=self.examples.action_bounds,
            chunk=ChunkSpec(s.horizon, self.data.period_s, s.execute_steps),
            minimiser=MinimiserDefaults(steps=s.descent_steps),
            tensors=tensors,
            provenance=self.provenance(progress),
        ).with_hash()

    def run(self) -> Bundle | None:
        """Train to the end of the budget; checkpoint, snapshots, curve and the result go to ``out``.

        Returns the bundle; None where encoders were trained.

        KeyboardInterrupt saves everything, says so, and is raised on.
        """
        s = self.settings
        self.out.mkdir(parents=True, exist_ok=True)
        progress = Progress()
        if (self.out / CHECKPOINT).exists():
            progress = load_checkpoint(self.out / CHECKPOINT, self.network, self.average, self.optimiser, asdict(s))
        self.line.say(
            f"{s.method}: {self.examples.num_training} + {self.examples.num_held_out} episodes, "
            f"{len(self.examples.rows)} rows, {sum(p.numel() for p in self.trained):,} parameters to train, "
            f"{self.device}"
            f"{', bfloat16 encoders' if self.autocast else ''}, from step {progress.step}"
        )
        try:
            self._loop(progress)
        except KeyboardInterrupt:
            self.save(progress)
            self.line.say(f"interrupted at step {progress.step}: checkpoint and result are in {self.out}")
            raise
        bundle = self.save(progress)
        if s.method == "encoder":
            Encoder(
                self.network.architecture,
                {k: v.contiguous() for k, v in self.average.state_dict().items() if k.startswith("encoders.")},
                self.provenance(progress),
            ).save(self.out)
        return bundle

    def _loop(self, progress: Progress) -> None:
        s = self.settings
        begin, cpu_begin = time.monotonic() - progress.elapsed_s, time.process_time() - progress.cpu_s
        saved = progress.elapsed_s
        while (done := self._done(progress)) < 1:
            loss = self.gradient_step(progress.step, rate_at(done, progress.step, s.warmup_steps))
            progress.step += 1
            progress.elapsed_s = time.monotonic() - begin
            progress.cpu_s = time.process_time() - cpu_begin
            self.line.update(progress.step, done, loss, progress.elapsed_s)
            if progress.step % s.validate_every == 0:
                record = {"step": progress.step, "minutes": round(progress.elapsed_s / 60, 2), "loss": self.line.loss}
                progress.history.append(record | self.validate())
                self.line.say(" ".join(f"{k} {v:.4g}" for k, v in progress.history[-1].items()))
            if progress.elapsed_s - saved > s.checkpoint_every_s:
                saved = progress.elapsed_s
                save_checkpoint(self.out / CHECKPOINT, self.network, self.average, self.optimiser, progress, asdict(s))
            if s.method != "encoder" and int(self._done(progress) * s.snapshots) > int(done * s.snapshots):
                self.bundle(progress).save(self.out / "snapshots" / f"step_{progress.step:06d}")

    def _done(self, progress: Progress) -> float:
        if self.settings.minutes is not None:
            return progress.elapsed_s / 60 / self.settings.minutes
        return progress.step / self.settings.num_steps

    def save(self, progress: Progress) -> Bundle | None:
        """Checkpoint, curve and, of a policy, the bundle to ``out``."""
        save_checkpoint(
            self.out / CHECKPOINT, self.network, self.average, self.optimiser, progress, asdict(self.settings)
        )
        if progress.history:
            draw_curve(progress.history, self.out / "curve.png")
        return None if self.settings.method == "encoder" else self.bundle(progress).save(self.out)


def train(settings: TrainSettings, report: Callable[[str], None] | None = None) -> Bundle | None:
    """Train a policy on the demonstrations in ``settings.data`` and write its bundle to ``settings.out``.

    Encoders that are wanted and not there yet are trained first. Goes on from the checkpoints in ``out`` when there
    are any. Returns the bundle; None when only encoders were to be trained. ``report`` gets the progress lines
    (stderr if None). Raises DatasetError, SettingsError, EncoderError, CheckpointError, NonFiniteError.
    """
    torch.set_num_threads(1)
    data = Demonstrations.load(settings.data, limit=settings.limit, task=settings.task)
    for warning in data.warnings():
        ProgressLine(report).say(f"look at this first: {warning}")
    if settings.method == "encoder":
        return Trainer(settings, data, report=report).run()
    encoder = None
    if settings.policy is not None:
        encoder = Encoder.of(Bundle.load(settings.policy))
    elif settings.encoder is not None:
        encoder = Encoder.load(Path(settings.encoder))
    elif settings.encoder_steps > 0:
        encoder = _own_encoder(settings, data, report)
    if settings.minutes is not None and encoder is not None and settings.encoder is None:
        settings = replace(settings, minutes=settings.minutes * (1 - settings.encoder_share))
    return Trainer(settings, data, encoder, report).run()


def _own_encoder(settings: TrainSettings, data: Demonstrations, report: Callable[[str], None] | None) -> Encoder:
    """The encoders in ``out/encoder``, trained now unless an earlier call has finished them."""
    folder = Path(settings.out) / "encoder"
    if not (folder / NOTES_FILE).exists():
        minutes = None if settings.minutes is None else settings.minutes * settings.encoder_share
        stage = replace(
            settings, method="encoder", out=str(folder), steps=settings.encoder_steps, minutes=minutes, ema=0.999
        )
        Trainer(stage, data, report=report).run()
    return Encoder.load(folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per field of TrainSettings; --data and --out are required."""
    for field in dataclasses.fields(TrainSettings):
        required = field.default is dataclasses.MISSING
        kinds = {"int": int, "float": float, "str": str}
        kind = next((kinds[word] for word in ("int", "float", "str") if word in str(field.type).split(" ")), None)
        option = "--" + field.name.replace("_", "-")
        if "bool" in str(field.type):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(option, type=kind, required=required, default=None if required else field.default)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ebt_policy_ros.training.train", description=__doc__)
    add_arguments(parser)
    try:
        train(TrainSettings(**vars(parser.parse_args(arguments))))
    except EbtPolicyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
