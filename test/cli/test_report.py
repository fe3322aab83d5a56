"""The demo's record, its JSON and its HTML report."""

import html.parser
import json
import re

import cv2
import numpy as np
import pytest

from ebt_policy_ros.cli.demo_record import CycleRecord, DemoRecord, EpisodeRecord, FrameRecord
from ebt_policy_ros.cli.report import film, report_html, text_table, write_report
from ebt_policy_ros.cli.report_charts import histogram, nice_ticks
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.cli.trajectory_rules import Violation
from ebt_policy_ros.sim.tasks import TASKS


def jpeg(shade: int) -> bytes:
    return cv2.imencode(".jpg", np.full((96, 96, 3), shade, np.uint8))[1].tobytes()


def cycle(time_s: float, state: str = "running", uncertainty: float | None = 0.2, reason: str = "") -> CycleRecord:
    return CycleRecord(time_s, state, -1.0 + 0.1 * time_s, uncertainty, 0, 2, 2, 80.0 + time_s, reason)


@pytest.fixture
def record() -> DemoRecord:
    calm = EpisodeRecord(0, 100, "on the peg", success=True, duration_s=2.0, num_trajectories=5)
    calm.cycles = [cycle(0.4 * k) for k in range(5)]
    calm.frames = [FrameRecord(0.2 * k, camera, jpeg(10 * k)) for k in range(10) for camera in ("front", "wrist")]
    moved = EpisodeRecord(1, 101, "on the peg", gave_up=True, perturbed_at_s=0.7, duration_s=3.0, num_trajectories=7)
    states = ["running", "running", "holding", "retreating", "running", "thinking more", "given up"]
    moved.cycles = [cycle(0.4 * k, state, 0.95, "a <reason> & more") for k, state in enumerate(states)]
    moved.violations = [Violation("position jump", 1, "elbow at 1.0000")]
    return DemoRecord("square", 100, "on the peg", threshold=0.9, episodes=[calm, moved])


class Addresses(html.parser.HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_json_has_what_scripts_rely_on(record, tmp_path):
    write_json(tmp_path / "deep" / "out.json", record.as_json())
    text = (tmp_path / "deep" / "out.json").read_text()
    result = json.loads(text)
    assert text == json.dumps(result, sort_keys=True, indent=2) + "\n"
    assert result["success_rate"] == 0.5
    assert result["network_evaluations_per_chunk"] == result["network_evaluations_per_chunk_mean"] == 2.0
    assert set(result["chunk_latency_ms"]) == {"p50", "p99", "n"}
    assert result["chunk_latency_ms"]["n"] == 12
    for episode in result["episodes"]:
        assert {"seed", "success", "retries", "steps", "duration_s", "energy", "gave_up", "perturbed"} <= set(episode)
    assert [episode["retries"] for episode in result["episodes"]] == [0, 1]
    assert [episode["interventions"] for episode in result["episodes"]] == [0, 2]
    assert [episode["calm"] for episode in result["episodes"]] == [True, False]
    assert result["trajectory_rules"] == {
        "checked": 12,
        "violations": 1,
        "rejected_by_controller": 0,
        "by_rule": {"position jump": 1},
        "details": ["position jump: elbow at 1.0000"],
    }
    assert {"model", "versions"} <= set(result)


def test_numbers_that_are_none_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"nan": float("nan"), "deep": [np.float64("inf"), np.int64(3), np.arange(2)]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"nan": None, "deep": [None, 3, [0, 1]]}


def test_report_needs_nothing_from_outside(record, tmp_path):
    write_report(tmp_path / "report.html", record)
    page = (tmp_path / "report.html").read_text()
    addresses = Addresses()
    addresses.feed(page)
    assert addresses.found
    assert all(address.startswith(("data:", "#")) for address in addresses.found)
    assert not re.search(r"https?://|url\(|@import|fetch\(", page)


def test_report_shows_what_happened(record):
    page = report_html(record)
    for words in (
        "1 of 2 on the peg",
        "object moved away",
        "threshold 0.90",
        "retreating",
        "gave up",
        "position jump: elbow",
    ):
        assert words in page
    assert "a &lt;reason&gt; &amp; more" in page
    assert "<reason>" not in page


def test_report_of_a_run_that_saw_nothing():
    page = report_html(DemoRecord("lift", 0, trouble=["policy_node ended with status 1"]))
    assert "policy_node ended with status 1" in page
    assert "0 of 0" in page


def test_a_success_is_called_what_the_task_calls_it(record):
    calm, moved = record.episodes
    assert [calm.verdict, moved.verdict] == ["on the peg", "gave up"]
    assert "lifted" not in report_html(record)
    moved.gave_up, moved.success = False, True
    assert moved.verdict == "recovered"
    words = [task.done_text for task in TASKS.values()]
    assert "done" not in words
    assert len(set(words)) == len(words)
    assert all(len(word) <= 11 for word in words)  # a column of the demo's lines


def test_films_are_thinned_to_fit(record):
    episode = record.episodes[0]
    whole = film(episode, 10**9)
    thin = film(episode, sum(len(frame.jpeg) for frame in episode.frames) // 3)
    assert len(whole["front"]["t"]) == 10
    assert len(thin["front"]["t"]) == len(thin["front"]["jpeg"]) == 4
    assert thin["front"]["t"][0] == 0.0


@pytest.mark.parametrize("values", [[3.0], [0.0, 1e-9], [-5.0, 123.4], [1e6, 1e6 + 1], [float("nan"), 2.0]])
def test_ticks_enclose_the_values(values):
    ticks = nice_ticks(values)
    finite = [value for value in values if value == value]
    assert ticks[0] <= min(finite)
    assert ticks[-1] >= max(finite)
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


def test_histogram_of_one_value_and_of_none():
    assert "median 5 ms" in histogram([5.0], "ms")
    assert "No samples" in histogram([], "ms")


def test_table_is_aligned():
    lines = text_table([["episode", "outcome"], ["1", "lifted"], ["10", "gave up"]]).splitlines()
    assert [line.index(word) for line, word in zip(lines[2:], ("lifted", "gave up"), strict=True)] == [9, 9]
