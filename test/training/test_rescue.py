"""The benchmark of rescue: commands, what is kept, and the table against no retry."""

import argparse

import pytest

from benchmarks import rescue
from ebt_policy_ros.core.errors import SettingsError


def cell(variant, kind, outcomes, retries=0, duration_s=5.0):
    episodes = [
        {
            "seed": 7 + place,
            "success": letter == "1",
            "perturbed_at_s": 1.0,
            "duration_s": duration_s + place,
            "retries": retries,
            "gave_up": False,
        }
        for place, letter in enumerate(outcomes)
    ]
    result = {
        "episodes": episodes,
        "weights_sha256": "abc",
        "network_evaluations_per_chunk_mean": 2.0,
        "chunk_latency_ms": {},
        "versions": {},
    }
    return rescue.condensed(result, variant, kind, "ebt-policy eval")


def test_a_cell_is_one_command():
    options = argparse.Namespace(task="can", model=None, episodes=60, seed=5, time_limit=24.0)
    assert rescue.arguments(options, "no-thought", "slip") == [
        *("eval", "--model", "models/can", "--task", "can", "--episodes", "60", "--seed", "5"),
        *("--perturb", "slip", "--time-limit", "24", "--set", "retry.think_rounds=0"),
    ]
    assert "--perturb" not in rescue.arguments(options, "off", "calm")
    with pytest.raises(SettingsError, match="variant 'none'"):
        rescue.arguments(options, "none", "slip")


def test_the_table_pairs_every_variant_with_no_retry():
    cells = [
        cell("off", "slip", "1100110011", duration_s=6.0),
        cell("on", "slip", "1111111110", retries=1),
        cell("off", "calm", "11"),
        cell("on", "calm", "10"),
    ]
    kept = cells[1]
    assert (kept["outcomes"], kept["disturbed"], kept["first_seed"]) == ("1111111110", "1" * 10, 7)
    lines = rescue.table(cells).splitlines()
    assert lines[0] == (
        "| variant | slip | less without retry | time to success [s] | retreats | given up | passes/chunk | calm |"
    )
    assert lines[2] == "| without retry | 6/10 |  | 10.5 | 0 | 0 | 2.00 | 2/2 |"
    assert lines[3].startswith("| the ladder | 9/10 | +30.0 (")
    assert lines[3].endswith("| 8.6 (-1.0) | 10 | 0 | 2.00 | 1/2 |")  # over the episodes that both solve
