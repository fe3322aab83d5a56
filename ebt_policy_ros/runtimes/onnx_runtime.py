"""Runs an exported bundle with ONNX Runtime: on the GPU where its CUDA provider is, else on the CPU. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import BundleError, ShapeError
from ebt_policy_ros.core.minimise import MayStep, starting_noise
from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Pixels, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.graphs import (
    ACTION_TOLERANCE,
    ENERGY_TOLERANCE,
    PARITY_FILE,
    camera_graph,
    graph_names,
    graph_path,
    read_info,
)
from ebt_policy_ros.runtimes.choose import choose
from ebt_policy_ros.runtimes.onnx_sessions import BoundGraph, Graph, open_session, options_of, target_of
from ebt_policy_ros.runtimes.pictures import EncodedPictures

Values = NDArray[np.float32]


class Seen(NamedTuple):
    """An encoded observation; values stay on the device."""

    cache: Any
    critic_cache: Any
    """None without a critic."""
    terms: Mapping[str, float]


class OnnxMinimiser:
    """The EnergyMinimiser of an exported bundle.

    Everything between pictures and chunks stays on the device; energies, gradients' norms and chunks come back once,
    when the descent is over, and after them what the critic says of the chosen chunk.
    """

    METHOD = "ebt"

    def __init__(
        self,
        bundle: Bundle,
        directory: str | Path,
        device: str = "auto",
        *,
        num_threads: int = 1,
        check: bool = True,
        bound: bool | None = None,
    ) -> None:
        """Loads the graphs in ``directory`` and, with ``check``, compares them with the numbers written at export.
        ``bound``: values stay on the device between graphs; None: wherever that is not the CPU.

        SettingsError without onnxruntime or the provider that ``device`` wants; BundleError for graphs that are
        missing, belong to other weights, or do not compute what they did when they were exported.
        """
        if bundle.method != self.METHOD:
            raise BundleError(f"bundle '{bundle.name}': method is '{bundle.method}'; ONNX Runtime runs '{self.METHOD}'")
        self.bundle = bundle
        self._target = target = target_of(device, bundle)
        self._is_bound = target.device != "cpu" if bound is None else bound
        options = options_of(num_threads)
        directory = Path(directory)
        self._graphs = {}
        for name in graph_names(bundle):
            path = graph_path(directory, name)
            session = open_session(path, options, target)
            info = read_info(session.get_modelmeta().custom_metadata_map, path, bundle)
            self._graphs[name] = BoundGraph(session, target) if self._is_bound else Graph(session)
        self._term_names = info.terms
        self._moves = np.ones((bundle.chunk.horizon, 1), np.float32)
        self._pictures: EncodedPictures[Any] = EncodedPictures()
        self._seen: tuple[NormalisedObservation, Seen] | None = None
        if check:
            self.check_parity(directory)

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
        may_step: MayStep | None = None,
    ) -> Minimum:
        """The best of ``starts`` candidates after ``steps`` gradient steps each; see core.minimise."""
        began_s = time.perf_counter()
        seen = self.observe(observation)
        encoded_s = time.perf_counter()
        frozen = frozen_rows if warm_start is not None else 0
        start = starting_noise(seed, starts, self.bundle.chunk.horizon, len(self.bundle.joints))
        if warm_start is not None:
            with np.errstate(over="ignore"):  # infinite in single precision: an outcome, not a warning
                warm = as_floats("warm_start", warm_start, start.shape[1:]).astype(np.float32)
            start[0], start[:, :frozen] = warm, warm[:frozen]
        minimum = self.descend(seen, start, steps, frozen, may_step)
        parts = {"encode": encoded_s - began_s, "descend": time.perf_counter() - encoded_s}
        return replace(minimum, parts_s=parts)

    def descend(
        self, seen: Seen, start: Values, steps: int, frozen_rows: int = 0, may_step: MayStep | None = None
    ) -> Minimum:
        """The minimum from candidates ``start`` (K, H, D) at one observation. The first ``frozen_rows`` stay as they
        are."""
        moves = self._moves
        if frozen_rows:
            moves = moves.copy()
            moves[:frozen_rows] = 0.0
        chunks, energies, norms = self._walk(seen, start, moves, steps, may_step)
        path = [self._host(chunk) for chunk in chunks]

        def judge(step: int, candidate: int) -> Floats:
            chosen = self._put(path[step][candidate : candidate + 1])
            (distances,) = self._graphs["critic"].run(critic_cache=seen.critic_cache, chunks=chosen)
            return np.asarray(self._host(distances)[0], dtype=np.float64)

        return choose(
            np.array(path, dtype=np.float64),
            [float(value) for energy in energies for value in self._host(energy)],
            [float(value) for norm in norms for value in self._host(norm)],
            seen.terms,
            judge if seen.critic_cache is not None else None,
        )

    def advance(self, seen: Seen, start: Values, steps: int) -> Floats:
        """Candidates (K, H, D) after ``steps`` gradient steps from ``start``, and nothing else: without the energy of
        the result, which tells whether it can be trusted. For measurements."""
        chunks, moves = self._put(start), self._put(self._moves)
        for _ in range(steps):
            _, _, chunks = self._graphs["descent"].run(cache=seen.cache, chunks=chunks, moves=moves)
        return np.asarray(self._host(chunks), dtype=np.float64)

    def _walk(
        self, seen: Seen, start: Values, moves: Values, steps: int, may_step: MayStep | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Chunks and energies before every step and after the last, and the gradients' norms; all on the device."""
        chunks, energies, norms = [self._put(start)], [], []
        on_device = self._put(moves)
        for step in range(steps):
            if step and may_step is not None and not may_step(step):
                break
            energy, norm, following = self._graphs["descent"].run(cache=seen.cache, chunks=chunks[-1], moves=on_device)
            energies.append(energy)
            norms.append(norm)
            chunks.append(following)
        energies += self._graphs["energy"].run(cache=seen.cache, chunks=chunks[-1])
        return chunks, energies, norms

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """Energy of ``chunk`` (H, D), normalised, at ``observation``."""
        values = as_floats("chunk", chunk, (self.bundle.chunk.horizon, len(self.bundle.joints)))
        (energy,) = self._graphs["energy"].run(
            cache=self.observe(observation).cache, chunks=self._put(values[None].astype(np.float32))
        )
        return float(self._host(energy)[0])

    def observe(self, observation: NormalisedObservation) -> Seen:
        """The encoded observation; encoded once, however often it is asked."""
        if self._seen is None or self._seen[0] is not observation:
            self._seen = (observation, self._encode(observation))
        return self._seen[1]

    def encode_ahead(self, images: Mapping[str, Pixels]) -> None:
        """Encodes pictures that an observation may soon be made of: camera name -> (height, width, 3) uint8."""
        for place, camera in enumerate(self.bundle.cameras):
            if camera.name in images:
                self._features(place, images[camera.name])

    def forget(self) -> None:
        """The next chunk encodes its observation anew, even if it is the last one's."""
        self._seen = None
        self._pictures.clear()

    def _features(self, place: int, picture: Pixels) -> Any:
        """(1, F) of one picture, from memory where it can; on the device."""

        def encode(pixels: Pixels) -> Any:
            (features,) = self._graphs[camera_graph(place)].run(image=self._put(np.ascontiguousarray(pixels)[None]))
            return features

        return self._pictures.of(self.bundle.cameras[place].name, picture, encode)

    def _encode(self, observation: NormalisedObservation) -> Seen:
        positions = as_floats("positions", observation.positions, (len(self.bundle.joints),))
        given: dict[str, Any] = {"positions": self._put(positions[None].astype(np.float32))}
        for place, camera in enumerate(self.bundle.cameras):
            picture = observation.images.get(camera.name)
            if picture is None:
                had = ", ".join(observation.images) or "none"
                raise ShapeError(f"images: camera '{camera.name}' is missing, got {had}")
            given[f"features_{place}"] = self._features(place, picture)
        cache, *rest = self._graphs["observation"].run(**given)
        critic_cache = rest.pop(0) if "critic" in self._graphs else None
        terms = dict(zip(self._term_names, self._host(rest[0]).tolist(), strict=True)) if self._term_names else {}
        return Seen(cache, critic_cache, terms)

    def _put(self, values: NDArray[Any]) -> Any:
        if not self._is_bound:
            return values
        import onnxruntime

        return onnxruntime.OrtValue.ortvalue_from_numpy(values, self._target.device, self._target.index)

    def _host(self, value: Any) -> NDArray[Any]:
        return np.asarray(value.numpy() if self._is_bound else value)

    def check_parity(self, directory: str | Path) -> tuple[float, float]:
        """The largest difference of chunks [normalised units] and of energies (relative) from the numbers written at
        export; BundleError when they are more than rounding."""
        path = Path(directory) / PARITY_FILE
        try:
            from safetensors.numpy import load_file

            told = load_file(path)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read ({error}); export the bundle again") from error
        away, off = 0.0, 0.0
        for index, images in enumerate(told["images"]):
            pictures = {camera.name: images[place] for place, camera in enumerate(self.bundle.cameras)}
            seen = self._encode(NormalisedObservation(pictures, told["positions"][index]))
            energies, start = told["energies"][index], np.ascontiguousarray(told["starts"][index : index + 1])
            chunks, passed, _ = self._walk(seen, start, self._moves, len(energies) - 1)
            trace = np.array([self._host(energy)[0] for energy in passed])
            away = max(away, float(np.abs(self._host(chunks[-1])[0] - told["chunks"][index]).max()))
            off = max(off, float(np.abs(trace - energies).max() / np.abs(energies).max()))
        if not (away <= ACTION_TOLERANCE and off <= ENERGY_TOLERANCE):
            raise BundleError(
                f"{path.parent}: this machine's ONNX Runtime computes other chunks than the export: actions differ by "
                f"{away:.2g}, energies by {off:.2g}, allowed are {ACTION_TOLERANCE:g} and {ENERGY_TOLERANCE:g}"
            )
        return away, off
