"""The command line: bad input is one sentence on stderr and exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from ebt_policy_ros.cli import main as command_line
from ebt_policy_ros.core.errors import BundleError

ROOT = Path(__file__).resolve().parents[2]


def failure(capsys, *arguments: str) -> str:
    """The sentence with which ``arguments`` are refused."""
    try:
        status = command_line.main(arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    return err


def test_every_command_shows_its_options(capsys):
    for command in command_line.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            command_line.main([command, "--help"])
        assert stop.value.code == 0
        assert f"usage: ebt-policy {command}" in capsys.readouterr().out


def test_no_command_and_an_unknown_one(capsys):
    assert "COMMAND" in failure(capsys)
    assert "'lunch'" in failure(capsys, "lunch")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--episodes", "0"], ["--episodes", "at least 1", "'0'"]),
        (["demo", "--seed", "x"], ["--seed", "'x'"]),
        (["demo", "--ep", "3"], ["--ep"]),
        (["train", "--out", "/nonexistent/x"], ["--task"]),
        (["train", "--task", "lift"], ["--out"]),
        (["train", "--config", "/nonexistent.yaml", "--out", "x"], ["/nonexistent.yaml"]),
        (["eval", "--model", "no/such/bundle", "--json", "x.json"], ["no/such/bundle"]),
        (["eval", "--episodes", "-3"], ["--episodes", "'-3'"]),
        (["eval", "--policy", "act"], ["'act'", "ebt"]),
        (["calibrate", "--model", "no/such/bundle"], ["no/such/bundle"]),
        (["launch", "no.launch.xml"], ["no.launch.xml"]),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, words):
    sentence = failure(capsys, *arguments)
    for word in words:
        assert word in sentence


def test_unknown_training_setting_is_named(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("task: lift\nlerning_rate: 1\ndata: " + str(tmp_path))
    (tmp_path / "dataset.json").write_text("{}")
    sentence = failure(capsys, "train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"))
    assert "lerning_rate" in sentence
    assert "learning_rate" in sentence


def test_ctrl_c_is_130(capsys, monkeypatch):
    from ebt_policy_ros.cli import train

    def interrupt(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", interrupt)
    assert command_line.main(["train", "--task", "lift", "--out", "x"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_errors_of_the_package_are_told_in_one_line(capsys, monkeypatch):
    from ebt_policy_ros.cli import train

    def refuse(_options):
        raise BundleError("weights.safetensors:\n  the hash differs")

    monkeypatch.setattr(train, "run", refuse)
    assert "weights.safetensors: the hash differs" in failure(capsys, "train", "--task", "lift", "--out", "x")


def test_version_needs_no_heavy_import():
    code = (
        "import sys\nfrom ebt_policy_ros.cli.main import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'cv2', 'rclpy', 'mujoco') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
