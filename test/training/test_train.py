import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy import small

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser
from ebt_policy_ros.training import train as training
from ebt_policy_ros.training.checkpoint import CheckpointError
from ebt_policy_ros.training.representation import Encoder, EncoderError, next_keyframes
from ebt_policy_ros.training.settings import TrainSettings
from ebt_policy_ros.training.train import NonFiniteError, Trainer, train

from . import demonstrations


@pytest.fixture
def settings(tmp_path):
    data = demonstrations.write(tmp_path / "data")
    return TrainSettings(
        data=str(data), out=str(tmp_path / "out"), steps=6, batch=8, horizon=4, execute_steps=2, model_width=16,
        layers=1, keypoints=4, warmup_steps=2, validate_every=3, precision="float32", encoder_steps=0,
    )  # fmt: skip


def quiet(_line):
    pass


def test_a_run_leaves_a_bundle_that_minimises(settings):
    lines = []
    trained = train(settings, lines.append)
    bundle = Bundle.load(settings.out)
    assert bundle.weights_sha256 == trained.weights_sha256
    assert [joint.unit for joint in bundle.joints] == ["rad", "rad", "m"]
    assert bundle.provenance["gradient_steps"] == 6
    assert bundle.provenance["training"]["learning_rate"] == settings.base_rate  # not None: defaults change
    minimum = TorchMinimiser(bundle, "cpu").minimise(small.observation(), steps=2, starts=1, seed=0)
    assert np.isfinite(minimum.energy)
    assert any("held" in line or "error" in line for line in lines)


def test_whoever_may_read_the_bundle_may_read_encoders_and_checkpoints(settings, tmp_path):
    train(replace(settings, encoder_steps=2), quiet)
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".safetensors", ".json")]
    assert {path.name for path in files} >= {"checkpoint.safetensors", "encoder.safetensors", "weights.safetensors"}
    assert len({path.stat().st_mode for path in files}) == 1


def test_training_lowers_the_loss_and_moves_the_step_size(settings):
    settings = replace(settings, steps=80, learning_rate=5e-3, start_choices=1, validate_every=50)
    trainer = Trainer(settings, training.Demonstrations.load(settings.data), report=quiet)
    before, alpha = trainer.gradient_step(0, 0.0), float(trainer.network.step_size.detach())
    trainer.run()
    assert trainer.gradient_step(0, 0.0) < 0.5 * before
    assert abs(float(trainer.network.step_size.detach()) / alpha - 1) > 0.02


def test_going_on_after_a_stop_gives_the_same_weights_as_an_unbroken_run(settings, tmp_path):
    unbroken = train(replace(settings, out=str(tmp_path / "unbroken")), quiet)
    lines = []
    stopped = Trainer(settings, training.Demonstrations.load(settings.data), report=lines.append)
    real = stopped.gradient_step

    def stop_at_four(step, rate):
        if step == 4:
            raise KeyboardInterrupt
        return real(step, rate)

    stopped.gradient_step = stop_at_four
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert any("interrupted at step 4" in line for line in lines)
    assert Bundle.load(settings.out).provenance["gradient_steps"] == 4
    assert train(settings, quiet).weights_sha256 == unbroken.weights_sha256


