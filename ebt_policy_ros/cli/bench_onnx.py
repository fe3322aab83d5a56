"""Diffusion in ONNX Runtime, for the bench: the energy is compared with it in the same runtime.

Only the network passes are ONNX Runtime's. The schedulers are diffusers', which are torch's; so this is no runtime that
does without torch, and none that a node would choose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.export import write_denoiser
from ebt_policy_ros.runtimes.onnx_sessions import open_session, options_of, target_of
from ebt_policy_ros.runtimes.torch_baselines import DiffusionSampler


class ExportedSampler(DiffusionSampler):
    """A DiffusionSampler whose network passes run in ONNX Runtime, on tensors where they are."""

    def __init__(self, bundle: Bundle, device: str, sampler: str, num_threads: int, folder: Path) -> None:
        """``folder`` keeps the graph, which all samplers of a bundle share."""
        super().__init__(bundle, device, sampler=sampler, num_threads=num_threads)
        path = folder / f"denoiser_{bundle.weights_sha256[:12]}.onnx"
        if not path.exists():
            write_denoiser(path, load_noise(self))
        self._session = open_session(path, options_of(num_threads), target_of(device, bundle))

    def predict(self, cache: Tensor, chunks: Tensor, index: int) -> Tensor:
        """The noise in ``chunks`` (K, H, D) at the ``index``-th of the sampler's steps."""
        given = {"cache": cache, "noisy": chunks, "condition": self.noise.conditions[index]}
        if self.device.type == "cpu":
            (noise,) = self._session.run(None, {name: value.numpy() for name, value in given.items()})
            return torch.from_numpy(noise)
        noise = torch.empty_like(chunks)
        binding, place = self._session.io_binding(), (self.device.type, self.device.index or 0, np.float32)
        kept = {name: value.contiguous() for name, value in given.items()}
        for name, value in kept.items():
            binding.bind_input(name, *place, tuple(value.shape), value.data_ptr())
        binding.bind_output("noise", *place, tuple(noise.shape), noise.data_ptr())
        torch.cuda.current_stream(self.device).synchronize()  # ONNX Runtime has a stream of its own
        self._session.run_with_iobinding(binding)
        return noise


def load_noise(sampler: DiffusionSampler) -> Any:
    """The sampler's fast network on the CPU, from where it is exported."""
    from ebt_policy_ros.policy.fast import FastDiffusion
    from ebt_policy_ros.policy.load import load_network

    network: Any = load_network(sampler.bundle)
    return FastDiffusion(network, sampler.scheduler.timesteps)
