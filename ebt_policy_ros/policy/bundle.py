"""Policy bundles on disk: ``policy.json`` and ``weights.safetensors``. No torch, and nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.files import write_atomically

SCHEMA = 1
POLICY_FILE = "policy.json"
WEIGHTS_FILE = "weights.safetensors"
POLICY_METHODS = ("ebt", "dp", "regression")
"""Methods that command an arm; a bundle may also hold a 'critic' before it is joined to its policy."""
JUDGES = ("heads.", "critic.")
"""Beginnings of the names of tensors that judge a policy and leave its chunks alone."""
_KEYS = ("name", "method", "architecture", "cameras", "joints", "statistics", "chunk", "minimiser", "weights")


@dataclass(frozen=True)
class CameraSpec:
    """A camera the policy was trained with; the runtime resizes other sizes to this one [pixels]."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class JointSpec:
    """A joint in the order of positions and actions; ``unit`` is 'rad' or 'm'."""

    name: str
    unit: str


@dataclass(frozen=True)
class Bounds:
    """(D,) values that normalise to -1 (``low``) and 1 (``high``)."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ChunkSpec:
    """The chunk's rows, their distance in time, and how many are executed before the next plan."""

    horizon: int
    period_s: float
    execute_steps: int


@dataclass(frozen=True)
class MinimiserDefaults:
    """Gradient steps and starts in calm operation, and when the energy asks for more thought."""

    steps: int = 2
    starts: int = 1
    more_steps: int = 8
    more_starts: int = 8


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained policy: everything a runtime needs to know, and its tensors."""

    name: str
    architecture: Mapping[str, Any]
    cameras: tuple[CameraSpec, ...]
    joints: tuple[JointSpec, ...]
    positions: Bounds
    """Statistics of measured joint positions."""
    actions: Bounds
    """Statistics of commanded joint targets."""
    chunk: ChunkSpec
    tensors: Mapping[str, NDArray[np.float32]]
    """``network.*`` the energy network; ``heads.*`` the score heads and ``critic.*`` the critic, when trained."""
    method: str = "ebt"
    minimiser: MinimiserDefaults = field(default_factory=MinimiserDefaults)
    calibration: Mapping[str, Any] | None = None
    """{"score", "alpha", "n", "threshold", "quantiles", "weights_sha256"} or None before calibration."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    """Hash of the tensors' serialised form; filled in by ``load``, ``save`` and ``with_hash``."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def policy_sha256(self) -> str:
        """Hash of the tensors that decide the chunks: score heads and critic, which only judge them, left out."""
        return hashlib.sha256(
            _serialise({name: tensor for name, tensor in self.tensors.items() if not name.startswith(JUDGES)})
        ).hexdigest()

    def with_hash(self) -> Bundle:
        """The same bundle with ``weights_sha256`` computed from its tensors."""
        return replace(self, weights_sha256=hashlib.sha256(_serialise(self.tensors)).hexdigest())

    def save(self, directory: str | Path) -> Bundle:
        """Write both files, each atomically, the weights first; returns the bundle with its hash."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        weights = _serialise(self.tensors)
        saved = replace(self, weights_sha256=hashlib.sha256(weights).hexdigest())
        write_atomically(directory / WEIGHTS_FILE, weights)
        write_atomically(directory / POLICY_FILE, (json.dumps(saved._document(), indent=1) + "\n").encode())
        return saved

    def _document(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "method": self.method,
            "architecture": dict(self.architecture),
            "cameras": [vars(camera) for camera in self.cameras],
            "joints": [vars(joint) for joint in self.joints],
            "statistics": {
                "positions": {"low": list(self.positions.low), "high": list(self.positions.high)},
                "actions": {"low": list(self.actions.low), "high": list(self.actions.high)},
            },
            "chunk": vars(self.chunk),
            "minimiser": vars(self.minimiser),
            "calibration": None if self.calibration is None else dict(self.calibration),
            "weights": {"file": WEIGHTS_FILE, "sha256": self.weights_sha256},
            "provenance": dict(self.provenance),
        }

    @classmethod
    def load(cls, directory: str | Path) -> Bundle:
        """Read and check a bundle.

        Raises BundleError when a file is missing, the schema is another, a field does not fit, the weights are not
        the ones policy.json was written for, or the calibration belongs to other weights.
        """
        directory = Path(directory)
        document = _read_document(directory / POLICY_FILE)
        name = document["weights"].get("file", WEIGHTS_FILE)
        if name != Path(name).name:
            raise BundleError(f"{directory / POLICY_FILE}: weights.file must be a plain file name, got '{name}'")
        tensors, digest = _read_weights(directory / name, document["weights"].get("sha256", ""))
        try:
            bundle = cls(
                name=str(document["name"]),
                method=str(document["method"]),
                architecture=document["architecture"],
                cameras=tuple(CameraSpec(**camera) for camera in document["cameras"]),
                joints=tuple(JointSpec(**joint) for joint in document["joints"]),
                positions=_bounds(document["statistics"]["positions"]),
                actions=_bounds(document["statistics"]["actions"]),
                chunk=ChunkSpec(**document["chunk"]),
                minimiser=MinimiserDefaults(**document["minimiser"]),
                calibration=document.get("calibration"),
                provenance=document.get("provenance", {}),
                tensors=tensors,
                weights_sha256=digest,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{directory / POLICY_FILE}: a field is missing or does not fit: {error}") from error
        bundle._check(directory / POLICY_FILE)
        return bundle

    def _check(self, where: Path) -> None:
        count = len(self.joints)
        for kind, bounds in (("positions", self.positions), ("actions", self.actions)):
            if len(bounds.low) != count or len(bounds.high) != count:
                raise BundleError(f"{where}: statistics.{kind} have {len(bounds.low)} values for {count} joints")
            for joint, low, high in zip(self.joints, bounds.low, bounds.high, strict=True):
                if not low < high:
                    raise BundleError(f"{where}: statistics.{kind} of joint '{joint.name}': low {low} >= high {high}")
        chunk = self.chunk
        if not 1 <= chunk.execute_steps <= chunk.horizon or chunk.period_s <= 0:
            raise BundleError(f"{where}: chunk {vars(chunk)} is impossible; 1 <= execute_steps <= horizon")
        if self.calibration is not None and self.calibration.get("weights_sha256") != self.weights_sha256:
            raise BundleError(
                f"{where}: the calibration belongs to weights {str(self.calibration.get('weights_sha256'))[:12]}, "
                f"these are {self.weights_sha256[:12]}; run `ebt-policy calibrate` again"
            )


def _bounds(values: Mapping[str, Any]) -> Bounds:
    return Bounds(tuple(float(v) for v in values["low"]), tuple(float(v) for v in values["high"]))


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BundleError(f"{path} does not exist; a policy bundle is a folder with {POLICY_FILE}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise BundleError(f"{path}: expected schema {SCHEMA}, got {found}; use a matching version of ebt_policy_ros")
    missing = [key for key in _KEYS if key not in document]
    if missing or not isinstance(document["weights"], dict):
        raise BundleError(f"{path}: missing {', '.join(missing) or 'weights'}")
    return document


def _read_weights(path: Path, expected: str) -> tuple[dict[str, NDArray[np.float32]], str]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{path} does not exist although {POLICY_FILE} names it") from error
    digest = hashlib.sha256(raw).hexdigest()
    if digest != expected:
        raise BundleError(f"{path} was altered: sha256 is {digest[:12]}..., {POLICY_FILE} says {expected[:12]}...")
    try:
        return load(raw), digest
    except SafetensorError as error:
        raise BundleError(f"{path} is not a safetensors file: {error}") from error


def _serialise(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    from safetensors.numpy import save

    return bytes(save({name: np.array(tensor, order="C") for name, tensor in sorted(tensors.items())}))
