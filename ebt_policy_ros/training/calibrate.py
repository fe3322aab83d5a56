"""Split conformal calibration of a bundle's uncertainty score on closed-loop episodes that nothing was fitted on."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.uncertainty import Calibration, raw_score, score_name
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.rollout import run_episodes


def calibrate(
    model_dir: str | Path,
    *,
    task: str | None = None,
    episodes: int = 100,
    seed: int = 20_000,
    alpha: float = 0.05,
    processes: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure the threshold and write it to ``policy.json``; returns the calibration and what it was measured on.

    One sample per successful undisturbed episode (seeds ``seed`` .. ``seed + episodes - 1``, retry off): its highest
    raw score. A new good episode then raises a false alarm with probability ``alpha``. Raises SettingsError when too
    few episodes succeeded for ``alpha``.
    """
    bundle = Bundle.load(model_dir)
    seeds = range(seed, seed + episodes)
    rollouts = run_episodes(model_dir, seeds, task=task or bundle.name, processes=processes, progress=progress)
    good = [rollout for rollout in rollouts if rollout.success and rollout.minima]
    if not good:
        raise EbtPolicyError(f"none of {episodes} episodes succeeded: there is nothing to calibrate on")
    scores = [max(raw_score(minimum) for minimum in rollout.minima) for rollout in good]
    name = score_name(good[0].minima[0].terms)
    calibration = Calibration.from_scores(scores, alpha, score=name, weights_sha256=bundle.weights_sha256).to_mapping()
    measured = {"episodes": episodes, "successes": len(good), "first_seed": seed}
    provenance = {**bundle.provenance, "calibration": measured}
    replace(bundle, calibration=calibration, provenance=provenance).save(model_dir)
    return {"calibration": calibration, **measured, "model": bundle.name}


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
