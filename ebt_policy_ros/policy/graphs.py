"""What an exported bundle consists of: names and shapes that exporter and runtime agree on. No torch.

ONNX graphs, one ``camera_<place>`` for every camera, in the bundle's order; K candidates and the pictures' sizes are open,
all else is fixed. T, L and d / heads are sizes of the trunk; the caches hold keys and values of the observation.

| graph | inputs | outputs |
|---|---|---|
| camera_0, ... | ``image`` (1, height, width, 3) uint8 RGB of any size | ``features`` (1, F) |
| observation | ``positions`` (1, D), ``features_0``, ... (1, F) | ``cache`` (L, 2, 1, heads, T, d / heads), with a critic ``critic_cache``, with score heads ``terms`` |
| descent | ``cache``, ``chunks`` (K, H, D), ``moves`` (H, 1): 0 where a row stays | ``energies`` (K,), ``norms`` (K,) of the gradients, ``next`` (K, H, D) |
| energy | ``cache``, ``chunks`` (K, H, D) | ``energies`` (K,) |
| critic | ``critic_cache``, ``chunks`` (K, H, D) | ``distances`` (K, H) |
"""  # noqa: E501 - a table

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.bundle import Bundle

SCHEMA = 2
OPSET = 20
PARITY_FILE = "parity.safetensors"
"""Inputs, and what the network made of them when it was exported."""
METADATA_KEY = "ebt_policy_ros"
ACTION_TOLERANCE = 1e-4
"""Largest difference of a chunk from the reference [normalised units]."""
ENERGY_TOLERANCE = 1e-3
"""Largest difference of an energy from the reference, relative to the largest energy at hand."""


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What stands in every graph's metadata, so that a file explains itself wherever it is found."""

    graph: str
    bundle: str
    weights_sha256: str
    schema: int
    opset: int
    cameras: list[dict[str, Any]]
    joints: list[dict[str, Any]]
    statistics: dict[str, Any]
    """{"positions", "actions"}: {"low", "high"} that normalise to -1 and 1."""
    horizon: int
    period_s: float
    terms: list[str]
    """Names of the observation's ``terms``."""

    def as_text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self))


def graph_path(directory: str | Path, graph: str) -> Path:
    """Where a graph of a bundle lies."""
    return Path(directory) / f"{graph}.onnx"


def camera_graph(place: int) -> str:
    """The graph of the bundle's camera at this place; its name may not be fit for a file's."""
    return f"camera_{place}"


def graph_names(bundle: Bundle) -> list[str]:
    """All graphs of a bundle."""
    names = [*(camera_graph(place) for place in range(len(bundle.cameras))), "observation", "descent", "energy"]
    return [*names, "critic"] if any(name.startswith("critic.") for name in bundle.tensors) else names


def is_exported(directory: str | Path) -> bool:
    """Whether a bundle's folder has the graphs that every bundle has, whatever they belong to."""
    return all(graph_path(directory, graph).is_file() for graph in ("observation", "descent", "energy"))


def info_of(bundle: Bundle, graph: str, terms: list[str]) -> GraphInfo:
    """The metadata of one graph of a bundle."""
    return GraphInfo(
        graph=graph,
        bundle=bundle.name,
        weights_sha256=bundle.weights_sha256,
        schema=SCHEMA,
        opset=OPSET,
        cameras=[vars(camera) for camera in bundle.cameras],
        joints=[vars(joint) for joint in bundle.joints],
        statistics={
            kind: {"low": list(bounds.low), "high": list(bounds.high)}
            for kind, bounds in (("positions", bundle.positions), ("actions", bundle.actions))
        },
        horizon=bundle.chunk.horizon,
        period_s=bundle.chunk.period_s,
        terms=terms,
    )


def read_info(metadata: Mapping[str, str], path: Path, bundle: Bundle) -> GraphInfo:
    """The metadata of a graph; BundleError when it is none of ours, of another schema, or of other weights."""
    try:
        info = GraphInfo(**json.loads(metadata[METADATA_KEY]))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} is no graph of ebt-policy export ({error!r}); export the bundle again") from error
    if info.schema != SCHEMA:
        raise BundleError(f"{path}: expected schema {SCHEMA}, got {info.schema}; export the bundle again")
    if info.weights_sha256 != bundle.weights_sha256:
        raise BundleError(
            f"{path} was exported from weights {info.weights_sha256[:12]}, the bundle has "
            f"{bundle.weights_sha256[:12]}; run `ebt-policy export --model {path.parent}` again"
        )
    return info
