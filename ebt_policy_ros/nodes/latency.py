"""From a picture's arrival to the command made from it, part by part."""

from __future__ import annotations

from ebt_policy_ros.nodes.inputs import Arrival
from ebt_policy_ros.nodes.worker import Round


def latency_parts(done: Round, arrival: Arrival | None, sent_ns: int) -> dict[str, float]:
    """Name -> wall time [ms] of a round whose command was sent at ``sent_ns`` [steady time].

    ``latency`` is the whole way; ``decode``, ``wait`` (until the model was free, and for other cameras' pictures),
    ``think``, ``act`` and ``send`` add up to it; ``encode`` and ``descend`` are parts of ``think``. Empty for a round
    without an observation, and where the arrival is not remembered.
    """
    if done.began_ns is None or done.acted_ns is None or arrival is None:
        return {}
    moments = {
        "decode": arrival.ready_ns - arrival.came_ns,
        "wait": done.began_ns - arrival.ready_ns,
        "think": round(done.think_s * 1e9),
        "act": done.acted_ns - done.began_ns - round(done.think_s * 1e9),
        "send": sent_ns - done.acted_ns,
        "latency": sent_ns - arrival.came_ns,
    }
    parts = {name: took_ns * 1e-6 for name, took_ns in moments.items()}
    return parts | {name: took_s * 1e3 for name, took_s in done.cycle.parts_s.items()}
