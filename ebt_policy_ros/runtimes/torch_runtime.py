"""Runs a bundle's energy descent with torch, on the GPU when there is one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.errors import BundleError, ShapeError
from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Outcome, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.energy import energy_and_gradient
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_heads, load_network
from ebt_policy_ros.policy.network import ObservationCache


class TorchMinimiser:
    """The EnergyMinimiser of a bundle, in eager torch.

    All starts descend in one batch and the best candidate seen is kept. Nothing is read back from the device before
    the descent is over. Starts come from a CPU generator, so that every device descends from the same noise; on one
    machine (same device, same number of threads) the same seed gives the same chunk, bit for bit.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", *, num_threads: int | None = None) -> None:
        """``device``: 'auto' (cuda where there is one), 'cpu', 'cuda', 'cuda:1'. ``num_threads``: CPU threads of torch
        in this process; None leaves them alone. Raises BundleError when the tensors do not fit the architecture."""
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        if bundle.method != "ebt":
            raise BundleError(f"bundle '{bundle.name}': method is '{bundle.method}', this runtime runs 'ebt'")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.bundle = bundle
        self.network = load_network(bundle).to(self.device)
        self.heads = load_heads(bundle)
        if self.heads is not None:
            self.heads.to(self.device)
        self._seen: tuple[NormalisedObservation, ObservationCache, Tensor] | None = None

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
    ) -> Minimum:
        """The best of ``starts`` candidates after ``steps`` gradient steps each; see core.minimise.

        ``network_evaluations`` counts forward-and-gradient passes and equals ``steps``; the result is scored by one
        more forward pass without a gradient.
        """
        cache, terms = self._observe(observation)
        path = self._descend(cache.repeat(starts), self._starts(starts, seed, warm_start), steps)
        return self._read(path, terms, steps)

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """Energy of ``chunk`` (H, D), normalised, at ``observation``."""
        a = self.network.architecture
        values = as_floats("chunk", chunk, (a.horizon, a.joints))
        cache, _ = self._observe(observation)
        with torch.no_grad():
            return float(self.network.energy(cache, torch.from_numpy(values.copy())[None].float().to(self.device))[0])

    def warm_up(self) -> None:
        """Two descents on grey images: the first call of a process pays for kernels and memory, this one does."""
        a = self.network.architecture
        grey = {name: np.full((a.height, a.width, 3), 128, dtype=np.uint8) for name in a.cameras}
        for starts in (1, self.bundle.minimiser.more_starts):
            self.minimise(NormalisedObservation(grey, np.zeros(a.joints)), steps=2, starts=starts, seed=0)

    def _observe(self, observation: NormalisedObservation) -> tuple[ObservationCache, Tensor]:
        """Keys and values of the observation, and the terms of its heads; encoded once, however often it is asked."""
        if self._seen is None or self._seen[0] is not observation:
            features, positions = self._encode(observation)
            with torch.no_grad():
                cache = self.network.observe(features, positions)
                terms = self.heads(features, positions)[0] if self.heads is not None else features.new_zeros(0)
            self._seen = (observation, cache, terms)
        return self._seen[1], self._seen[2]

    def _encode(self, observation: NormalisedObservation) -> tuple[Tensor, Tensor]:
        """Features (1, cameras, F) and positions (1, D) on the device."""
        a = self.network.architecture
        missing = [name for name in a.cameras if name not in observation.images]
        if missing:
            raise ShapeError(f"images: camera '{missing[0]}' is missing, got {', '.join(observation.images) or 'none'}")
        positions = as_floats("positions", observation.positions, (a.joints,))
        with torch.no_grad():
            # Copied: a picture may be a read-only view of a message.
            images = [torch.from_numpy(np.array(observation.images[name], order="C")) for name in a.cameras]
            prepared = tuple(self.network.prepare(image.to(self.device)[None]) for image in images)
            features = self.network.features(prepared)
        return features, torch.from_numpy(positions.copy()).float()[None].to(self.device)

    def _starts(self, starts: int, seed: int, warm_start: Floats | None) -> Tensor:
        """(K, H, D) standard normal, the first replaced by ``warm_start``."""
        a = self.network.architecture
        generator = torch.Generator().manual_seed(seed % 2**63)
        noise = torch.randn((starts, a.horizon, a.joints), generator=generator)
        if warm_start is not None:
            noise[0] = torch.from_numpy(as_floats("warm_start", warm_start, (a.horizon, a.joints)).copy()).float()
        return noise.to(self.device)

    def _descend(self, cache: ObservationCache, chunk: Tensor, steps: int) -> _Path:
        """Descends all candidates; a candidate whose energy or gradient is not finite stays where it last was."""
        alpha = self.network.step_size.detach()
        best = chunk
        best_energy = torch.full((len(chunk),), torch.inf, device=chunk.device)
        norm = torch.zeros(len(chunk), device=chunk.device)
        alive = torch.ones(len(chunk), dtype=torch.bool, device=chunk.device)
        trace: list[Tensor] = []
        for step in range(steps + 1):
            if step < steps:
                energy, gradient = energy_and_gradient(self.network, cache, chunk)
                alive = alive & torch.isfinite(energy) & torch.isfinite(gradient).all(2).all(1)
                norm = torch.where(alive, gradient.square().mean((1, 2)).sqrt(), norm)
                following = torch.where(alive[:, None, None], chunk - alpha * gradient, chunk)
            else:
                with torch.no_grad():
                    energy = self.network.energy(cache, chunk)
                alive, following = alive & torch.isfinite(energy), chunk
            energy = energy.detach()
            trace.append(torch.where(alive, energy, trace[-1] if trace else torch.full_like(energy, torch.nan)))
            improved = alive & (energy < best_energy)
            best = torch.where(improved[:, None, None], chunk, best)
            best_energy = torch.where(improved, energy, best_energy)
            chunk = following.detach()
        return _Path(best, best_energy, torch.stack(trace), alive, norm)

    def _read(self, path: _Path, terms: Tensor, steps: int) -> Minimum:
        """One transfer from the device, then the choice among the candidates."""
        count = len(path.best_energy)
        shape = path.best.shape
        parts = (path.best, path.best_energy, path.trace, path.alive, path.norm, terms)
        flat = torch.cat([part.reshape(-1).float() for part in parts]).cpu().double().numpy()
        best, energies, trace, alive, norms, term_values = np.split(
            flat, np.cumsum([part.numel() for part in parts[:-1]])
        )
        best, trace = best.reshape(shape), trace.reshape(steps + 1, count)
        chosen = int(np.argmin(energies))
        if not np.isfinite(energies[chosen]) or not alive[chosen]:
            outcome = Outcome.NON_FINITE
        elif energies[chosen] < trace[0, chosen]:
            outcome = Outcome.DESCENDED
        else:
            outcome = Outcome.NO_DESCENT
        others = np.delete(best, chosen, axis=0)
        spread = float(np.sqrt(np.square(others - best[chosen]).mean(axis=(1, 2))).mean()) if count > 1 else 0.0
        names = ScoreHeads.TERMS if len(term_values) else ()
        return Minimum(
            chunk=best[chosen],
            energy=float(energies[chosen]),
            trace=trace[:, chosen],
            outcome=outcome,
            steps=steps,
            network_evaluations=steps,
            candidate_energies=energies,
            spread=spread,
            gradient_norm=float(norms[chosen]),
            terms={name: float(value) for name, value in zip(names, term_values, strict=True)},
        )


class _Path:
    """What a descent leaves on the device."""

    def __init__(self, best: Tensor, best_energy: Tensor, trace: Tensor, alive: Tensor, norm: Tensor) -> None:
        self.best, self.best_energy, self.trace, self.alive, self.norm = best, best_energy, trace, alive, norm
