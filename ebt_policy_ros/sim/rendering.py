"""Cameras of the simulated arm without a display: which OpenGL to use, and a renderer that is quick on a CPU.

mujoco binds its OpenGL flavour when it is first imported, so ``choose_backend`` has to run before that.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import SettingsError, UnsupportedError
from ebt_policy_ros.core.types import Pixels

INSTALL_ADVICE = (
    "install one of them, on Debian and Ubuntu: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri (EGL) "
    "or libosmesa6 (OSMesa)"
)
OSMESA = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")


def choose_backend() -> str:
    """The OpenGL flavour mujoco will use (``egl``, ``osmesa`` or what MUJOCO_GL says); sets MUJOCO_GL.

    EGL comes first even beside a display: it needs no window system and works over ssh. Raises UnsupportedError
    when neither library can make a context, with the packages that bring them.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if chosen == "osmesa" and not _loads(*OSMESA):
        raise UnsupportedError(f"MUJOCO_GL=osmesa, but {OSMESA[0]} is not installed; {INSTALL_ADVICE}")
    # Once mujoco is there, EGL may be in use, and trying it would end what it draws with.
    if chosen == "egl" and "mujoco" not in sys.modules and not _egl_starts():
        raise UnsupportedError(f"MUJOCO_GL=egl, but EGL does not start here; {INSTALL_ADVICE}")
    if chosen:
        return chosen
    if "mujoco" in sys.modules:
        if os.environ.get("DISPLAY"):
            return "glfw"
        raise UnsupportedError(
            "mujoco was imported before the simulated arm and without MUJOCO_GL, so it would look for a display and "
            "there is none; set MUJOCO_GL=egl or import ebt_policy_ros.sim.arm first"
        )
    if _egl_starts():
        chosen = "egl"
    elif _loads(*OSMESA):
        chosen = "osmesa"
    elif os.environ.get("DISPLAY"):
        chosen = "glfw"
    else:
        raise UnsupportedError(f"no OpenGL to draw camera images with: neither EGL nor OSMesa works; {INSTALL_ADVICE}")
    os.environ["MUJOCO_GL"] = chosen
    return chosen


def _loads(*libraries: str) -> ctypes.CDLL | None:
    for library in libraries:
        try:
            return ctypes.CDLL(library)
        except OSError:
            continue
    return None


def _egl_starts() -> bool:
    """Whether libEGL loads and one of its devices initialises (the library alone, without a driver, does not)."""
    egl = _loads("libEGL.so.1", "libEGL.so")
    if egl is None:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    open_display = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not open_display:
        return False
    devices = (ctypes.c_void_p * 16)()
    count = ctypes.c_int(0)
    kind_query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    kind_open = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
    if not kind_query(query)(len(devices), ctypes.addressof(devices), ctypes.addressof(count)):
        return False
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    platform_device_ext = 0x313F
    displays = (kind_open(open_display)(platform_device_ext, devices[i], None) for i in range(count.value))
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


@dataclass(frozen=True, slots=True)
class View:
    """Where a camera stands: a camera of the robosuite model by name, or a free one that looks at a point."""

    model_camera: str | None = None
    look_at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """[m] in world coordinates; the table's top is at z = 0.8."""
    distance: float = 1.0
    """[m] from the point looked at."""
    azimuth_deg: float = 180.0
    """180 looks along -x, at the robot's front."""
    elevation_deg: float = -35.0


@dataclass(frozen=True, slots=True)
class Prop:
    """Something that is drawn and nothing else: it neither touches nor is touched."""

    shape: str
    """``box``, ``cylinder`` or ``ellipsoid``."""
    position: tuple[float, float, float]
    """[m] of its centre, in world coordinates."""
    half_size: tuple[float, float, float]
    """[m]; of a cylinder radius, half height (the third counts for nothing)."""
    rgba: tuple[float, float, float, float]
    yaw: float = 0.0
    """[rad]"""

    def add_to(self, scene: Any) -> None:
        """Adds it to an MjvScene, as the last of its geoms."""
        import mujoco

        shape = getattr(mujoco.mjtGeom, f"mjGEOM_{self.shape.upper()}")
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        turned = np.array([c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0])
        geom = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(
            geom, shape, np.array(self.half_size), np.array(self.position), turned, np.array(self.rgba, np.float32)
        )
        scene.ngeom += 1


def _close(reference: weakref.ref[CameraRenderer]) -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()


class CameraRenderer:
    """Draws the views of one model; must be used by one thread only (an OpenGL context belongs to its thread).

    Shadows, reflections and the sky are off, since a software OpenGL spends most of a
    96x96 frame on them and on the robot's fine meshes (which ``SimulatedArm`` swaps for their convex hulls).
    """

    def __init__(self, model: Any, views: Mapping[str, View]) -> None:
        self._model = model
        self._views = dict(views)
        self._renderers: dict[tuple[int, int], Any] = {}
        model.vis.quality.offsamples = 4

    def render(self, state: Any, camera: str, height: int, width: int, props: Sequence[Prop] = ()) -> Pixels:
        """(height, width, 3) uint8 RGB of ``camera`` at ``state`` (an MjData), upright, with ``props`` in the scene."""
        if camera not in self._views:
            raise SettingsError(f"camera '{camera}': expected one of {', '.join(sorted(self._views))}")
        renderer = self._renderer(height, width)
        renderer.update_scene(state, camera=self._mujoco_camera(self._views[camera]), scene_option=self._drawn_groups())
        for prop in props:
            prop.add_to(renderer.scene)
        pixels: Pixels = renderer.render()
        return pixels.copy()

    def close(self) -> None:
        """Frees the OpenGL contexts; rendering again makes new ones."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _renderer(self, height: int, width: int) -> Any:
        import mujoco

        if (height, width) not in self._renderers:
            visual = self._model.vis.global_
            visual.offheight, visual.offwidth = max(visual.offheight, height), max(visual.offwidth, width)
            try:
                renderer = mujoco.Renderer(self._model, height, width)
            except Exception as error:  # PyOpenGL, glfw and mujoco raise unrelated types here
                backend = os.environ.get("MUJOCO_GL", "glfw")
                raise UnsupportedError(
                    f"OpenGL '{backend}' cannot draw camera images ({type(error).__name__}: {error}); {INSTALL_ADVICE}"
                ) from error
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                renderer.scene.flags[flag] = 0
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
            # mujoco terminates EGL at exit and complains about contexts that outlive it: exit handlers run last in,
            # first out, so one registered now runs before mujoco's.
            atexit.register(_close, weakref.ref(self))
            self._renderers[height, width] = renderer
        return self._renderers[height, width]

    @staticmethod
    def _mujoco_camera(view: View) -> Any:
        import mujoco

        if view.model_camera is not None:
            return view.model_camera
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat[:] = view.look_at
        camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth_deg, view.elevation_deg
        return camera

    @staticmethod
    def _drawn_groups() -> Any:
        import mujoco

        option = mujoco.MjvOption()
        option.geomgroup[:] = 0
        option.geomgroup[1] = 1
        option.sitegroup[:] = 0
        return option
