"""A critic is trained beside a finished policy, on its features and chunks, and leaves it alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from policy import small

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import Bounds, Bundle, JointSpec
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser
from ebt_policy_ros.training import train as training
from ebt_policy_ros.training.fit_critic import fit_critic
from ebt_policy_ros.training.settings import TrainSettings
from ebt_policy_ros.training.train import Trainer

from . import demonstrations


@pytest.fixture
def model(tmp_path):
    """A policy that has learned nothing, with statistics that no data set has."""
    joints = tuple(JointSpec(name, "rad") for name in demonstrations.JOINTS)
    bundle = small.bundle_of(small.network(), joints=joints, positions=Bounds((-2.0,) * 3, (2.0,) * 3))
    replace(bundle, calibration={"weights_sha256": bundle.weights_sha256}).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path):
    return demonstrations.write(tmp_path / "data")


def quiet(_line):
    pass


def test_a_bundle_gets_a_critic_and_keeps_its_policy(model, data, tmp_path):
    before = Bundle.load(model)
    bundle = fit_critic(model, data, work_dir=tmp_path / "critic", steps=4, report=quiet)
    assert Bundle.load(model).weights_sha256 == bundle.weights_sha256 != before.weights_sha256
    assert bundle.policy_sha256 == before.policy_sha256
    assert bundle.calibration is None
    assert bundle.provenance["critic"]["gradient_steps"] == 4
    judged = Bundle.load(tmp_path / "critic" / before.policy_sha256[:12])
    assert (judged.method, judged.positions) == ("critic", before.positions)
    assert not any("encoders" in name for name in bundle.tensors if name.startswith("critic."))
    observation = small.observation()
    old, new = (TorchMinimiser(one, "cpu").minimise(observation, steps=2, starts=1, seed=0) for one in (before, bundle))
    np.testing.assert_array_equal(old.chunk, new.chunk)
    assert new.terms["expected_error"] > 0


def test_expected_distances_come_near_the_real_ones(model, data, tmp_path):
    settings = TrainSettings(
        data=str(data), out=str(tmp_path / "critic"), method="critic", policy=str(model), steps=150, batch=16,
        horizon=4, execute_steps=2, learning_rate=3e-3, precision="float32", warmup_steps=2, held_out=0.0,
    )  # fmt: skip
    encoder = training.Encoder.of(Bundle.load(model))
    trainer = Trainer(settings, training.Demonstrations.load(data), encoder, quiet)
    before = trainer.validate()["error"]
    for step in range(150):
        trainer.gradient_step(step, 1.0)
    after = trainer.validate()["error"]
    assert after < 0.6 * before  # of the logarithm: from a factor of e^before to one of e^after


def test_a_critic_needs_a_policy_of_the_same_joints(model, data, tmp_path):
    with pytest.raises(SettingsError, match="policy: expected with method 'critic'"):
        TrainSettings(data="", out="", method="critic")
    with pytest.raises(SettingsError, match="policy: expected with method 'critic'"):
        TrainSettings(data="", out="", policy="somewhere")
    small.bundle_of(small.network()).save(model)  # joints of other names
    with pytest.raises(SettingsError, match="its joints are shoulder, elbow, finger; the data set's"):
        fit_critic(model, data, work_dir=tmp_path / "critic", report=quiet)
    torch.manual_seed(0)
    small.bundle_of(small.network(), method="regression").save(model)
    settings = TrainSettings(data=str(data), out=str(tmp_path), method="critic", policy=str(model))
    with pytest.raises(SettingsError, match="is of 'regression'"):
        training.make_method(settings, torch.ones(3))


def test_a_critics_chunks_are_as_long_as_its_policys(model, data, tmp_path):
    settings = TrainSettings(data=str(data), out=str(tmp_path / "critic"), method="critic", policy=str(model))
    with pytest.raises(SettingsError, match="horizon: expected the policy's 4, got 16"):
        training.train(settings, quiet)
