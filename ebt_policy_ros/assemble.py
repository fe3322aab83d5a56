"""Composition root: a bundle and a robot become a pipeline. Only this module knows every backend, lazily imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.minimise import EnergyMinimiser
from ebt_policy_ros.core.normalise import Normaliser, Stats
from ebt_policy_ros.core.pipeline import Pipeline
from ebt_policy_ros.core.settings import PipelineSettings, RobotSettings
from ebt_policy_ros.core.types import NormalisedObservation
from ebt_policy_ros.core.uncertainty import Calibration, Uncertainty
from ebt_policy_ros.messages.kinematics import ToolSettings
from ebt_policy_ros.resources import find_model, load_robot_file

RUNTIMES = ("auto", "torch", "torch_compile", "onnxruntime")
"""``auto``: ONNX Runtime on the CPU for a bundle that was exported, where it is installed; torch else."""
PRECISIONS = ("float32", "bfloat16")
"""Of convolutions and large matrix products; ONNX Runtime has the first."""


@dataclass(frozen=True)
class Assembly:
    """A pipeline and what was known when it was put together."""

    pipeline: Pipeline
    settings: PipelineSettings
    robot: RobotSettings
    """Its joints are the bundle's, in the bundle's order."""
    model_name: str
    model_dir: Path
    calibration: Calibration | None
    minimiser: EnergyMinimiser
    """The runtime that the pipeline asks for chunks."""
    normaliser: Normaliser
    """Between its units and the robot's."""


def load_robot(robot: str) -> tuple[RobotSettings, ToolSettings]:
    """Limits, and what ``kinematics:`` says of the tool, of a robot file (a path, or a name in config/robots/).

    SettingsError names the file's bad entry.
    """
    entries = load_robot_file(robot)
    kinematics = entries.pop("kinematics", None)
    settings = RobotSettings.from_mapping(entries, where=f"robot '{robot}'")
    tool = ToolSettings() if kinematics is None else ToolSettings.from_mapping(kinematics)
    missing = [] if tool.chain is None else tool.chain.missing_joints(settings.joint_names)
    if missing:
        raise SettingsError(f"robot '{robot}': kinematics name joints that it does not have: {', '.join(missing)}")
    return settings, tool


def assemble(
    model_dir: str | Path,
    robot: RobotSettings,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    runtime: str = "auto",
) -> Pipeline:
    """The pipeline of a bundle for a robot; see ``assemble_all``."""
    return assemble_all(model_dir, robot, overrides, device, runtime).pipeline


def assemble_all(
    model_dir: str | Path,
    robot: RobotSettings,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    runtime: str = "auto",
    *,
    precision: str = "float32",
    sampler: str | None = None,
    warm_up: bool = False,
) -> Assembly:
    """Loads a bundle (directory or name), checks it against ``robot`` and builds the pipeline.

    ``overrides`` are settings by section, such as ``{"minimise": {"steps": 4}, "retry": {"enabled": False}}``, that win
    over the bundle's defaults. ``runtime`` is one of ``RUNTIMES``, ``precision`` one of ``PRECISIONS``. ``sampler`` is
    how a diffusion policy denoises: 'ddpm100' (its default), 'ddim16' or 'ddim10'. Methods without an energy run
    without retry and calibration, whatever is asked. ``warm_up`` runs the model once for every shape it will see, on
    black pictures of the trained size: the first call is slow (allocations, kernels, recordings) and must not be part
    of a measured or commanded chunk.

    BundleError lists everything in which bundle and robot differ; SettingsError names an unknown or bad override.
    """
    from ebt_policy_ros.policy.bundle import Bundle

    directory = find_model(str(model_dir))
    bundle = Bundle.load(directory)
    robot = fit_robot(bundle, robot, directory)
    settings = make_settings(bundle, overrides or {})
    is_calibrated = bundle.calibration is not None and bundle.method == "ebt"
    calibration = Calibration.from_mapping(bundle.calibration) if is_calibrated else None
    minimiser = _make_minimiser(bundle, directory, device, runtime, precision, sampler)
    if warm_up:
        _warm_up(minimiser, bundle, settings)
    normaliser = Normaliser(positions=_stats(bundle.positions), actions=_stats(bundle.actions))
    uncertainty = Uncertainty(calibration, bundle.weights_sha256)
    pipeline = Pipeline(minimiser, normaliser, uncertainty, settings, robot)
    return Assembly(pipeline, settings, robot, bundle.name, directory, calibration, minimiser, normaliser)


