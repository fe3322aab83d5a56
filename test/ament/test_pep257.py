"""ament's linter of docstrings."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEFT_OUT = (
    # What the name says already needs no docstring: the choice of ament's own convention.
    *("D100", "D101", "D102", "D103", "D104", "D105", "D106", "D107"),
    # Docstrings say what one gets, not what is done, and begin with names where those come first; a word before a
    # shape, such as "noise (B, H, D)", is no signature.
    *("D401", "D402", "D403"),
    # A first sentence may be longer than a line, and then the closing quotes stand behind the last.
    *("D205", "D209", "D400"),
)


@pytest.mark.linter
@pytest.mark.pep257
def test_pep257(capfd):
    linter = pytest.importorskip("ament_pep257.main", reason="ament_pep257 is a part of ROS 2, which is not here")
    paths = [str(ROOT / name) for name in ("ebt_policy_ros", "test", "benchmarks", "tools")]
    status = linter.main(argv=["--convention", "pep257", "--add-ignore", *LEFT_OUT, "--", *paths])
    assert status == 0, capfd.readouterr().err
