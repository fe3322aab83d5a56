"""Unrolled training of the energy network: one call from demonstrations to a policy bundle."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError
from ebt_policy_ros.policy.bundle import Bundle, CameraSpec, ChunkSpec, JointSpec, MinimiserDefaults
from ebt_policy_ros.policy.energy import calibrate_step_size, descend
from ebt_policy_ros.policy.network import Architecture, EnergyNetwork
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.objective import Batch, Starts, draw_starts, reconstruction_losses
from ebt_policy_ros.training.optimise import parameter_groups, pick_device, rate_at, unit_of, use_bfloat16
from ebt_policy_ros.training.report import ProgressLine, draw_curve
from ebt_policy_ros.training.settings import TrainSettings

CHECKPOINT = "checkpoint.safetensors"


class NonFiniteError(EbtPolicyError):
    """The loss or its gradient became NaN or infinite; training stopped, the last checkpoint is kept."""


class Trainer:
    """One run: data, network, moving average, optimiser. ``run`` goes on from the checkpoint in ``out`` if any."""

    def __init__(self, settings: TrainSettings, demonstrations: Demonstrations) -> None:
        if demonstrations.task != settings.task:
            raise SettingsError(f"task: the data set is of '{demonstrations.task}', expected '{settings.task}'")
        self.settings, self.data = settings, demonstrations
        self.out = Path(settings.out)
        self.device = torch.device(pick_device(settings.device))
        self.autocast = torch.bfloat16 if use_bfloat16(settings.precision, self.device) else None
        training, held_out = dataset.split_episodes(demonstrations.num_episodes, settings.held_out, settings.seed)
        self.rows, self.held_out_rows = demonstrations.rows(training), demonstrations.rows(held_out or training)
        self.num_training, self.num_held_out = len(training), len(held_out)
        self.position_bounds = dataset.bounds_of(demonstrations.positions[self.rows], margin=0.05, min_range=0.02)
        self.action_bounds = dataset.bounds_of(demonstrations.actions[self.rows], margin=0.05, min_range=0.02)
        self.positions = dataset.normalise(demonstrations.positions, self.position_bounds)
        is_gripper = [unit_of(name) == "m" for name in demonstrations.joint_names]
        weights = torch.tensor([settings.gripper_weight if gripper else 1.0 for gripper in is_gripper])
        self.joint_weights = (weights / weights.mean()).to(self.device)
        # Shards of a batch on threads of their own: kernels this small gain nothing from threads inside them, and
        # two threads that wait for each other at every kernel stand still on a machine that does other work.
        workers = settings.threads or settings.shards if self.device.type == "cpu" else 1
        self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        self._build()

    def _build(self) -> None:
        height, width = next(iter(self.data.images.values())).shape[1:3]
        s = self.settings
        torch.manual_seed(s.seed)
        self.network = EnergyNetwork(
            Architecture(
                cameras=self.data.cameras,
                height=height,
                width=width,
                joints=len(self.data.joint_names),
                horizon=s.horizon,
                model_width=s.model_width,
                layers=s.layers,
                keypoints=s.keypoints,
            )
        ).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        batch, starts = self.batch(0)
        with torch.no_grad():
            cache = self.network.observe(self.network.features(batch.images), batch.positions).repeat(s.starts)
        calibrate_step_size(self.network, cache, starts.candidates[:, 0])
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(parameter_groups(self.network, s), betas=(0.9, 0.98))
        self.base_rates = [group["lr"] for group in self.optimiser.param_groups]

    def batch(self, step: int, shard: int = 0) -> tuple[Batch, Starts]:
        """A shard of the augmented examples and starts of a gradient step: a function of seed and step alone."""
        s = self.settings
        epoch_length = max(1, len(self.rows) // s.batch)
        order = np.random.default_rng([s.seed, 1, step // epoch_length]).permutation(len(self.rows))
        begin = (step % epoch_length) * s.batch
        rows = np.sort(self.rows[order[begin + shard : begin + s.batch : s.shards]])
        rng = np.random.default_rng([s.seed, 2, step, shard])
        batch = self.examples(rows, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        shape = (len(rows) * s.starts, *batch.chunks.shape[1:])
        return batch, draw_starts(shape, s.start_choices, generator, self.device)

    def examples(self, rows: NDArray[np.int64], rng: np.random.Generator | None) -> Batch:
        """Normalised examples of the given rows; augmented when there is an ``rng``."""
        s, data = self.settings, self.data
        images = []
        for camera in data.cameras:
            pixels = data.images[camera][rows]
            if rng is None:
                images.append(self.network.prepare(torch.from_numpy(pixels).to(self.device)))
            else:
                floats = dataset.jittered(dataset.shifted(pixels, s.shift, rng), s.jitter, rng)
                images.append(torch.from_numpy(floats).permute(0, 3, 1, 2).to(self.device))
        positions = self.positions[rows]
        if rng is not None:
            positions = positions + s.position_noise * rng.standard_normal(positions.shape, dtype=np.float32)
        chunks = dataset.normalise(data.chunks(rows, s.horizon), self.action_bounds)
        return Batch(tuple(images), *(torch.from_numpy(array).to(self.device) for array in (positions, chunks)))

    def gradient_step(self, step: int, rate: float) -> float:
        """One optimiser step at ``rate`` times the base learning rates; returns the loss. NonFiniteError at once."""
        s = self.settings
        for group, base in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = base * rate
        results = list(self.pool.map(lambda shard: self._shard_gradients(step, shard), range(s.shards)))
        loss = torch.stack([loss for loss, _ in results]).mean()
        parameters = list(self.network.parameters())
        for parameter, *gradients in zip(parameters, *(gradients for _, gradients in results), strict=True):
            parameter.grad = torch.stack(gradients).mean(0)
        norm = torch.nn.utils.clip_grad_norm_(parameters, s.clip)
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
        s = self.settings
        batch, starts = self.batch(step, shard)
        losses = reconstruction_losses(
            self.network,
            batch,
            starts,
            steps=s.descent_steps,
            beta=s.loss_beta,
            joint_weights=self.joint_weights,
            detach=s.detach,
            autocast=self.autocast,
        )
        loss = losses.mean()
        return loss.detach(), torch.autograd.grad(loss, list(self.network.parameters()))

    def validate(self, limit: int = 512) -> dict[str, float]:
        """Mean absolute error of the averaged network's chunks on held-out episodes, per part [normalised units]."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 3])
        rows = np.sort(rng.choice(self.held_out_rows, min(limit, len(self.held_out_rows)), replace=False))
        generator = torch.Generator().manual_seed(s.seed)
        errors = []
        for part in np.array_split(rows, max(1, len(rows) // 64)):
            batch = self.examples(part, None)
            with torch.no_grad():
                cache = self.average.observe(self.average.features(batch.images), batch.positions)
            start = torch.randn(batch.chunks.shape, generator=generator).to(self.device)
            chunk = descend(self.average, cache, start, s.descent_steps).chunks[-1]
            errors.append((chunk - batch.chunks).abs())
        error = torch.cat(errors)
        return {
            "error": float(error.mean()),
            "error_executed": float(error[:, : s.execute_steps].mean()),
            "error_last_joint": float(error[:, : s.execute_steps, -1].mean()),
            "alpha": float(self.average.step_size),
        }

    def bundle(self, progress: Progress) -> Bundle:
        """The averaged network as a policy bundle, not yet calibrated."""
        s, a = self.settings, self.network.architecture
        tensors = {f"network.{k}": v.detach().cpu().contiguous().numpy() for k, v in self.average.state_dict().items()}
        data = {
            "task": self.data.task,
            "episodes": self.num_training,
            "held_out_episodes": self.num_held_out,
            "rows": len(self.rows),
        }
        training = {k: v for k, v in asdict(s).items() if k not in ("data", "out", "threads", "device")}
        return Bundle(
            name=s.task,
            architecture=a.as_mapping(),
            cameras=tuple(CameraSpec(name, a.height, a.width) for name in a.cameras),
            joints=tuple(JointSpec(name, unit_of(name)) for name in self.data.joint_names),
            positions=self.position_bounds,
            actions=self.action_bounds,
            chunk=ChunkSpec(s.horizon, self.data.period_s, s.execute_steps),
            minimiser=MinimiserDefaults(steps=s.descent_steps),
            tensors=tensors,
            provenance={
                "data": data,
                "training": training,
                "gradient_steps": progress.step,
                "training_s": round(progress.elapsed_s, 1),
                "device": str(self.device),
                "validation": progress.history[-1] if progress.history else None,
                "torch": torch.__version__,
            },
        ).with_hash()

    def run(self, report: Callable[[str], None] | None = None) -> Bundle:
        """Train to the end of the budget; checkpoints, snapshots, curve and the final bundle go to ``out``.

        KeyboardInterrupt saves everything, says so, and is raised on.
        """
        s = self.settings
        self.out.mkdir(parents=True, exist_ok=True)
        progress = Progress()
        if (self.out / CHECKPOINT).exists():
            progress = load_checkpoint(self.out / CHECKPOINT, self.network, self.average, self.optimiser, asdict(s))
        line = ProgressLine(report)
        line.say(
            f"{self.num_training} + {self.num_held_out} episodes, {len(self.rows)} rows, "
            f"{sum(p.numel() for p in self.network.parameters()):,} parameters, {self.device}"
            f"{', bfloat16 encoders' if self.autocast else ''}, from step {progress.step}"
        )
        try:
            self._loop(progress, line)
        except KeyboardInterrupt:
            self.save(progress)
            line.say(f"interrupted at step {progress.step}: checkpoint and bundle are in {self.out}")
            raise
        return self.save(progress)

    def _loop(self, progress: Progress, line: ProgressLine) -> None:
        s = self.settings
        begin = time.monotonic() - progress.elapsed_s
        saved, snapped = progress.elapsed_s, progress.elapsed_s
        while (done := self._done(progress)) < 1:
            loss = self.gradient_step(progress.step, rate_at(done, progress.step, s.warmup_steps))
            progress.step += 1
            progress.elapsed_s = time.monotonic() - begin
            line.update(progress.step, done, loss, progress.elapsed_s)
            if progress.step % s.validate_every == 0:
                record = {"step": progress.step, "minutes": round(progress.elapsed_s / 60, 2), "loss": line.loss}
                progress.history.append(record | self.validate())
                line.say(" ".join(f"{k} {v:.4g}" for k, v in progress.history[-1].items()))
            if progress.elapsed_s - saved > s.checkpoint_every_s:
                saved = progress.elapsed_s
                save_checkpoint(self.out / CHECKPOINT, self.network, self.average, self.optimiser, progress, asdict(s))
            if progress.elapsed_s - snapped > s.snapshot_every_s:
                snapped = progress.elapsed_s
                self.bundle(progress).save(self.out / "snapshots" / f"step_{progress.step:06d}")

    def _done(self, progress: Progress) -> float:
        if self.settings.minutes is not None:
            return progress.elapsed_s / 60 / self.settings.minutes
        return progress.step / self.settings.steps

    def save(self, progress: Progress) -> Bundle:
        """Checkpoint, curve and bundle to ``out``."""
        save_checkpoint(
            self.out / CHECKPOINT, self.network, self.average, self.optimiser, progress, asdict(self.settings)
        )
        if progress.history:
            draw_curve(progress.history, self.out / "curve.png")
        return self.bundle(progress).save(self.out)


def train(settings: TrainSettings, report: Callable[[str], None] | None = None) -> Bundle:
    """Train a policy on the demonstrations in ``settings.data`` and write its bundle to ``settings.out``.

    Goes on from ``out/checkpoint.safetensors`` when there is one. ``report`` gets the progress lines (stderr if None).
    Raises DatasetError, SettingsError, CheckpointError, NonFiniteError.
    """
    torch.set_num_threads(1)
    return Trainer(settings, Demonstrations.load(settings.data, limit=settings.limit)).run(report)


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