def test_a_killed_run_goes_on(settings, tmp_path):
    code = (
        "from ebt_policy_ros.training.settings import TrainSettings; from ebt_policy_ros.training.train import train\n"
        f"train(TrainSettings(**{ {**vars(settings), 'steps': 100_000, 'checkpoint_every_s': 0.0}!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "out" / training.CHECKPOINT
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lines = []
    Trainer(settings, training.Demonstrations.load(settings.data), report=lines.append).run()
    assert not any("from step 0" in line for line in lines)


def test_other_settings_do_not_go_on_from_a_checkpoint(settings):
    train(settings, quiet)
    with pytest.raises(CheckpointError, match=r"learning_rate: None -> 0\.5"):
        train(replace(settings, learning_rate=0.5, steps=8), quiet)


def test_a_checkpoint_that_is_no_checkpoint_is_refused(settings, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / training.CHECKPOINT).write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(settings, quiet)


def test_a_gradient_that_is_not_finite_stops_at_once(settings):
    trainer = Trainer(settings, training.Demonstrations.load(settings.data), report=quiet)
    trainer.network.head.weight.data.fill_(torch.inf)
    with pytest.raises(NonFiniteError, match="step 0"):
        trainer.run()


@pytest.mark.parametrize("method", ["ebt", "dp", "regression"])
def test_every_method_trains_on_the_features_of_one_encoder(settings, tmp_path, method):
    train(replace(settings, method="encoder", out=str(tmp_path / "encoder")), quiet)
    encoder = Encoder.load(tmp_path / "encoder")
    settings = replace(settings, method=method, encoder=str(tmp_path / "encoder"), steps=40, feature_copies=2)
    data = training.Demonstrations.load(settings.data)
    trainer = Trainer(settings, data, encoder, quiet)
    assert trainer.examples.features.shape[:2] == (2, len(data.positions))
    before = trainer.gradient_step(0, 0.0)
    trainer.run()
    assert trainer.gradient_step(0, 0.0) < before
    bundle = Bundle.load(settings.out)
    assert bundle.method == method
    assert bundle.provenance["encoder_cpu_s"] > 0
    for name, tensor in encoder.tensors.items():  # frozen: every method sees through the same eyes
        np.testing.assert_array_equal(bundle.tensors[f"network.{name}"], tensor.numpy())


def test_frozen_features_are_those_the_network_computes_itself(settings, tmp_path):
    train(replace(settings, method="encoder", out=str(tmp_path / "encoder")), quiet)
    encoder, data = Encoder.load(tmp_path / "encoder"), training.Demonstrations.load(settings.data)
    frozen = Trainer(replace(settings, encoder=str(tmp_path / "encoder")), data, encoder, quiet)
    rows = np.array([0, 5, 17])
    batch = frozen.examples.at(rows, None)
    images = tuple(frozen.network.prepare(torch.from_numpy(data.images[camera][rows])) for camera in data.cameras)
    torch.testing.assert_close(batch.features, frozen.network.features(images).detach())
    assert frozen.examples.at(rows, np.random.default_rng(0)).features.shape == batch.features.shape


def test_encoders_for_other_pictures_are_refused(settings, tmp_path):
    train(replace(settings, method="encoder", out=str(tmp_path / "encoder")), quiet)
    with pytest.raises(EncoderError, match="keypoints 4, expected 8"):
        train(replace(settings, encoder=str(tmp_path / "encoder"), keypoints=8), quiet)
    with pytest.raises(EncoderError, match="no trained encoder"):
        train(replace(settings, encoder=str(tmp_path / "nowhere")), quiet)


def test_keyframes_are_where_the_gripper_changes_its_mind(settings):
    data = training.Demonstrations.load(settings.data)
    actions, positions = data.actions.copy(), data.positions
    begin, end = int(data.ends[0]), int(data.ends[1])
    actions[begin:end, 2] = 0.04
    actions[begin + 4 : begin + 9, 2] = 0.0
    keyframes = next_keyframes(replace(data, actions=actions), ["rad", "rad", "m"])
    np.testing.assert_array_equal(keyframes[begin], positions[[begin + 4, begin + 9]])
    np.testing.assert_array_equal(keyframes[begin + 4], positions[[begin + 9, end - 1]])
    np.testing.assert_array_equal(keyframes[end - 1], positions[[end - 1, end - 1]])


def test_snapshots_are_spread_over_the_run(settings, tmp_path):
    train(replace(settings, steps=9, snapshots=3), quiet)
    names = sorted(path.name for path in (tmp_path / "out" / "snapshots").iterdir())
    assert names == ["step_000003", "step_000006", "step_000009"]


def test_bad_settings_are_named(settings):
    with pytest.raises(SettingsError, match="batch"):
        replace(settings, batch=0)
    with pytest.raises(SettingsError, match="precision"):
        replace(settings, precision="int8")
    with pytest.raises(SettingsError, match="task"):
        train(replace(settings, task="stack"), quiet)


def test_the_command_line_trains(settings, capsys):
    arguments = [
        "--data", settings.data, "--out", settings.out, "--steps", "2", "--batch", "4", "--horizon", "4",
        "--execute-steps", "2", "--model-width", "16", "--layers", "1", "--no-detach", "--threads", "1",
        "--encoder-steps", "2",
    ]  # fmt: skip
    assert training.main(arguments) == 0
    assert Bundle.load(settings.out).provenance["training"]["detach"] is False
    assert training.main(["--data", "nowhere", "--out", settings.out]) == 2
    assert "nowhere" in capsys.readouterr().err
