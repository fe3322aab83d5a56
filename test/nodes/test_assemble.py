"""The composition root: what fits is put together, what does not is named joint by joint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ebt_policy_ros.assemble import assemble_all, fit_robot, load_robot, make_settings
from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.core.types import Instant
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser

from .tiny_bundle import CAMERAS, HOME, JOINTS, SIZE


@pytest.fixture
def robot() -> RobotSettings:
    return load_robot("panda_sim")[0]


@pytest.fixture
def bundle(bundle_dir: Path) -> Bundle:
    return Bundle.load(bundle_dir)


def test_a_chunk_comes_out(bundle_dir: Path, robot: RobotSettings) -> None:
    assembly = assemble_all(bundle_dir, robot, {}, "cpu", warm_up=True)
    for camera in CAMERAS:
        assembly.pipeline.add_image(camera, 10**9, 10**9, np.zeros((SIZE, SIZE, 3), np.uint8))
    assembly.pipeline.add_joints(10**9, 10**9, JOINTS, HOME)
    now = Instant(10**9, 10**9)
    cycle = assembly.pipeline.act(assembly.pipeline.think(now), now)
    assert cycle.command is not None
    assert cycle.command.joint_names == JOINTS
    assert cycle.network_evaluations == 2
    assert assembly.calibration is not None


def test_warming_up_runs_the_model_in_every_shape_that_a_round_asks_for(
    bundle_dir: Path, robot: RobotSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    steps, energy = TorchMinimiser._step, TorchMinimiser._energy
    monkeypatch.setattr(
        TorchMinimiser, "_step", lambda self, *given: seen.append(given[1].shape) or steps(self, *given)
    )
    monkeypatch.setattr(
        TorchMinimiser, "_energy", lambda self, *given: seen.append(given[1].shape) or energy(self, *given)
    )
    effort = {"starts": 3, "more_starts": 5}
    assembly = assemble_all(bundle_dir, robot, {"minimise": effort}, "cpu", "torch", warm_up=True)
    warm = set(seen)
    seen.clear()
    for at_ns in (10**9, 14 * 10**8):  # the second plan is compared with what is left of the first
        for camera in CAMERAS:
            assembly.pipeline.add_image(camera, at_ns, at_ns, np.full((SIZE, SIZE, 3), at_ns // 10**8, np.uint8))
        assembly.pipeline.add_joints(at_ns, at_ns, JOINTS, HOME)
        now = Instant(at_ns, at_ns)
        assembly.pipeline.act(assembly.pipeline.think(now), now)
    assert (1, 16, len(JOINTS)) in seen
    assert set(seen) <= warm


def test_joints_are_put_into_the_bundles_order(bundle: Bundle, robot: RobotSettings) -> None:
    shuffled = replace(robot, joints=robot.joints[::-1])
    assert fit_robot(bundle, shuffled).joint_names == JOINTS


def test_every_mismatch_is_named(bundle: Bundle, robot: RobotSettings) -> None:
    first, *others, finger = robot.joints
    strange = replace(robot, joints=(replace(first, name="elbow"), *others, replace(finger, kind="revolute")))
    with pytest.raises(BundleError) as caught:
        fit_robot(bundle, strange)
    for words in ("'panda_joint1' of the bundle", "'elbow' of the robot", "'panda_finger_joint1' is in [m]"):
        assert words in str(caught.value)


def test_what_may_be_asked_for_is_what_runtimes_know(bundle_dir: Path, robot: RobotSettings) -> None:
    from ebt_policy_ros.assemble import PRECISIONS
    from ebt_policy_ros.runtimes import torch_base

    assert set(PRECISIONS) == set(torch_base.PRECISIONS)
    for given, reason in (
        ({"runtime": "abacus"}, "runtime 'abacus': expected one of auto, torch"),
        ({"precision": "float8"}, "precision 'float8': expected one of float32"),
        ({"runtime": "onnxruntime", "precision": "bfloat16"}, "computes in float32; use runtime torch"),
        ({"device": "gpu"}, "device 'gpu': expected auto, cpu"),
    ):
        with pytest.raises(SettingsError, match=reason):
            assemble_all(bundle_dir, robot, **given)


def test_overrides_win_over_the_bundle(bundle: Bundle) -> None:
    settings = make_settings(bundle, {"minimise": {"steps": 5}, "observe": {"max_skew_s": 0.2}})
    assert (settings.minimise.steps, settings.minimise.starts) == (5, bundle.minimiser.starts)
    assert settings.observe.cameras == CAMERAS
    assert settings.observe.max_skew_s == 0.2
    assert settings.schedule.execute_steps == bundle.chunk.execute_steps


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"minimise": {"stepps": 5}}, "stepps"),
        ({"minimize": {"steps": 5}}, "minimize"),
        ({"minimise": 5}, "minimise"),
        ({"schedule": {"execute_steps": 17}}, "horizon"),
    ],
)
def test_a_bad_override_is_named(bundle: Bundle, overrides: dict, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        make_settings(bundle, overrides)


@pytest.mark.parametrize("model", ["", "no_such_model", "../models", "/nowhere"])
def test_a_missing_bundle_is_named(robot: RobotSettings, model: str) -> None:
    with pytest.raises(BundleError):
        assemble_all(model, robot)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: x\njoints: []", "joints"),
        ("[1, 2]", "mapping"),
        ("name: [", "cannot be read"),
        ("name: x\njoints: [{name: a, kind: revolute, lower: 1, upper: 0, velocity: 1, acceleration: 1}]", "'a'"),
        ("name: x\nspeed: 3\njoints: []", "speed"),
    ],
)
def test_a_bad_robot_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        load_robot(str(path))


def test_kinematics_must_name_the_robots_joints(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    joint = "{name: a, kind: revolute, lower: 0, upper: 1, velocity: 1, acceleration: 1}"
    path.write_text(f"name: x\njoints: [{joint}]\nkinematics: {{modified_dh: [{{joint: b}}]}}")
    with pytest.raises(SettingsError, match="b"):
        load_robot(str(path))


def with_method(bundle: Bundle, method: str, directory: Path) -> Path:
    """A bundle of another method for the same robot, with a calibration that must not count."""
    from ebt_policy_ros.policy.load import make_network
    from ebt_policy_ros.policy.network import Architecture

    network = make_network(method, Architecture.from_mapping(bundle.architecture))
    tensors = {f"network.{name}": tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    other = replace(bundle, method=method, tensors=tensors, calibration=None).with_hash()
    calibration = {**(bundle.calibration or {}), "weights_sha256": other.weights_sha256}
    replace(other, calibration=calibration).save(directory)
    return directory


@pytest.mark.parametrize(
    ("method", "sampler", "passes"), [("dp", "ddim10", 10), ("dp", None, 100), ("regression", None, 1)]
)
def test_methods_without_an_energy_run_in_the_same_pipeline(
    bundle: Bundle, robot: RobotSettings, tmp_path: Path, method: str, sampler: str | None, passes: int
) -> None:
    if method == "dp":
        pytest.importorskip("diffusers")
    directory = with_method(bundle, method, tmp_path / method)
    assembly = assemble_all(directory, robot, {"retry": {"enabled": True}}, "cpu", sampler=sampler, warm_up=True)
    assert assembly.calibration is None
    assert not assembly.settings.retry.enabled
    for camera in CAMERAS:
        assembly.pipeline.add_image(camera, 10**9, 10**9, np.zeros((SIZE, SIZE, 3), np.uint8))
    assembly.pipeline.add_joints(10**9, 10**9, JOINTS, HOME)
    now = Instant(10**9, 10**9)
    plan = assembly.pipeline.think(now)
    assert plan.thought.network_evaluations == passes
    assert type(plan.decision).__name__ == "Accept"


def test_a_sampler_that_does_not_fit_is_named(bundle: Bundle, robot: RobotSettings, bundle_dir: Path) -> None:
    with pytest.raises(SettingsError, match="only a diffusion policy"):
        assemble_all(bundle_dir, robot, {}, "cpu", sampler="ddim16")


def test_an_unknown_method_and_a_warm_start_without_energy_are_named(
    bundle: Bundle, robot: RobotSettings, tmp_path: Path
) -> None:
    replace(bundle, method="gan").save(tmp_path / "gan")
    with pytest.raises(BundleError, match="'gan'"):
        assemble_all(tmp_path / "gan", robot, {}, "cpu")
    directory = with_method(bundle, "regression", tmp_path / "regression")
    with pytest.raises(SettingsError, match="warm_start"):
        assemble_all(directory, robot, {"minimise": {"warm_start": True}}, "cpu")
