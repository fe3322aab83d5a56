"""Settings name what is wrong with them."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import (
    JointSettings,
    MinimiseSettings,
    ObserveSettings,
    PipelineSettings,
    RetrySettings,
    RobotSettings,
)

from .fakes import ARM, ROBOT


def test_every_default_is_allowed_and_frozen() -> None:
    settings = PipelineSettings()
    assert PipelineSettings.from_mapping({}) == settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.period_s = 1.0  # type: ignore[misc]
    assert settings.with_changes(horizon=32).horizon == 32
    assert settings.period_ns == 50_000_000


def test_nested_mappings_become_nested_settings() -> None:
    settings = PipelineSettings.from_mapping({"period_s": 1, "observe": {"cameras": ["front", "wrist"]}})
    assert settings.observe == ObserveSettings(cameras=("front", "wrist"))
    assert isinstance(settings.period_s, float)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"retry": {"patience": 3}}, ["PipelineSettings.retry", "'patience'", "did you mean 'patience_s'"]),
        ({"wrong": 1}, ["'wrong'", "known are", "period_s"]),
        ({"minimise": {"steps": 0}}, ["steps", "at least 1", "got 0"]),
        ({"minimise": {"steps": 2.5}}, ["minimise.steps", "whole number", "2.5"]),
        ({"minimise": {"steps": True}}, ["minimise.steps", "whole number", "True"]),
        ({"period_s": 0}, ["period_s", "more than 0", "got 0"]),
        ({"period_s": float("nan")}, ["period_s", "finite"]),
        ({"period_s": "fast"}, ["period_s", "a number", "fast"]),
        ({"retry": {"release": "sometimes"}}, ["release", "never, when_empty, always", "sometimes"]),
        ({"retry": {"enabled": "no"}}, ["retry.enabled", "true or false"]),
        ({"retry": [1]}, ["PipelineSettings.retry", "mapping"]),
        ({"observe": {"cameras": "front"}}, ["cameras", "a list", "front"]),
        ({"observe": {"cameras": ["front", 3]}}, ["cameras[1]", "a text", "3"]),
        ({"schedule": {"execute_steps": 17}}, ["execute_steps", "horizon of 16", "17"]),
        ({"retry": {"min_retreat_s": 7.0}}, ["min_retreat_s", "retreat_s = 6.0", "7.0"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(mapping: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        PipelineSettings.from_mapping(mapping)
    for word in words:
        assert word in str(caught.value)


def test_direct_construction_is_checked_too() -> None:
    with pytest.raises(SettingsError, match="patience_s"):
        RetrySettings(patience_s=-1.0)
    with pytest.raises(SettingsError, match="seed"):
        MinimiseSettings(seed=2**23)
    with pytest.raises(SettingsError, match="expected lower < upper"):
        JointSettings("a", "revolute", 1.0, 1.0, 1.0, 1.0)


def test_a_robot_is_read_in_order() -> None:
    assert ROBOT.joint_names == ("shoulder", "elbow", "finger")
    assert ROBOT.gripper_index == 2
    np.testing.assert_array_equal(ROBOT.per_kind(1.0, 2.0), [1.0, 1.0, 2.0])
    np.testing.assert_array_equal(ROBOT.per_joint("upper"), [2.0, 3.0, 0.04])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arm: arm["joints"][0].pop("velocity"), ["joints[0]", "'velocity' is missing"]),
        (lambda arm: arm["joints"][0].update(kind="revolving"), ["joints[0]", "kind", "revolving"]),
        (lambda arm: arm["joints"][1].update(name="shoulder"), ["small_arm", "different names"]),
        (lambda arm: arm["gripper"].update(joint="thumb"), ["gripper", "'thumb'"]),
        (lambda arm: arm["joints"].clear(), ["small_arm", "joints"]),
        (lambda arm: arm["joints"][2].update(acceleration=-1), ["acceleration", "-1"]),
    ],
)
def test_a_wrong_robot_is_named(change: object, words: list[str]) -> None:
    arm = copy.deepcopy(ARM)
    change(arm)  # type: ignore[operator]
    with pytest.raises(SettingsError) as caught:
        RobotSettings.from_mapping(arm)
    for word in words:
        assert word in str(caught.value)
