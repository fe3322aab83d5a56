"""The import rules of the design, and that core needs nothing but numpy."""

import configparser
import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

import ebt_policy_ros

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN_IN_CORE = (
    "torch",
    "rclpy",
    "cv2",
    "mujoco",
    "robosuite",
    "onnxruntime",
    "rosbags",
    "cyclonedds",
    "yaml",
    "pinocchio",
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_core_imports_nothing_but_numpy():
    modules = [f"ebt_policy_ros.core.{path.stem}" for path in sorted((ROOT / "ebt_policy_ros/core").glob("*.py"))]
    assert len(modules) > 8
    code = f"""
import importlib, sys
for name in {[name.removesuffix(".__init__") for name in modules]!r}:
    importlib.import_module(name)
print([name for name in {FORBIDDEN_IN_CORE!r} if name in sys.modules])
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["nodes.policy_node", "nodes.sim_node"])
def test_nodes_do_not_load_torch_or_the_simulator_at_import(module):
    code = f"""
import sys
import ebt_policy_ros.embedded
ebt_policy_ros.embedded.install()
import ebt_policy_ros.{module}
print([name for name in ("torch", "mujoco", "robosuite", "pinocchio") if name in sys.modules])
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_import_contracts_are_kept():
    pytest.importorskip("importlinter")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", result.stdout), result.stdout


def test_a_forbidden_import_breaks_a_contract(tmp_path):
    """The contracts can fail: a copy of the package in which core imports torch does not pass."""
    pytest.importorskip("importlinter")
    import shutil

    shutil.copytree(ROOT / "ebt_policy_ros", tmp_path / "ebt_policy_ros", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "ebt_policy_ros/core/stray.py").write_text("import torch\n")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; "
            "lint_imports_command(['--no-cache'])",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "core knows the standard library and numpy only BROKEN" in result.stdout


def test_versions_agree():
    setup = (ROOT / "setup.py").read_text()
    manifest = xml.etree.ElementTree.parse(ROOT / "package.xml").getroot()
    assert f'version="{ebt_policy_ros.__version__}"' in setup
    assert manifest.findtext("version") == ebt_policy_ros.__version__


def test_manifest_is_one_that_colcon_accepts():
    manifest = xml.etree.ElementTree.parse(ROOT / "package.xml").getroot()
    assert manifest.get("format") == "3"
    maintainer = manifest.find("maintainer")
    assert maintainer is not None
    # catkin_pkg's rule; an address that breaks it makes colcon ignore package.xml without a word.
    assert re.fullmatch(
        r"[-a-zA-Z0-9_%+]+(\.[-a-zA-Z0-9_%+]+)*@[-a-zA-Z0-9%]+(\.[-a-zA-Z0-9%]+)*\.[a-zA-Z]{2,}",
        maintainer.get("email", ""),
    )
    assert manifest.findtext("export/build_type") == "ament_python"


def test_packaging_serves_colcon_and_pip():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["develop"]["script_dir"] == setup["install"]["install_scripts"] == "$base/lib/ebt_policy_ros"
    assert setup["build_scripts"]["executable"] == "/usr/bin/env python3"
    assert "[project]" not in (ROOT / "pyproject.toml").read_text().splitlines()
    assert (ROOT / "resource/ebt_policy_ros").exists()


@pytest.mark.parametrize("entry", ["cli.main:main", "cli.nodes:policy_node", "cli.nodes:sim_node"])
def test_console_scripts_point_at_something(entry):
    module, function = entry.split(":")
    assert f"ebt_policy_ros.{entry}" in (ROOT / "setup.py").read_text()
    assert importlib.util.find_spec(f"ebt_policy_ros.{module}") is not None
    assert f"def {function}(" in (ROOT / "ebt_policy_ros" / (module.replace(".", "/") + ".py")).read_text()
