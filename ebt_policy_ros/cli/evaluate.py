"""Success of a bundle in lockstep simulation, in one process: camera, minimise, retry, safety and controller are the
ones of the node, only the middleware is left out. Deterministic: the same command gives the same JSON but for times.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

from ebt_policy_ros.cli.arguments import output_file, whole_number
from ebt_policy_ros.cli.demo_record import DemoRecord
from ebt_policy_ros.cli.progress import Estimate, LiveLine
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import UnsupportedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy eval``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--task", default="lift", help="simulated task")
    parser.add_argument("--episodes", type=whole_number(1), default=50, help="episodes (default 50)")
    parser.add_argument("--seed", type=whole_number(0), default=1000, help="of the first episode; the next count up")
    parser.add_argument("--steps", type=whole_number(1), help="gradient steps a chunk (default: the bundle's)")
    parser.add_argument("--policy", choices=("ebt", "dp"), default="ebt", help="kind of policy")
    parser.add_argument("--sampler", choices=("ddpm100", "ddim16"), help="of a diffusion policy")
    parser.add_argument("--perturb", metavar="NAME", help="disturbance of every episode, such as teleport, or 'all'")
    parser.add_argument("--retry", choices=("on", "off"), default="on", help="whether retry may act (default on)")
    parser.add_argument("--runtime", choices=("torch", "onnxruntime"), default="torch", help="what runs the bundle")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--time-limit", type=float, default=25.0, help="longest episode [simulated s] (default 25)")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the results go")


def run(options: argparse.Namespace) -> int:
    """Runs the episodes, prints a summary, writes the JSON; returns the exit status."""
    if options.policy == "dp" or options.sampler is not None:
        raise UnsupportedError("--policy dp and --sampler: diffusion policies are not part of this version; use ebt")
    from ebt_policy_ros.assemble import assemble_all, load_robot
    from ebt_policy_ros.sim.arm import SimulatedArm

    overrides: dict[str, dict[str, Any]] = {"retry": {"enabled": options.retry == "on"}}
    if options.steps is not None:
        overrides["minimise"] = {"steps": options.steps}
    assembly = assemble_all(
        options.model, load_robot("panda_sim")[0], overrides, options.device, options.runtime, warm_up=True
    )
    arm = SimulatedArm(options.task)
    try:
        record = DemoRecord(assembly.model_name, options.seed)
        if assembly.calibration is not None:
            record.threshold = assembly.calibration.threshold
        _episodes(record, options, arm, assembly.pipeline)
    finally:
        arm.close()
        result = _result(record, options)
        if options.json is not None:
            write_json(options.json, result)
    print(_summary(result))
    return 0


def _episodes(record: DemoRecord, options: argparse.Namespace, arm: Any, pipeline: Any) -> None:
    from ebt_policy_ros.cli.lockstep import Lockstep, disturbances

    lockstep, line = Lockstep(arm, pipeline, options.time_limit), LiveLine()
    disturbance = disturbances(options.perturb, arm.task.perturbations)
    estimate = Estimate("episodes", line)
    try:
        for index in range(options.episodes):
            record.episodes.append(lockstep.episode(index, options.seed + index, disturbance(index)))
            successes = sum(episode.success for episode in record.episodes)
            estimate.show(index + 1, options.episodes, f", {successes} succeeded")
    except KeyboardInterrupt:
        line.close()
        kept = f"in {options.json}" if options.json is not None else "shown below"
        sys.stderr.write(f"interrupted: results of {len(record.episodes)} finished episodes are {kept}\n")
        raise


def _result(record: DemoRecord, options: argparse.Namespace) -> dict[str, Any]:
    settings = {
        name: getattr(options, name)
        for name in ("task", "steps", "policy", "perturb", "retry", "runtime", "device", "time_limit")
    }
    result = record.as_json()
    result.update(command="eval", settings=settings, success_interval=interval(record))
    for name in ("created_at", "trouble"):  # the same command gives the same file but for times
        result.pop(name)
    return result


def interval(record: DemoRecord) -> list[float] | None:
    """Wilson's 95 % interval of the success rate; None without episodes."""
    count = len(record.episodes)
    if count == 0:
        return None
    z, rate = 1.96, sum(episode.success for episode in record.episodes) / count
    centre = rate + z * z / (2 * count)
    reach = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return [round((centre + sign * reach) / (1 + z * z / count), 4) for sign in (-1, 1)]


def _summary(result: dict[str, Any]) -> str:
    episodes, low_high = result["episodes"], result["success_interval"]
    if not episodes:
        return "no episode was finished"
    successes = sum(episode["success"] for episode in episodes)
    passes = result["network_evaluations_per_chunk_mean"]
    return (
        f"{successes} of {len(episodes)} succeeded ({100 * successes / len(episodes):.1f} %, "
        f"95 % interval {100 * low_high[0]:.1f} to {100 * low_high[1]:.1f}); "
        f"{sum(episode['retries'] for episode in episodes)} retries, {result['gave_up']} given up; "
        f"{passes:.3g} network passes per chunk; chunk latency median {result['chunk_latency_ms']['p50']} ms"
    )
