"""The import hook: real ROS 2 wins, what is missing is named, discovery follows ROS's variables."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ebt_policy_ros.core.errors import UnsupportedError

if importlib.util.find_spec("cyclonedds") is None:
    pytest.skip("the embedded middleware is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *paths: Path) -> str:
    """What a fresh interpreter prints; `paths` come first on its path."""
    begin = f"import sys; sys.path[:0] = {[str(path) for path in (*paths, ROOT)]!r}\n"
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


INSTALL = "import ebt_policy_ros.embedded as embedded; embedded.install(); embedded.install()\n"


def test_the_finder_comes_last_and_once() -> None:
    assert run(INSTALL + "print(type(sys.meta_path[-1]).__name__, len(sys.meta_path))").split()[0] == "EmbeddedFinder"
    count = "print(sum(type(finder).__name__ == 'EmbeddedFinder' for finder in sys.meta_path))"
    assert run(INSTALL + count).strip() == "1"


def test_real_packages_win(tmp_path: Path) -> None:
    for package in ("rclpy", "sensor_msgs"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("REAL = True\n")
    (tmp_path / "sensor_msgs" / "msg.py").write_text("Image = 'the real one'\n")
    code = INSTALL + "import rclpy, sensor_msgs.msg\nprint(rclpy.REAL, sensor_msgs.msg.Image, embedded.is_active())\n"
    code += "try:\n    import rclpy.node\nexcept ModuleNotFoundError as error:\n    print(error)\n"
    assert run(code, tmp_path).splitlines() == ["True the real one False", "No module named 'rclpy.node'"]


def test_importing_costs_no_torch_and_starts_no_middleware_of_its_own() -> None:
    code = INSTALL + "import rclpy, std_msgs.msg\nprint('torch' in sys.modules, rclpy.ok())"
    assert run(code).split() == ["False", "False"]


def test_what_is_not_supported_is_named() -> None:
    from . import provide  # noqa: F401

    import rclpy  # isort: skip
    import rclpy.qos
    import sensor_msgs.msg

    if "embedded" not in str(rclpy.__file__):
        pytest.skip("real rclpy")
    for module, name in ((rclpy, "Nodes"), (rclpy.qos, "BEST_AVAILABLE"), (sensor_msgs.msg, "Imagery")):
        with pytest.raises(UnsupportedError, match=name):
            getattr(module, name)
    with pytest.raises(UnsupportedError, match="BEST_AVAILABLE"):
        _ = rclpy.qos.ReliabilityPolicy.BEST_AVAILABLE
    assert not hasattr(rclpy.qos.ReliabilityPolicy, "BEST_AVAILABLE")
    assert not hasattr(rclpy.qos.ReliabilityPolicy, "NONSENSE")
    with pytest.raises(UnsupportedError, match="incompatible_type"):
        rclpy.event_handler.PublisherEventCallbacks(incompatible_type=print)
    with pytest.raises(UnsupportedError, match=r"Client\.configure_introspection"):
        _ = rclpy.client.Client.__new__(rclpy.client.Client).configure_introspection
    with pytest.raises(ImportError, match=r"rclpy\.waitable"):
        import rclpy.waitable
    with pytest.raises(ImportError, match=r"sensor_msgs\.action"):
        import sensor_msgs.action
    with pytest.raises(AttributeError):
        _ = rclpy.__nonsense__
    import rclpy.executors  # submodules are attributes once imported, and importable from the package

    assert rclpy.executors.SingleThreadedExecutor


@pytest.mark.parametrize(
    ("environment", "expected", "absent"),
    [
        ({}, ["<ParticipantIndex>auto", '"localhost"'], ["AllowMulticast", "Interface"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, ["AllowMulticast>false", '"localhost"'], ["<Tag>"]),
        ({"ROS_LOCALHOST_ONLY": "1", "ROS_STATIC_PEERS": "arm"}, ["AllowMulticast>false", '"localhost"'], ["arm"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, ["AllowMulticast>false", "<Tag>ros_discovery_off_"], ["<Peers>"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "ROS_STATIC_PEERS": "arm"}, ["<Tag>"], ["arm"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"}, [], ["Multicast", "Participant", "<Peers>"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "nonsense"}, ["AllowMulticast>false", '"localhost"'], ["<Tag>"]),
        ({"ROS_STATIC_PEERS": "10.0.0.1;arm"}, ['"10.0.0.1"', '"arm"', '"localhost"'], ["AllowMulticast"]),
        ({"CYCLONEDDS_URI": "file:///mine.xml"}, [",file:///mine.xml"], []),
    ],
)
def test_discovery_follows_the_variables_of_ros(environment: Any, expected: list[str], absent: list[str]) -> None:
    from ebt_policy_ros.embedded.domain import configuration

    text = configuration(environment, multicast=True)
    for part in expected:
        assert part in text
    for part in absent:
        assert part not in text


def test_discovery_without_a_multicast_interface_stays_on_this_machine() -> None:
    from ebt_policy_ros.embedded.domain import configuration

    assert '"localhost"' in configuration({}, multicast=False)
    assert '"localhost"' in configuration({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, multicast=False)
    assert "<Peers>" not in configuration({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, multicast=False)


@pytest.mark.parametrize("text", ["x", "-1", "233"])
def test_a_wrong_domain_is_refused(text: str) -> None:
    from ebt_policy_ros.embedded.domain import domain_id

    with pytest.raises(RuntimeError, match="ROS_DOMAIN_ID"):
        domain_id({"ROS_DOMAIN_ID": text})
    assert domain_id({"ROS_DOMAIN_ID": "42"}) == 42
    assert domain_id({}) == 0


def test_endpoints_carry_the_type_hash(domain: int) -> None:
    """Without it a real ROS 2 warns about every topic of ours."""
    from cyclonedds.core import Policy

    from . import provide  # noqa: F401

    import rclpy  # isort: skip
    from std_msgs.msg import String

    if "embedded" not in str(rclpy.__file__):
        pytest.skip("real rclpy")
    rclpy.init(args=[])
    node = rclpy.create_node("hashed")
    node.create_publisher(String, "words", 1)
    writers, _ = node._rcl_participant.endpoints()
    (words,) = [writer for writer in writers if writer.topic_name == "rt/words"]
    assert words.type_name == "std_msgs::msg::dds_::String_"
    assert words.qos[Policy.Userdata].data.startswith(b"typehash=RIHS01_df668c740482")
    node.destroy_node()
    rclpy.shutdown()


# Private names that rclpy's own Node and LifecycleNode use in Humble and in Jazzy: nobody's subclass can want them.
RCLPY_NAMES = {
    "_allow_undeclared_parameters",
    "_callbacks",
    "_clients",
    "_clock",
    "_context",
    "_default_callback_group",
    "_descriptors",
    "_guards",
    "_logger",
    "_managed_entities",
    "_on_set_parameters_callbacks",
    "_parameter_event_publisher",
    "_parameter_overrides",
    "_parameter_service",
    "_parameters",
    "_post_set_parameters_callbacks",
    "_pre_set_parameters_callbacks",
    "_publishers",
    "_rate_group",
    "_services",
    "_state_machine",
    "_subscriptions",
    "_time_source",
    "_timers",
    "_wake_executor",
}


def test_a_subclass_can_use_any_name_that_is_free_in_rclpy(domain: int) -> None:
    from . import provide  # noqa: F401

    import rclpy  # isort: skip
    from rclpy.lifecycle import LifecycleNode

    if "embedded" not in str(rclpy.__file__):
        pytest.skip("real rclpy")
    rclpy.init(args=[])
    node = LifecycleNode("crowded")
    names = {name for name in (*vars(node), *dir(type(node))) if name.startswith("_") and not name.startswith("__")}
    node.destroy_node()
    rclpy.shutdown()
    assert {name for name in names - RCLPY_NAMES if not name.startswith("_rcl_")} == set()
