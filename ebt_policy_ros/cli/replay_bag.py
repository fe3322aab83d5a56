"""``replay --record``: the bag that was replayed, and beside it what the replay planned, for RViz and PlotJuggler."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ebt_policy_ros.assemble import Assembly, load_robot
from ebt_policy_ros.bags.record import BagRecorder
from ebt_policy_ros.bags.timeline import Timeline
from ebt_policy_ros.cli.replay_run import Replayed
from ebt_policy_ros.cli.urdf_file import read_urdf_file
from ebt_policy_ros.core.errors import DatasetError, SettingsError
from ebt_policy_ros.messages import PlanMarkers, ToolKinematics, trajectory_message
from ebt_policy_ros.messages.status import cycle_level, cycle_values, diagnostic_array
from ebt_policy_ros.messages.urdf_tool import UrdfTool

PREFIX = "/replay"


def find_tool(robot_file: str, urdf_file: Path | None) -> ToolKinematics | None:
    """Whose path is drawn: the tool of a URDF, or the robot file's chain where it has one."""
    robot, settings = load_robot(robot_file)
    if urdf_file is None:
        return settings.chain
    try:
        return UrdfTool(read_urdf_file(urdf_file), robot, settings)
    except SettingsError as error:
        raise SettingsError(f"--urdf {urdf_file}: {error}") from error


class ReplayBag:
    """A bag directory, or with the suffix .mcap one file; DatasetError when it is there already."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._is_file = self._path.suffix == ".mcap"
        if self._path.exists():
            raise DatasetError(f"{self._path} exists already; recordings overwrite nothing, name a new one")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=self._path.parent, prefix=".replay-")) if self._is_file else None
        self._bag = BagRecorder(self._path if self._folder is None else self._folder / "bag")
        self._log_ns = 0

    def __enter__(self) -> ReplayBag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bag.close()
        if self._folder is not None:
            if error is None:
                next((self._folder / "bag").glob("*.mcap")).replace(self._path)
            shutil.rmtree(self._folder)

    def copy(self, timeline: Timeline) -> None:
        """Everything that ``timeline`` has."""
        unknown = {c.topic for c in timeline.connections if not self._bag.add_topic_like(c)}
        for connection, log_ns, data in timeline.raw():
            if connection.topic not in unknown:
                self._bag.write(connection.topic, log_ns, bytes(data))
        if unknown:
            names = ", ".join(sorted(unknown))
            sys.stderr.write(f"left out of {self._path}, since the bag does not say what their messages are: {names}\n")

    def add(self, rounds: Sequence[Replayed], assembly: Assembly, tool: ToolKinematics | None) -> None:
        """What the replay planned, under /replay, at the times at which the recording got to it."""
        from ebt_policy_ros.cli.nodes import provide_rclpy

        provide_rclpy()
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
        from geometry_msgs.msg import Point
        from std_msgs.msg import Float64
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
        from visualization_msgs.msg import Marker, MarkerArray

        paths = PlanMarkers(tool, MarkerArray, Marker, Point)
        classes = (DiagnosticArray, DiagnosticStatus, KeyValue)
        for one in rounds:
            cycle = one.cycle
            if cycle is None:
                continue
            self._log_ns = one.log_ns
            values = cycle_values(cycle, enabled=False, commanded=False, think_ms=one.think_ms, stamp_age_ms=None)
            text = cycle.state.value + (f": {cycle.reason}" if cycle.reason else "")
            status = ("replay: chunk", assembly.robot.name, cycle_level(cycle, DiagnosticStatus), text, values)
            self._write("status", diagnostic_array(classes, one.time_ns, [status]))
            for name, value in (("energy", cycle.energy), ("uncertainty", cycle.uncertainty)):
                if value is not None:
                    self._write(name, Float64(data=float(value)))
            markers = paths.make(cycle, one.time_ns)
            if markers is not None:
                self._write("plan", markers)
            if cycle.command is None:
                continue
            self._write("joint_trajectory", trajectory_message(cycle.command, JointTrajectory, JointTrajectoryPoint))

    def _write(self, name: str, message: Any) -> None:
        from rclpy.serialization import serialize_message

        kind = type(message)
        self._bag.add_topic(f"{PREFIX}/{name}", f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}")
        self._bag.write(f"{PREFIX}/{name}", self._log_ns, serialize_message(message))
