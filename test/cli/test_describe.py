"""``ebt-policy describe``: table, page, picture and numbers; warnings in plain words; bad input in one sentence."""

import json
import re

import cv2
import numpy as np
import pytest
from training import demonstrations

from ebt_policy_ros.cli import main as command_line


@pytest.fixture
def folder(tmp_path):
    return demonstrations.write(tmp_path / "data", episodes=3)


def test_a_table_and_the_numbers(folder, tmp_path, capsys):
    assert command_line.main(["describe", str(folder), "--json", str(tmp_path / "made" / "n.json")]) == 0
    printed = capsys.readouterr().out
    assert "3 episodes, 36 rows of 50 ms" in printed
    assert re.search(r"^shoulder +rad ", printed, re.MULTILINE)
    assert re.search(r"^camera front +20\.00 ", printed, re.MULTILINE)
    assert "nothing found" in printed
    numbers = json.loads((tmp_path / "made" / "n.json").read_text())
    assert (numbers["kind"], numbers["episodes"], numbers["warnings"]) == ("rosbag2", 3, [])
    assert [joint["name"] for joint in numbers["joints"]] == list(demonstrations.JOINTS)
    elbow = np.concatenate([demonstrations.episode(n).positions[:, 1] for n in range(3)])
    np.testing.assert_allclose(numbers["joints"][1]["position"], [elbow.min(), elbow.max()], atol=1e-5)
    assert numbers["joints"][0]["speed_most"] < 2  # from one episode to the next is no motion
    assert len(numbers["per_episode"]) == 3


def test_a_page_with_everything_in_it(folder, tmp_path):
    page = tmp_path / "report.html"
    assert command_line.main(["describe", str(folder), "--out", str(page), "--limit", "2"]) == 0
    text = page.read_text()
    assert "Camera front" in text
    assert "shoulder" in text
    assert not re.search(r'(src|href)="(?!data:)', text)  # self-contained
    assert text.count("data:image/png;base64,") == 3


def test_a_picture(folder, tmp_path):
    picture = tmp_path / "report.png"
    assert command_line.main(["describe", str(folder), "--out", str(picture), "--image-size", "8", "10"]) == 0
    pixels = cv2.imread(str(picture))
    assert pixels.shape[1] > 800
    assert pixels.std() > 5


def test_warnings_are_printed_and_on_the_page(folder, tmp_path, capsys):
    described = tmp_path / "mine.yaml"
    described.write_text("path: data\njoints: [shoulder, elbow, finger_slide]\naction: next_position\n")
    assert command_line.main(["describe", str(described)]) == 0
    capsys.readouterr()
    described.write_text("path: data\njoints: {shoulder: mm, elbow: mm, finger_slide: mm}\n")
    page = tmp_path / "report.html"
    assert command_line.main(["describe", str(described), "--out", str(page)]) == 0
    assert "WARNING: joint finger_slide never moves" in capsys.readouterr().out
    assert "joint finger_slide never moves" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe"], ["SOURCE"]),
        (["describe", "no/such/data"], ["no/such/data", "LeRobot"]),
        (["describe", ".", "--out", "x.pdf"], ["--out", ".html or .png", "x.pdf"]),
        (["describe", ".", "--period", "0"], ["--period", "0.001"]),
        (["describe", ".", "--limit", "0"], ["--limit", "at least 1"]),
    ],
)
def test_bad_input_is_one_sentence(capsys, arguments, words):
    try:
        status = command_line.main(arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1)
    for word in words:
        assert word in err
