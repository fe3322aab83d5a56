"""The parts of a command's way add up, whatever overlapped."""

import pytest

from ebt_policy_ros.core.cycle import Cycle, State
from ebt_policy_ros.nodes.inputs import Arrival
from ebt_policy_ros.nodes.latency import latency_parts
from ebt_policy_ros.nodes.worker import Round

MS = 1_000_000


def parts(*, ready_ms: int, began_ms: int, ahead_ms: tuple[int, int] = (0, 0)) -> dict[str, float]:
    cycle = Cycle(State.RUNNING, None, parts_s={"encode": 0.002, "descend": 0.004})
    ahead_ns = (ahead_ms[0] * MS, ahead_ms[1] * MS)
    done = Round(cycle, 0.01, began_ms * MS, (began_ms + 12) * MS, ahead_ns)
    return latency_parts(done, Arrival(100 * MS, ready_ms * MS), (began_ms + 13) * MS)


@pytest.mark.parametrize(
    ("given", "ahead", "wait", "think"),
    [
        ({"ready_ms": 101, "began_ms": 105}, 0.0, 4.0, 10.0),
        ({"ready_ms": 101, "began_ms": 105, "ahead_ms": (102, 104)}, 2.0, 2.0, 10.0),
        ({"ready_ms": 101, "began_ms": 105, "ahead_ms": (90, 104)}, 3.0, 1.0, 10.0),  # it had begun with another one
        ({"ready_ms": 101, "began_ms": 105, "ahead_ms": (50, 60)}, 0.0, 4.0, 10.0),
        ({"ready_ms": 106, "began_ms": 105}, 0.0, 0.0, 9.0),  # it came between the beginning and the look
    ],
)
def test_the_parts_add_up(given, ahead, wait, think):
    told = parts(**given)
    assert (told["ahead"], told["wait"], told["think"]) == pytest.approx((ahead, wait, think))
    assert sum(told[part] for part in ("decode", "ahead", "wait", "think", "act", "send")) == pytest.approx(
        told["latency"]
    )
    assert (told["encode"], told["descend"]) == (2.0, 4.0)


def test_a_round_without_an_observation_has_none():
    assert latency_parts(Round(Cycle(State.HOLDING, None)), None, 0) == {}
