"""Learning rates, parameter groups and where to compute: the small decisions of a training run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ebt_policy_ros.training.settings import TrainSettings


def rate_at(done: float, step: int, warmup_steps: int) -> float:
    """Share of the learning rate: linear warm-up by steps, then cosine to 2 % over the budget."""
    return min(1.0, (step + 1) / max(1, warmup_steps)) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def parameter_groups(network: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Matrices with weight decay; vectors and embeddings without; the step size alone and faster."""
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    alpha = [p for n, p in named if n == "log_step_size"]
    plain = [p for n, p in named if n != "log_step_size" and (p.ndim < 2 or n.endswith("_place"))]
    decayed = [p for n, p in named if p.ndim >= 2 and not n.endswith("_place")]
    rate = settings.base_rate
    groups = [
        {"params": decayed, "lr": rate, "weight_decay": settings.weight_decay},
        {"params": plain, "lr": rate, "weight_decay": 0.0},
        {"params": alpha, "lr": rate * settings.step_size_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def unit_of(joint: str) -> str:
    """Unit of a joint by its name: fingers and sliders are prismatic."""
    return "m" if any(word in joint for word in ("finger", "prismatic", "slide")) else "rad"


def pick_device(device: str) -> str:
    """'auto' -> 'cuda' where there is one, else 'cpu'."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the image encoders compute in bfloat16: 'auto' says yes where the processor does so natively."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
