"""How rough is the change from one plan to the next? What the node sends, against sending the new chunk as it is.

  python -m benchmarks.splice --model models/can --episodes 20

In undisturbed episodes with retry off, at every moment at which a command replaces the running one: the acceleration
and the jerk that the change asks of each joint, ours and for naive replacement (the chunk's rows from the first one
that is not overtaken, reached at their own times, as a position stream does it). Accelerations are in units of the
joint's limit: above 1 the limit is broken. The jump is that of the acceleration at the very moment.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.cli.arguments import output_file, whole_number
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.safety import next_row
from ebt_policy_ros.core.types import Floats, SafeChunk
from ebt_policy_ros.training.episodes import Episode, Job, Setup, find_bundle, play_all, task_of

QUANTILES = (50.0, 99.0, 100.0)
Change = dict[str, Floats]
"""(D,) acceleration asked for over its limit, its jump over the limit, and jerk [rad/s^3 or m/s^3]."""


def splices(episode: Episode) -> list[tuple[Change, Change]]:
    """(ours, naive) of every replacement in one episode."""
    assembly, found = episode.assembly, []
    period_ns = assembly.settings.period_ns
    limit = assembly.robot.per_joint("acceleration")
    running: SafeChunk | None = None
    for turn in episode.play():
        cycle = turn.cycle
        command, minimum, stamp_ns = cycle.command, cycle.minimum, cycle.observation_stamp_ns
        if command is not None and running is not None and minimum is not None and stamp_ns is not None:
            targets = assembly.normaliser.unnormalise_chunk(minimum.chunk)
            found.append(
                (
                    ours(running, command, limit, period_ns),
                    naive(running, command.start_ns, targets, stamp_ns, limit, period_ns),
                )
            )
        running = command if command is not None else running
    return found


def ours(running: SafeChunk, command: SafeChunk, limit: Floats, period_ns: int) -> Change:
    """What the node's command asks for in its first period."""
    begin_ns = command.start_ns
    before = (rate(running, begin_ns) - rate(running, begin_ns - period_ns)) / (period_ns * 1e-9)
    after = (rate(command, begin_ns + period_ns) - rate(running, begin_ns)) / (period_ns * 1e-9)
    in_first = command.times_s <= period_ns * 1e-9  # linear between points: the largest is at one
    at_end = command.sample(begin_ns + period_ns).accelerations
    return {
        "acceleration_over_limit": np.abs(np.vstack([command.accelerations[in_first], at_end])).max(0) / limit,
        "jump_over_limit": np.abs(command.accelerations[0] - running.sample(begin_ns).accelerations) / limit,
        "jerk": (after - before) / (period_ns * 1e-9),
    }


def naive(running: SafeChunk, now_ns: int, targets: Floats, stamp_ns: int, limit: Floats, period_ns: int) -> Change:
    """What the chunk itself asks for: to be at its next row when that is due."""
    row = min(next_row(stamp_ns, period_ns, now_ns + 1), len(targets) - 1)
    left_s = max(stamp_ns + row * period_ns - now_ns, 1) * 1e-9
    here = running.sample(now_ns)
    wanted = (targets[row] - here.positions) / left_s
    before = (here.velocities - rate(running, now_ns - period_ns)) / (period_ns * 1e-9)
    after = (wanted - here.velocities) / left_s
    return {
        "acceleration_over_limit": np.abs(after) / limit,
        "jump_over_limit": np.abs(after - here.accelerations) / limit,
        "jerk": (after - before) / (period_ns * 1e-9),
    }


def rate(chunk: SafeChunk, at_ns: int) -> Floats:
    """(D,) velocity of a motion at a time [rad/s or m/s]."""
    return chunk.sample(at_ns).velocities


def summary(changes: list[Change], num_arm: int) -> dict[str, list[float]]:
    """Quantiles over all splices and the arm's joints; the hand is left out: it jumps on purpose."""
    return {
        name: [float(np.percentile([np.abs(change[name][:num_arm]) for change in changes], q)) for q in QUANTILES]
        for name in changes[0]
    }


def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.splice", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="models/can")
    parser.add_argument("--episodes", type=whole_number(1), default=20)
    parser.add_argument("--seed", type=whole_number(0), default=1000)
    parser.add_argument("--processes", type=whole_number(1), help="episodes in parallel (default: one a core)")
    parser.add_argument("--json", type=output_file)
    options = parser.parse_args(given)
    try:
        directory, bundle = find_bundle(options.model)
        setup = Setup(str(directory), task_of(bundle), {"retry": {"enabled": False}})
        jobs = [Job(setup, index, options.seed + index) for index in range(options.episodes)]
        found: list[tuple[Change, Change]] = []
        estimate = Estimate("episodes")
        for number, (_, episode) in enumerate(play_all(jobs, splices, processes=options.processes), 1):
            found += episode
            estimate.show(number, len(jobs))
    except EbtPolicyError as error:
        sys.stderr.write(f"benchmarks.splice: {error}\n")
        return 2
    num_arm = sum(joint.unit == "rad" for joint in bundle.joints)
    result: dict[str, Any] = {
        "model": str(Path(options.model)),
        "weights_sha256": bundle.weights_sha256,
        "episodes": options.episodes,
        "splices": len(found),
        "quantiles": list(QUANTILES),
        "ours": summary([one for one, _ in found], num_arm),
        "naive": summary([other for _, other in found], num_arm),
        "versions": versions(),
    }
    if options.json is not None:
        write_json(options.json, result)
    print("| median, 99 %, largest | acceleration / limit | its jump / limit | jerk [rad/s^3] |\n|---|---|---|---|")
    for name in ("ours", "naive"):
        cells = [", ".join(f"{value:.3g}" for value in values) for values in result[name].values()]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
