"""ament's linter of style and plain mistakes, with the configuration of ``setup.cfg``."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.flake8
@pytest.mark.linter
def test_flake8():
    linter = pytest.importorskip("ament_flake8.main", reason="ament_flake8 is a part of ROS 2, which is not here")
    paths = [str(ROOT / name) for name in ("ebt_policy_ros", "test", "benchmarks", "tools", "setup.py")]
    status, errors = linter.main_with_errors(argv=["--config", str(ROOT / "setup.cfg"), *paths])
    assert status == 0, "\n".join(errors)
