"""Success of a bundle in lockstep simulation: camera, minimise, retry, safety and controller are the ones of the node,
only the middleware is left out. Deterministic: the same command gives the same JSON but for times, with any number of
processes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import sys
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.arguments import add_runtime, add_settings, output_file, set_over, whole_number
from ebt_policy_ros.cli.demo_record import DemoRecord, EpisodeRecord
from ebt_policy_ros.cli.progress import Estimate, LiveLine
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import POLICY_METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from ebt_policy_ros.policy.bundle import Bundle
    from ebt_policy_ros.training.episodes import Job

SAMPLERS = ("ddpm100", "ddim16", "ddim10")
ATTEMPTS = 2.5
"""An episode's default time limit in time limits of the task, which are those of one attempt: retry needs room."""
SETTINGS = ("task", "steps", "policy", "sampler", "perturb", "retry", "runtime", "device", "precision", "time_limit")
"""Options that results repeat."""
COSTS = ("gradient_steps", "training_cpu_s", "encoder_cpu_s")
"""What is repeated from the bundle's provenance, where it is there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy eval``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--task", help="simulated task (default: the bundle's)")
    parser.add_argument("--episodes", type=whole_number(1), default=50, help="episodes (default 50)")
    parser.add_argument("--seed", type=whole_number(0), default=1000, help="of the first episode; the next count up")
    parser.add_argument("--processes", type=whole_number(1), help="episodes in parallel (default: one a core)")
    parser.add_argument("--steps", type=whole_number(1), help="gradient steps a chunk (default: the bundle's)")
    parser.add_argument(
        "--policy", choices=POLICY_METHODS, help="method (default: the bundle's); baselines are found at MODEL/<method>"
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="of a diffusion policy (default ddpm100)")
    parser.add_argument("--perturb", metavar="NAME[,NAME]", help=_perturb_help())
    parser.add_argument("--retry", choices=("on", "off"), default="on", help="whether retry may act (default on)")
    add_settings(parser)
    add_runtime(parser)
    parser.add_argument(
        "--time-limit", type=_seconds, help=f"longest episode [simulated s] (default: {ATTEMPTS} attempts of the task)"
    )
    parser.add_argument("--json", type=output_file, metavar="F", help="where the results go")
    parser.add_argument(
        "--report", type=output_file, metavar="F", help="where a page to look at goes (HTML): films, scores, rungs"
    )


def run(options: argparse.Namespace) -> int:
    """Runs the episodes, prints a summary, writes the JSON; returns the exit status."""
    from ebt_policy_ros.cli.lockstep import table_by_perturbation
    from ebt_policy_ros.cli.report import write_report
    from ebt_policy_ros.training.episodes import find_bundle

    directory, bundle = find_bundle(options.model, options.policy)
    resolve(options, bundle)
    jobs = _jobs(options, directory)
    record = start_record(options, bundle)
    try:
        _play(record, options, jobs)
    finally:
        result = _result(record, options, bundle)
        if options.json is not None and record.episodes:  # an error before the first leaves an older file alone
            write_json(options.json, result)
        if options.report is not None and record.episodes:
            write_report(options.report, record)
    if len(result["by_perturbation"]) > 1:
        print(table_by_perturbation(result["by_perturbation"]))
    print(_summary(result))
    return 0


def resolve(options: argparse.Namespace, bundle: Bundle) -> None:
    """Fills in what follows from the bundle; SettingsError for an option that contradicts it."""
    from ebt_policy_ros.sim.tasks import make_task
    from ebt_policy_ros.training.episodes import task_of

    options.policy, options.task = bundle.method, options.task or task_of(bundle)
    if bundle.method == "dp":
        options.sampler = options.sampler or SAMPLERS[0]
    elif options.sampler is not None:
        raise SettingsError(
            f"--sampler {options.sampler}: bundle '{bundle.name}' is of method '{bundle.method}'; only a diffusion "
            "policy has samplers (--policy dp)"
        )
    if options.steps is not None and bundle.method != "ebt":
        raise SettingsError(
            f"--steps {options.steps}: expected a bundle of method 'ebt', got '{bundle.method}'; a diffusion policy's "
            "steps are chosen by --sampler"
        )
    if bundle.method != "ebt":
        options.retry = "off"  # without an energy there is nothing to act on; results are to say so
    task = make_task(options.task)
    if options.time_limit is None:
        options.time_limit = ATTEMPTS * task.time_limit_s


def start_record(options: argparse.Namespace, bundle: Bundle) -> DemoRecord:
    """The record of a run whose options are resolved, without episodes yet; the threshold is the published score's."""
    from ebt_policy_ros.core.uncertainty import Calibration, Uncertainty
    from ebt_policy_ros.sim.tasks import make_task

    settings = {name: str(getattr(options, name)) for name in SETTINGS if getattr(options, name) is not None}
    settings.update({f"{section}.{field}": str(value) for section, field, value in options.set})
    record = DemoRecord(bundle.name, options.seed, make_task(options.task).done_text, settings=settings)
    record.command, record.latency_text = "eval", "thinking about a chunk"
    if bundle.calibration is not None:
        record.threshold = Uncertainty(Calibration.from_mapping(bundle.calibration)).threshold
    return record


