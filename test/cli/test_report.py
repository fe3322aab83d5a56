"""The demo's record, its JSON and its HTML report."""

import html.parser
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ebt_policy_ros.cli.demo_record import RUNGS, CycleRecord, DemoRecord, EpisodeRecord, FrameRecord
from ebt_policy_ros.cli.film import film_frame
from ebt_policy_ros.cli.report import (
    MAX_CARDS,
    drop_unseen_films,
    film,
    report_html,
    text_table,
    worth_showing,
    write_report,
)
from ebt_policy_ros.cli.report_charts import episode_chart, histogram, nice_ticks, rung_stretches
from ebt_policy_ros.cli.report_thought import thought_table
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.cli.thought import thought_by_score
from ebt_policy_ros.cli.trajectory_rules import Violation
from ebt_policy_ros.core.retry import Accept, Evidence, Memory, decide
from ebt_policy_ros.core.settings import RetrySettings
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
    moved.perturbation = "teleport"
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
        "teleport sets in",
        "teleport at 0.7 s",
        "the object lies elsewhere at once",
        "threshold 0.90",
        "retreating",
        "gave up",
        "position jump: elbow",
    ):
        assert words in page
    assert "a &lt;reason&gt; &amp; more" in page
    assert "<reason>" not in page


def test_rungs_of_the_ladder_are_marked_on_the_time_axis(record):
    moved = record.episodes[1]
    stretches = rung_stretches(moved, 3.0)
    assert [(one.rung, one.begin_s, one.end_s) for one in stretches] == [
        ("holding", 0.8, pytest.approx(1.2)),
        ("retreating", pytest.approx(1.2), 1.6),
        ("thinking more", 2.0, pytest.approx(2.4)),
        ("given up", pytest.approx(2.4), 3.0),
    ]
    chart = episode_chart(moved, 0.95)
    assert all(f">{rung}</text>" in chart for rung in RUNGS)
    assert "<title>holding, 0.8 to 1.2 s: a &lt;reason&gt; &amp; more</title>" in chart
    assert rung_stretches(record.episodes[0], 2.0) == []


def test_curves_are_broken_where_a_retreat_measured_nothing(record):
    calm, moved = record.episodes
    assert episode_chart(calm, 0.95).count("<polyline") == 2  # energy and score; these cycles tell of no surprise
    assert episode_chart(moved, 0.95).count("<polyline") == 4


def test_a_rescue_is_marked_for_the_picture_and_said_under_its_frames(record):
    moved = record.episodes[1]
    moved.frames = [FrameRecord(time_s, "front", jpeg(50)) for time_s in (0.0, 0.8, 1.3)]
    assert "data-rescued" not in report_html(record)
    moved.success, moved.gave_up = True, False
    page = report_html(record)
    assert '<section class="card" id="episode-1" data-episode="1" data-rescued="1.20" data-retreats="1">' in page
    assert "<figcaption>0.0 s</figcaption>" in page
    assert "<figcaption>1.3 s, retreating</figcaption>" in page


def test_doubt_that_lasts_is_told_apart_from_doubt_that_thought_removed():
    """The record knows it from the words of the decision, which this holds to what retry says."""
    doubtful = Evidence(now_ns=2 * 10**9, score=0.97, threshold=0.95, may_think=False)
    decision = decide(doubtful, Memory(doubtful_since_ns=19 * 10**8), RetrySettings())
    assert isinstance(decision, Accept)
    assert decision.is_doubtful
    assert cycle(0.0, "thinking more", 0.97, decision.reason).rung == "in doubt"
    assert cycle(0.0, "thinking more", 0.2).rung == "thinking more"
    assert cycle(0.0, "holding", 0.97, decision.reason).rung == "holding"


def test_a_disturbance_that_never_set_in_is_not_drawn(record):
    calm = record.episodes[0]
    calm.perturbation = "slip"
    page = report_html(record)
    assert "slip, never set in" in page
    assert "slip sets in" not in page


def test_thought_is_counted_by_score():
    chunks = [cycle(0.4 * k, uncertainty=score) for k, score in enumerate([0.1, 0.5, 0.95, None])]
    chunks.append(replace(cycle(2.0, "thinking more", 0.96, "doubt; for 0.4 s"), steps=10, network_evaluations=12))
    chunks.append(replace(cycle(2.4, "retreating", 0.99), steps=20, network_evaluations=24))
    chunks.append(replace(cycle(2.8, "holding", 0.99), network_evaluations=0))
    calm, unsure, near, above = thought_by_score(chunks, 0.95)
    assert [one.name for one in (calm, unsure, near, above)] == [
        "below 0.50",
        "0.50 to 0.90",
        "0.90 to 0.95",
        "above 0.95",
    ]
    assert [one.chunks for one in (calm, unsure, near, above)] == [1, 1, 1, 2]
    assert (above.steps_mean, above.network_evaluations_mean) == (15.0, 18.0)
    assert above.rungs == {"in doubt": 1, "retreating": 1}
    table = thought_table([calm, unsure, near, above])
    assert "in doubt 50 %, retreating 50 %" in table
    assert thought_by_score(chunks, None) == []
    assert "not calibrated" in thought_table([])
    low = thought_by_score([cycle(0.0, uncertainty=0.3), cycle(0.0, uncertainty=0.31)], 0.3)
    assert [(one.name, one.chunks, one.steps_mean) for one in low] == [("up to 0.30", 1, 2.0), ("above 0.30", 1, 2.0)]


def test_of_many_episodes_the_telling_ones_are_shown(record):
    calm, moved = record.episodes
    many = [replace(calm, index=index, frames=list(calm.frames)) for index in range(30)]
    many[25] = replace(moved, index=25)
    many[28] = replace(calm, index=28, cycles=[cycle(0.0), cycle(0.4, "retreating"), cycle(0.8)])
    many[27] = replace(calm, index=27, cycles=[cycle(0.0), cycle(0.4, "holding"), cycle(0.8)])
    shown = worth_showing(many)
    assert [episode.index for episode in shown] == [25, 28, 27, *range(MAX_CARDS - 3)]
    assert worth_showing(many[:MAX_CARDS]) == many[:MAX_CARDS]
    drop_unseen_films(many)
    assert {episode.index for episode in many if episode.frames} == {27, 28, *range(MAX_CARDS - 3)}
    record.episodes = many
    page = report_html(record)
    assert "Shown are 20 of 30 episodes" in page
    assert page.count('<section class="card"') == MAX_CARDS
    assert 'href="#episode-25"' in page
    assert 'href="#episode-29"' not in page
    assert "<td>30</td>" in page


def test_films_and_strips_of_many_episodes_fit_into_the_page(record):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    frames = [film_frame(0.2 * k, camera, noise) for k in range(60) for camera in ("front", "wrist")]
    record.episodes = [replace(record.episodes[0], index=index, frames=frames) for index in range(10)]
    assert len(report_html(record)) < 5_000_000


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
