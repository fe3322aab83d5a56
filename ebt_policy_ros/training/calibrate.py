"""Split conformal calibration of a bundle's uncertainty score on closed-loop episodes that nothing was fitted on."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.cycle import plan_change
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.uncertainty import Calibration, raw_score, score_name, windowed
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.rollout import Rollout, run_episodes

WINDOW_S = 2.0
"""Time over which the score is averaged [s]: five chunks of the simulated tasks."""


def calibrate(
    model_dir: str | Path,
    *,
    task: str | None = None,
    episodes: int = 100,
    seed: int = 20_000,
    alpha: float = 0.05,
    window_s: float = WINDOW_S,
    processes: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the thresholds and write them to ``policy.json``; returns the calibration and what it was measured on.

    One sample per successful undisturbed episode (seeds ``seed`` .. ``seed + episodes - 1``, retry off): its highest
    mean raw score over a time window, and its largest change between successive plans. A new good episode then raises a
    false alarm with probability ``alpha``, and is as seldom surprised. Raises SettingsError when too few episodes
    succeeded for ``alpha``.
    """
    bundle = Bundle.load(model_dir)
    seeds = range(seed, seed + episodes)
    rollouts = run_episodes(model_dir, seeds, task=task or bundle.name, processes=processes, progress=progress)
    good = [rollout for rollout in rollouts if rollout.success and rollout.minima]
    if not good:
        raise EbtPolicyError(f"none of {episodes} episodes succeeded: there is nothing to calibrate on")
    calibration = Calibration.from_scores(
        [windowed_score(rollout, window_s) for rollout in good],
        alpha,
        score=score_name(good[0].minima[0].terms),
        weights_sha256=bundle.weights_sha256,
        window_s=window_s,
        plan_changes=[largest_change(rollout, bundle.chunk.period_s) for rollout in good],
    ).to_mapping()
    measured = {"episodes": episodes, "successes": len(good), "first_seed": seed}
    provenance = {**bundle.provenance, "calibration": measured}
    replace(bundle, calibration=calibration, provenance=provenance).save(model_dir)
    return {"calibration": calibration, **measured, "model": bundle.name}


def windowed_score(rollout: Rollout, window_s: float) -> float:
    """An episode's highest mean of raw scores over a time window."""
    return float(windowed(rollout.times_s, [raw_score(minimum) for minimum in rollout.minima], window_s).max())


def largest_change(rollout: Rollout, period_s: float) -> float:
    """An episode's largest change between a plan and the one before it; 0 when it had only one."""
    changes = [0.0]
    for place in range(1, len(rollout.minima)):
        rows = round((rollout.times_s[place] - rollout.times_s[place - 1]) / period_s)
        change = plan_change(rollout.minima[place - 1].chunk, rollout.minima[place].chunk, rows)
        changes.append(0.0 if change is None else change)
    return max(changes)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ebt_policy_ros.training.calibrate", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    def show(done: int, wanted: int) -> None:
        sys.stderr.write(f"\r{done}/{wanted} episodes")
        sys.stderr.flush()

    try:
        result = calibrate(
            options.model, episodes=options.episodes, seed=options.seed, alpha=options.alpha, progress=show
        )
    except EbtPolicyError as error:
        sys.stderr.write(f"\n{error}\n")
        return 2
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    measured = result["calibration"]
    sys.stderr.write(f"\nthreshold {measured['threshold']:.3f} from {measured['n']} episodes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