def _jobs(options: argparse.Namespace, directory: Path) -> list[Job]:
    from ebt_policy_ros.cli.lockstep import disturbances
    from ebt_policy_ros.training.episodes import Job, Setup

    overrides: dict[str, dict[str, Any]] = {"retry": {"enabled": options.retry == "on"}}
    if options.steps is not None:
        overrides["minimise"] = {"steps": options.steps}
    setup = Setup(
        str(directory),
        options.task,
        set_over(options.set, overrides),
        options.device,
        options.runtime,
        options.precision,
        options.sampler,
        options.time_limit,
    )
    disturbance = disturbances(options.perturb)
    return [Job(setup, index, options.seed + index, disturbance(index)) for index in range(options.episodes)]


def _play(record: DemoRecord, options: argparse.Namespace, jobs: list[Job]) -> None:
    """Plays the jobs into ``record``, in their order; those that are finished stay there, whatever happens."""
    from ebt_policy_ros.cli.lockstep import record_episode
    from ebt_policy_ros.cli.report import drop_unseen_films
    from ebt_policy_ros.training.episodes import play_all

    work = functools.partial(record_episode, is_filmed=options.report is not None)
    line = LiveLine()
    estimate, finished = Estimate("episodes", line), dict[int, EpisodeRecord]()
    try:
        with contextlib.closing(play_all(jobs, work, processes=options.processes)) as results:
            for place, episode in results:
                finished[place] = episode
                drop_unseen_films(list(finished.values()))
                successes = sum(episode.success for episode in finished.values())
                estimate.show(len(finished), len(jobs), f", {successes} succeeded")
    except KeyboardInterrupt:
        line.close()
        if finished and options.json is not None:
            sys.stderr.write(f"interrupted: results of {len(finished)} finished episodes are in {options.json}\n")
        else:
            successes = sum(episode.success for episode in finished.values())
            sys.stderr.write(f"interrupted: {successes} of {len(finished)} finished episodes succeeded\n")
        raise
    finally:
        record.episodes += [finished[place] for place in sorted(finished)]


def _result(record: DemoRecord, options: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    from ebt_policy_ros.cli.lockstep import by_perturbation

    result = record.as_json()
    result.update(
        settings={
            **{name: getattr(options, name) for name in SETTINGS},
            "set": {f"{section}.{field}": value for section, field, value in options.set},
        },
        success_interval=interval(record),
        by_perturbation=by_perturbation(record.episodes),
        weights_sha256=bundle.weights_sha256,
        policy_sha256=bundle.policy_sha256,
        training={name: bundle.provenance.get(name) for name in COSTS},
    )
    for name in ("created_at", "trouble"):  # the same command gives the same file but for times
        result.pop(name)
    return result


def interval(record: DemoRecord) -> list[float] | None:
    """Wilson's 95 % interval of the success rate; None without episodes."""
    from ebt_policy_ros.training.statistics import wilson

    if not record.episodes:
        return None
    low_high = wilson(sum(episode.success for episode in record.episodes), len(record.episodes))
    return [round(value, 4) for value in low_high]


def _summary(result: dict[str, Any]) -> str:
    episodes, low_high = result["episodes"], result["success_interval"]
    if not episodes:
        return "no episode was finished"
    successes = sum(episode["success"] for episode in episodes)
    passes, latency = result["network_evaluations_per_chunk_mean"], result["chunk_latency_ms"]
    thought = "no chunk was planned"
    if passes is not None:
        thought = (
            f"{passes:.3g} network passes per chunk; chunk latency median {latency['p50']} ms, 99 % {latency['p99']} ms"
        )
    return (
        f"{successes} of {len(episodes)} succeeded ({100 * successes / len(episodes):.1f} %, "
        f"95 % interval {100 * low_high[0]:.1f} to {100 * low_high[1]:.1f}); "
        f"{sum(episode['retries'] for episode in episodes)} retries, {result['gave_up']} given up; {thought}"
    )


def _perturb_help() -> str:
    from ebt_policy_ros.sim.perturbations import GROUPS, PERTURBATIONS

    kinds = "; ".join(f"{name}: {kind.description}" for name, kind in PERTURBATIONS.items())
    return (
        "what disturbs the episodes, in turn: kind[:severity][@reaching[metres] or @seconds], several with commas, or "
        f"groups of kinds ({', '.join(GROUPS)}). Kinds are {kinds}"
    ).replace("%", "%%")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got '{text}'")
    return value
