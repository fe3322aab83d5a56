"""The real simulator, made once a module: making one takes seconds, resetting it milliseconds."""

import importlib.util

import pytest

from ebt_policy_ros.sim.arm import SimulatedArm


@pytest.fixture(scope="session")
def needs_robosuite():
    if importlib.util.find_spec("robosuite") is None:
        pytest.skip("robosuite is not installed: pip install 'ebt-policy-ros[sim]'")


@pytest.fixture(scope="session")
def arm(needs_robosuite):
    arm = SimulatedArm("lift")
    yield arm
    arm.close()
