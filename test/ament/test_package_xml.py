"""What the package imports and starts is what package.xml asks rosdep for."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = "ebt_policy_ros"
KEYS = {
    "cv2": "python3-opencv",
    "hypothesis": "python3-hypothesis",
    "numpy": "python3-numpy",
    "pytest": "python3-pytest",
    "yaml": "python3-yaml",
}
"""Module -> rosdep key, where they differ."""
FROM_PIP = {
    *("apsw", "backports", "compression", "lz4", "rosbags"),  # rosbags brings the others
    *("cyclonedds", "diffusers", "matplotlib", "mujoco", "onnx", "onnxruntime", "onnxscript", "safetensors", "torch"),
}
"""Not known to rosdep for both Ubuntus, or an extra's (setup.py): README, "On a robot"."""
LOOKED_UP = {
    # Released for Humble and for Jazzy, or in rosdep's python.yaml for Ubuntu 22.04 and 24.04.
    *(
        "action_msgs",
        "ament_flake8",
        "ament_index_python",
        "ament_pep257",
        "ament_xmllint",
        "builtin_interfaces",
        "control_msgs",
    ),
    *("cv_bridge", "diagnostic_msgs", "geometry_msgs", "launch_xml", "lifecycle_msgs", "pinocchio", "rcl_interfaces"),
    *(
        "rclpy",
        "ros2bag",
        "ros2launch",
        "rosbag2_storage_default_plugins",
        "rosbag2_storage_mcap",
        "rosgraph_msgs",
        "rviz2",
    ),
    *("sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "trajectory_msgs", "visualization_msgs"),
    *KEYS.values(),
}


def depends(*tags):
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    return {element.text for tag in tags for element in manifest.findall(tag)}


def at_run_time():
    return depends("depend", "exec_depend")


def imported(*folders):
    """Module -> a file that imports it, be it in a function."""
    found = {}
    for folder in folders:
        path = ROOT / folder
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                else:
                    continue
                found |= {name.split(".")[0]: str(file.relative_to(ROOT)) for name in names}
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names and name != OWN}


def missing(modules, known):
    return {name: file for name, file in modules.items() if KEYS.get(name, name) not in known}


def test_what_the_nodes_import_is_asked_for():
    """All of it from rosdep: the nodes themselves know neither torch nor the middleware subset."""
    modules = imported(
        "ebt_policy_ros/nodes", "ebt_policy_ros/messages", "ebt_policy_ros/core", "ebt_policy_ros/resources.py"
    )
    assert {"rclpy", "sensor_msgs", "numpy", "cv2"} <= set(modules)
    assert missing(modules, at_run_time()) == {}


def test_what_the_rest_imports_is_asked_for_or_comes_from_pip():
    """Without simulator and training, which are extras, and the subset of rclpy, which no machine with ROS 2 uses."""
    modules = imported(*(f"ebt_policy_ros/{name}" for name in ("bags", "cli", "policy", "runtimes", "assemble.py")))
    outside = {name: file for name, file in modules.items() if name not in FROM_PIP}
    assert missing(outside, at_run_time()) == {}
    assert not {KEYS.get(name, name) for name in FROM_PIP} & at_run_time()


def test_what_tests_import_is_asked_for():
    own = {path.name for path in (ROOT / "test").iterdir() if path.is_dir()} | {"benchmarks"}
    folders = [f"test/{name}" for name in ("ament", "bags", "core", "embedded", "messages", "nodes")]
    modules = {name: file for name, file in imported(*folders).items() if name not in own | FROM_PIP}
    assert {"pytest", "hypothesis", "rclpy"} <= set(modules)
    assert missing(modules, at_run_time() | depends("test_depend")) == {}


def test_what_launch_files_start_is_asked_for():
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "launch").glob("*.xml"))]
    packages = {name for text in texts for name in re.findall(r'\bpkg="([^"$]+)"', text)} - {OWN}
    verbs = {f"ros2{verb}" for text in texts for verb in re.findall(r'cmd="ros2 (\w+)', text)}
    assert "ros2bag" in verbs
    assert packages | verbs <= at_run_time()


def test_every_key_has_been_looked_up():
    """A key that rosdep does not know stops ``rosdep install`` on everybody's robot."""
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    asked = {element.text for element in manifest if element.tag.endswith("depend")}
    assert asked <= LOOKED_UP


@pytest.mark.parametrize("name", ["ament_flake8", "ament_pep257", "ament_xmllint"])
def test_linters_that_are_tests_are_asked_for(name):
    assert name in depends("test_depend")
    assert (ROOT / "test" / "ament" / f"test_{name.removeprefix('ament_')}.py").is_file()