def fit_robot(bundle: Any, robot: RobotSettings, where: Path | str = "bundle") -> RobotSettings:
    """``robot`` with its joints in the bundle's order; BundleError lists every joint that does not match."""
    joints = {joint.name: joint for joint in robot.joints}
    wanted = {joint.name: joint.unit for joint in bundle.joints}
    found = [f"joint '{name}' of the bundle is not one of the robot's" for name in wanted if name not in joints]
    found += [f"joint '{name}' of the robot is not commanded by the bundle" for name in joints if name not in wanted]
    found += [
        f"joint '{name}' is in [{unit}] in the bundle but [{joints[name].unit}] on the robot"
        for name, unit in wanted.items()
        if name in joints and joints[name].unit != unit
    ]
    if found:
        raise BundleError(f"{where} does not fit robot '{robot.name}': {'; '.join(found)}")
    return RobotSettings(robot.name, tuple(joints[name] for name in wanted), robot.gripper)


def make_settings(bundle: Any, overrides: Mapping[str, Mapping[str, Any]]) -> PipelineSettings:
    """The bundle's defaults with ``overrides`` (section -> field -> value) on top; SettingsError names a bad one."""
    sections: dict[str, Any] = {
        "period_s": bundle.chunk.period_s,
        "horizon": bundle.chunk.horizon,
        "observe": {"cameras": [camera.name for camera in bundle.cameras]},
        "minimise": dict(vars(bundle.minimiser)),
        "schedule": {"execute_steps": bundle.chunk.execute_steps},
    }
    for section, values in overrides.items():
        if not isinstance(values, Mapping):
            raise SettingsError(f"setting '{section}': expected a section with fields, got {values!r}")
        sections[section] = {**sections.get(section, {}), **values}
    if bundle.method != "ebt":
        if sections["minimise"].get("warm_start", False):
            raise SettingsError(f"minimise.warm_start: method '{bundle.method}' cannot start from a given chunk")
        sections["retry"] = {**sections.get("retry", {}), "enabled": False}  # no energy, nothing to decide on
    return PipelineSettings.from_mapping(sections, where="settings")


def _stats(bounds: Any) -> Stats:
    return Stats(np.array(bounds.low), np.array(bounds.high))


def _make_minimiser(
    bundle: Any, directory: Path, device: str, runtime: str, precision: str, sampler: str | None
) -> EnergyMinimiser:
    for name, value, allowed in (("runtime", runtime, RUNTIMES), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise SettingsError(f"{name} '{value}': expected one of {', '.join(allowed)}")
    if sampler is not None and bundle.method != "dp":
        raise SettingsError(
            f"sampler '{sampler}': only a diffusion policy ('dp') has samplers, bundle '{bundle.name}' is "
            f"'{bundle.method}'; leave it out"
        )
    if runtime == "auto" and precision == "float32" and _prefers_onnx(bundle, directory, device):
        runtime = "onnxruntime"
    if runtime == "onnxruntime":
        if precision != "float32":
            raise SettingsError(
                f"precision '{precision}': runtime 'onnxruntime' computes in float32; use runtime torch"
            )
        from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser

        return OnnxMinimiser(bundle, directory, device)
    try:
        from ebt_policy_ros.runtimes.torch_baselines import DiffusionSampler, RegressionRunner
        from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser
    except ImportError as error:
        raise SettingsError(
            f"runtime '{runtime}' needs torch ({error}); install torch into this environment"
        ) from error
    # One thread: on a CPU the network is too small for two to help (10 ms against 13), and they wait for each other
    # when the machine is busy.
    options: dict[str, Any] = {"num_threads": 1, "precision": precision, "compiled": runtime == "torch_compile"}
    if bundle.method == "ebt":
        return TorchMinimiser(bundle, device, **options)
    if bundle.method == "dp":
        return DiffusionSampler(bundle, device, sampler=sampler or "ddpm100", **options)
    if bundle.method == "regression":
        return RegressionRunner(bundle, device, **options)
    raise BundleError(f"bundle '{bundle.name}': method '{bundle.method}' is none of ebt, dp, regression")


def _prefers_onnx(bundle: Any, directory: Path, device: str) -> bool:
    """Whether ONNX Runtime can run the bundle here and is the fastest: on the CPU."""
    from ebt_policy_ros.policy.graphs import is_exported

    if bundle.method != "ebt" or not is_exported(directory) or importlib.util.find_spec("onnxruntime") is None:
        return False
    if device != "auto":
        return device == "cpu"
    if importlib.util.find_spec("torch") is None:
        return True
    import torch

    return not torch.cuda.is_available()


def _warm_up(minimiser: EnergyMinimiser, bundle: Any, settings: PipelineSettings) -> None:
    images = {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8) for camera in bundle.cameras}
    observation = NormalisedObservation(images, np.zeros(len(bundle.joints)))
    thought = settings.minimise
    minimiser.minimise(observation, steps=thought.steps, starts=thought.starts, seed=0)
    minimiser.minimise(observation, steps=thought.more_steps, starts=thought.more_starts, seed=0)
    minimiser.score(observation, np.zeros((bundle.chunk.horizon, len(bundle.joints))))
