"""From a picture's arrival to the command made from it, part by part."""

from __future__ import annotations

from ebt_policy_ros.nodes.inputs import Arrival
from ebt_policy_ros.nodes.worker import Round


def latency_parts(done: Round, arrival: Arrival | None, sent_ns: int) -> dict[str, float]:
    """Name -> wall time [ms] of a round whose command was sent at ``sent_ns`` [steady time].

    ``latency`` is the whole way; ``decode``, ``ahead`` (the model encoded pictures, which the round then did not have
    to), ``wait`` (the rest until the model began), ``think``, ``act`` and ``send`` add up to it; ``encode`` and
    ``descend`` are parts of ``think``. Empty for a round without an observation, and where the arrival is not
    remembered.
    """
    if done.began_ns is None or done.acted_ns is None or arrival is None:
        return {}
    began_ns = max(done.began_ns, arrival.ready_ns)  # a picture may come in between that and the look at the input
    thought_ns = done.began_ns + round(done.think_s * 1e9)
    ahead_ns = max(0, min(done.ahead_ns[1], began_ns) - max(done.ahead_ns[0], arrival.ready_ns))
    moments = {
        "decode": arrival.ready_ns - arrival.came_ns,
        "ahead": ahead_ns,
        "wait": began_ns - arrival.ready_ns - ahead_ns,
        "think": thought_ns - began_ns,
        "act": done.acted_ns - thought_ns,
        "send": sent_ns - done.acted_ns,
        "latency": sent_ns - arrival.came_ns,
    }
    parts = {name: took_ns * 1e-6 for name, took_ns in moments.items()}
    return parts | {name: took_s * 1e3 for name, took_s in done.cycle.parts_s.items()}
