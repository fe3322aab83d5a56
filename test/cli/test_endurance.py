"""The benchmark of endurance: what it makes of samples."""

from argparse import Namespace

import pytest

from benchmarks import endurance


def test_growth_and_ageing_are_seen():
    options = Namespace(minutes=4.0, image_size=96, model="lift")
    memory = {
        "policy_node": [(float(second), 300.0 + second / 60.0) for second in range(240)],
        "sim_node": [(float(second), 900.0) for second in range(240)],
    }
    told = [
        (float(second), {"latency_ms": str(20.0 + second / 10), "think_ms": "9", "stamp_age_ms": ""})
        for second in range(240)
    ]
    told.append((240.0, {"latency_ms": "", "think_ms": "0"}))  # a hold
    diagnosed = [{"front.received": "1"}, {"front.received": "7", "front.refused": "0", "state": "running"}]
    result = endurance.summary(options, memory, told, diagnosed)
    assert result["chunks"] == 240
    assert result["memory_mb"]["policy_node"]["growth_per_minute_second_half"] == pytest.approx(1.0)
    assert result["memory_mb"]["sim_node"]["growth_per_minute_second_half"] == pytest.approx(0.0, abs=1e-9)
    assert result["latency_ms"]["first_quarter"]["p50"] == pytest.approx(22.95)
    assert result["latency_ms"]["last_quarter"]["p50"] == pytest.approx(41.0)
    assert result["stamp_age_ms"]["all"]["n"] == 0
    assert result["received"] == {"front.received": 7, "front.refused": 0}
    assert "policy_node: 301.0 MB after a minute" in endurance.in_words(result)
