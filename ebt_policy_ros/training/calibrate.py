"""Split conformal calibration of a bundle's uncertainty score on closed-loop episodes that nothing was fitted on."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.core.cycle import plan_change
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.core.uncertainty import Calibration, Window, raw_score, score_name
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.rollout import Rollout, run_episodes

WINDOW_S = 2.8
"""Time over which the score is averaged [s]: eight chunks of the simulated tasks."""


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
    times_s, raw = zip(*(raw_scores(rollout, bundle.chunk.period_s) for rollout in good), strict=True)
    if not any(raw):
        raise EbtPolicyError(
            f"no chunk can be compared with the one before it: expected execute_steps below the horizon of "
            f"{bundle.chunk.horizon}, got {bundle.chunk.execute_steps}"
        )
    window = Window(float(np.mean(np.concatenate(raw))), window_s, chunks_in(window_s, bundle))
    calibration = Calibration.from_scores(
        [float(window.scores(*scored).max(initial=0.0)) for scored in zip(times_s, raw, strict=True)],
        alpha,
        score=score_name(good[0].minima[0].terms),
        weights_sha256=bundle.weights_sha256,
        window=window,
        plan_changes=[largest(changes_of(rollout, bundle.chunk.period_s)) for rollout in good],
        row_error=usual_row_error(good, alpha),
    ).to_mapping()
    measured = {"episodes": episodes, "successes": len(good), "first_seed": seed}
    provenance = {**bundle.provenance, "calibration": measured}
    replace(bundle, calibration=calibration, provenance=provenance).save(model_dir)
    return {"calibration": calibration, **measured, "model": bundle.name}


def chunks_in(window_s: float, bundle: Bundle) -> int:
    """Chunks in a window while plans follow each other in the ordinary way, the present one included."""
    return int(window_s / (bundle.chunk.execute_steps * bundle.chunk.period_s) + 1e-9) + 1


def usual_row_error(rollouts: Sequence[Rollout], alpha: float) -> float | None:
    """Error that all but a fraction ``alpha`` of all chunks' rows are expected to stay below; None without a critic."""
    errors = [minimum.row_errors for rollout in rollouts for minimum in rollout.minima]
    known = [rows for rows in errors if rows is not None]
    return float(np.quantile(np.concatenate(known), 1.0 - alpha)) if known else None


def changes(times_s: Sequence[float], chunks: Sequence[Floats], period_s: float) -> list[float | None]:
    """Of every chunk (H, D) of an episode, how far it differs from what is left of the one before; None where nothing
    is left."""
    found: list[float | None] = [None] * len(chunks)
    for place in range(1, len(chunks)):
        rows = round((times_s[place] - times_s[place - 1]) / period_s)
        found[place] = plan_change(chunks[place - 1], chunks[place], rows)
    return found


def changes_of(rollout: Rollout, period_s: float) -> list[float | None]:
    """``changes`` of an episode that was kept with its minima."""
    return changes(rollout.times_s, [minimum.chunk for minimum in rollout.minima], period_s)


def largest(values: Sequence[float | None]) -> float:
    """The largest of those that there are; 0 without any."""
    return max((value for value in values if value is not None), default=0.0)


def raw_scores(rollout: Rollout, period_s: float) -> tuple[list[float], list[float]]:
    """Times [s] and raw scores of the chunks of an episode that have one."""
    found = [
        (time_s, raw_score(minimum, change))
        for time_s, minimum, change in zip(rollout.times_s, rollout.minima, changes_of(rollout, period_s), strict=True)
    ]
    known = [(time_s, raw) for time_s, raw in found if raw is not None]
    return [time_s for time_s, _ in known], [raw for _, raw in known]


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
