"""What `make` would run, without running it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def dry_run(*arguments: str) -> str:
    """The commands of a target when the environment is ready."""
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/.ready", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_demo_hands_its_variables_on():
    commands = dry_run("demo", "EPISODES=7", "SEED=100", "JSON=out.json")
    assert "ebt-policy demo --episodes 7 --seed 100 --headless --json out.json" in commands


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_a_ready_environment_is_not_installed_again(target):
    commands = dry_run(target)
    assert ".venv/bin/" in commands
    assert "setup_environment" not in commands
    assert "pip" not in commands


def test_a_changed_requirement_is_installed(tmp_path):
    for name in ("Makefile", "setup.py", "setup.cfg", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    result = subprocess.run(["make", "-n", "test"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "tools/setup_environment.sh" in result.stdout


def test_help_names_every_command():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "check", "clean"):
        assert f"make {target}" in shown
