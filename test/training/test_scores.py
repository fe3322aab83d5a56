"""Score heads, calibration and measurement, on made-up rollouts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from policy import small

from ebt_policy_ros.core.errors import DatasetError, EbtPolicyError, SettingsError
from ebt_policy_ros.core.types import Minimum, Outcome
from ebt_policy_ros.core.uncertainty import Calibration, Uncertainty
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser
from ebt_policy_ros.training import calibrate as calibration
from ebt_policy_ros.training import fit_heads
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.fit_heads import Familiar
from ebt_policy_ros.training.rollout import Rollout
from ebt_policy_ros.training.statistics import auroc

from . import demonstrations


def minimum(energy, **terms):
    return Minimum(
        chunk=np.zeros((4, 3)),
        energy=energy,
        trace=np.array([energy + 1, energy]),
        outcome=Outcome.DESCENDED,
        steps=1,
        network_evaluations=1,
        candidate_energies=np.array([energy]),
        terms=terms,
    )


def familiar(count=600, seed=0):
    """Observations of a task without phases."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand((count, 1, 6), generator=generator) * 2 - 1
    positions = torch.rand((count, 2), generator=generator) * 2 - 1
    return Familiar(features, positions, torch.arange(count) % 4 == 0)


def test_what_is_far_from_the_data_is_unfamiliar():
    heads = fit_heads.fit(familiar())
    fresh = familiar(seed=1)
    near = heads(fresh.features, fresh.positions)[:, 0]
    far = heads(fresh.features * 3, fresh.positions * 3)[:, 0]
    assert 0.85 < float((near < 1).float().mean()) < 0.99
    assert auroc(near.tolist(), far.tolist()) > 0.9


def test_what_fits_no_group_is_unfamiliar_though_each_part_is_usual():
    """Two phases of a task, each with its own picture: the picture of one with the joints of the other."""
    known = familiar()
    phase = torch.sign(known.positions[:, :1])
    features = known.features * 0.1 + phase[:, None]
    heads = fit_heads.fit(known._replace(features=features, positions=known.positions * 0.1 + phase))
    swapped = heads(features, known.positions * 0.1 - phase)[:, 0]
    assert float(swapped.min()) > 1.5


def test_heads_enter_the_bundle_and_drop_its_calibration(tmp_path):
    data = Demonstrations.load(demonstrations.write(tmp_path / "data"))
    trained = small.network()
    bundle = replace(small.bundle_of(trained), calibration={"weights_sha256": "old"})
    known = fit_heads.from_demonstrations(fit_heads.ObservationEncoder(bundle), data, rows=40, seed=0)
    assert known.features.shape == (40, 1, trained.architecture.camera_features)
    assert known.for_unit.any()
    assert not known.for_unit.all()
    saved = fit_heads.with_heads(bundle, fit_heads.fit(known)).save(tmp_path / "model")
    loaded = Bundle.load(tmp_path / "model")
    assert loaded.calibration is None
    assert loaded.weights_sha256 == saved.weights_sha256 != bundle.weights_sha256
    terms = TorchMinimiser(loaded, "cpu").minimise(small.observation(), steps=1, starts=1, seed=0).terms
    assert set(terms) == {"unfamiliarity"}


def test_heads_are_not_fitted_on_another_robots_demonstrations(tmp_path):
    data = demonstrations.write(tmp_path / "data")  # their last joint is called finger_slide
    small.bundle_of(small.network()).save(tmp_path / "model")
    with pytest.raises(
        DatasetError, match="joints shoulder, elbow, finger, the data have shoulder, elbow, finger_slide;"
    ):
        fit_heads.fit_heads(tmp_path / "model", data, episodes=0, report=lambda line: None)


def test_only_successful_episodes_are_familiar():
    failed = Rollout(0, success=False, positions=[np.zeros(3)], images={"front": [np.zeros((16, 16, 3), np.uint8)]})
    with pytest.raises(EbtPolicyError, match="no episode"):
        fit_heads.from_rollouts(fit_heads.ObservationEncoder(small.bundle_of(small.network())), [failed])


@pytest.fixture
def model(tmp_path):
    small.bundle_of(small.network()).save(tmp_path / "model")
    return tmp_path / "model"


def rollouts(count):
    """Episode i has the highest score i; every tenth failed, with a score that must not count."""
    return [
        Rollout(seed=i, success=i % 10 != 9, times_s=[0.0, 0.4], minima=[minimum(-50.0), minimum(float(i))])
        for i in range(count)
    ]


def test_calibration_is_conformal_over_successful_episodes_maxima(model, monkeypatch):
    monkeypatch.setattr(calibration, "run_episodes", lambda _dir, seeds, **_options: rollouts(len(seeds)))
    result = calibration.calibrate(model, episodes=100, alpha=0.1, window_s=0.0)
    good = [i for i in range(100) if i % 10 != 9]
    centre = result["calibration"]["centre"]
    assert centre == pytest.approx((np.mean(good) - 50.0) / 2)
    assert result["calibration"]["threshold"] == pytest.approx(good[int(np.ceil(91 * 0.9)) - 1] - centre)
    assert result["calibration"]["n"] == result["successes"] == 90
    bundle = Bundle.load(model)
    assert bundle.calibration["weights_sha256"] == bundle.weights_sha256
    uncertainty = Uncertainty(Calibration.from_mapping(bundle.calibration), bundle.weights_sha256)
    assert uncertainty.score(minimum(1e3)) > uncertainty.threshold > uncertainty.score(minimum(5.0))


def test_too_few_episodes_are_refused_and_the_bundle_stays(model, monkeypatch):
    monkeypatch.setattr(calibration, "run_episodes", lambda _dir, seeds, **_options: rollouts(len(seeds)))
    with pytest.raises(SettingsError, match="needs 19 episodes"):
        calibration.calibrate(model, episodes=10, alpha=0.05)
    assert Bundle.load(model).calibration is None


def test_calibration_reports_a_policy_that_never_succeeds(model, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "run_episodes", lambda _dir, _seeds, **_options: [Rollout(0)])
    assert calibration.main(["--model", str(model)]) == 2
    assert "none of 100 episodes succeeded" in capsys.readouterr().err


def test_area_under_the_curve():
    assert auroc([0, 1, 2], [3, 4]) == 1.0
    assert auroc([3, 4], [0, 1]) == 0.0
    assert auroc([1, 1], [1]) == 0.5
    assert auroc([], [1.0]) is None
