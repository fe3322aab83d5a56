"""What `make` would run, without running it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments: str, folder: Path = ROOT) -> str:
    """What make prints; the make that runs this test, if any, has no influence."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def dry_run(*arguments: str) -> str:
    """The commands of a target when the environment is ready."""
    return make("-n", "-o", ".venv/.ready", *arguments)


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
    assert "tools/setup_environment.sh" in make("-n", "test", folder=tmp_path)


def test_help_names_every_command():
    shown = make("help")
    for target in ("demo", "test", "check", "clean"):
        assert f"make {target}" in shown
