"""Resumable training state as one safetensors file, written atomically; loading unpickles nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.policy.files import write_atomically


class CheckpointError(EbtPolicyError):
    """A checkpoint cannot be read or belongs to other settings."""


@dataclass
class Progress:
    """What a run knows about itself beside its tensors; randomness is a function of seed and step and has no state."""

    step: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    """CPU seconds of all threads."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One record per validation."""


def save_checkpoint(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    settings: dict[str, Any],
) -> None:
    """Write model, moving average, optimiser moments, step and history; a kill leaves the old file or the new one."""
    tensors: dict[str, Tensor] = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    notes = {
        "settings": json.dumps(settings),
        "progress": json.dumps(asdict(progress)),
    }
    write_atomically(path, save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, notes))


def load_checkpoint(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    settings: dict[str, Any],
) -> Progress:
    """Fill the given objects from ``path``; CheckpointError when the file or its settings do not fit.

    Settings that say how far and where to run (``steps``, ``minutes``, ``out``, intervals, threads) may differ.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error
    free = {
        "data",
        "out",
        "encoder",
        "policy",
        "steps",
        "minutes",
        "threads",
        "validate_every",
        "checkpoint_every_s",
        "snapshots",
    }
    before = json.loads(notes["settings"])
    differing = [k for k, v in settings.items() if k not in free and before.get(k) != v]
    if differing:
        changes = ", ".join(f"{k}: {before.get(k)} -> {settings[k]}" for k in differing)
        raise CheckpointError(f"{path} was trained with other settings ({changes}); use another --out or delete it")
    network.load_state_dict(_part(tensors, "network."))
    average.load_state_dict(_part(tensors, "average."))
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _part(tensors, "optimiser.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return Progress(**json.loads(notes["progress"]))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
