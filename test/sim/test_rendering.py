"""Which OpenGL is chosen, and what is said where there is none."""

import sys

import pytest

from ebt_policy_ros.core.errors import UnsupportedError
from ebt_policy_ros.sim import rendering


@pytest.fixture
def before_mujoco(monkeypatch):
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("DISPLAY", raising=False)
    return monkeypatch


def test_what_the_user_chose_is_kept(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(rendering, "_loads", lambda *libraries: object())
    assert rendering.choose_backend() == "osmesa"


@pytest.mark.parametrize("chosen", ["egl", "osmesa"])
def test_a_choice_that_does_not_work_is_explained(before_mujoco, chosen):
    before_mujoco.setenv("MUJOCO_GL", chosen)
    before_mujoco.setattr(rendering, "_egl_starts", lambda: False)
    before_mujoco.setattr(rendering, "_loads", lambda *libraries: None)
    with pytest.raises(UnsupportedError, match=f"MUJOCO_GL={chosen}.*libegl-mesa0"):
        rendering.choose_backend()


def test_egl_first_then_osmesa(before_mujoco):
    before_mujoco.setattr(rendering, "_egl_starts", lambda: True)
    assert rendering.choose_backend() == "egl"
    before_mujoco.setenv("MUJOCO_GL", "")
    before_mujoco.setattr(rendering, "_egl_starts", lambda: False)
    before_mujoco.setattr(rendering, "_loads", lambda *libraries: object())
    assert rendering.choose_backend() == "osmesa"


def test_neither_names_the_packages_to_install(before_mujoco):
    before_mujoco.setattr(rendering, "_egl_starts", lambda: False)
    before_mujoco.setattr(rendering, "_loads", lambda *libraries: None)
    with pytest.raises(UnsupportedError, match=r"libegl-mesa0.*libosmesa6"):
        rendering.choose_backend()


def test_a_mujoco_that_came_too_early_is_explained(before_mujoco):
    before_mujoco.setitem(sys.modules, "mujoco", object())
    with pytest.raises(UnsupportedError, match="MUJOCO_GL=egl"):
        rendering.choose_backend()
