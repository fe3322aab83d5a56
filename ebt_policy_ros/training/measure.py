"""Measures a calibrated score where it matters: false alarms on fresh calm episodes, alarms before failures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Minimum
from ebt_policy_ros.core.uncertainty import doubt, raw_score
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.rollout import Rollout, run_episodes


def auroc(negatives: Sequence[float], positives: Sequence[float]) -> float | None:
    """Probability that a positive scores above a negative (ties count half); None where either is empty."""
    if not len(negatives) or not len(positives):
        return None
    return float(_wins(negatives, positives).mean())


def auroc_interval(
    negatives: Sequence[float], positives: Sequence[float], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float] | None:
    """``auroc`` with its bootstrapped 95 % interval (value, low, high); None where fewer than two are on either side.

    Episodes are drawn again with replacement, positives and negatives apart. The same seed draws the same episodes, so
    that scores of the same episodes move together.
    """
    if len(negatives) < 2 or len(positives) < 2:
        return None
    wins, rng = _wins(negatives, positives), np.random.default_rng(seed)
    drawn = [rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count for count in wins.shape]
    areas = np.einsum("rn,rn->r", drawn[0] @ wins, drawn[1])
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(wins.mean()), float(low), float(high)


def _wins(negatives: Sequence[float], positives: Sequence[float]) -> NDArray[np.float64]:
    """(N, P): 1 where the positive scores higher, 0.5 where they tie."""
    low, high = np.array(negatives, dtype=float)[:, None], np.array(positives, dtype=float)[None, :]
    return np.asarray((high > low) + 0.5 * (high == low))


def scores_of(minimum: Minimum) -> dict[str, float]:
    """The raw score and its parts, for comparison."""
    terms, parts = minimum.terms, {"score": raw_score(minimum), "energy": minimum.energy}
    if "expected_error" in terms and "usual_error" in terms:
        parts["doubt"] = doubt(minimum)
    if "unfamiliarity" in terms:
        parts["unfamiliarity"] = terms["unfamiliarity"]
    return parts


def worst(rollout: Rollout, begin_s: float, end_s: float) -> dict[str, float]:
    """Highest value of every part among the chunks planned in that time; empty when there was none."""
    chosen = [m for t, m in zip(rollout.times_s, rollout.minima, strict=True) if begin_s <= t <= end_s]
    parts = [scores_of(minimum) for minimum in chosen]
    return {name: max(part[name] for part in parts) for name in parts[0]} if parts else {}


def measure(
    model_dir: str | Path, *, calm: int = 50, disturbed: int = 60, seed: int = 40_000, perturb: str = "teleport"
) -> dict[str, Any]:
    """Success, false alarms and areas under the curve of a calibrated bundle, with retry off.

    ``fails``: failed against succeeded disturbed episodes, by the worst score within 1 s and 3 s of the disturbance.
    ``disturbed``: disturbed episodes within 1 s against the same time of calm ones.
    """
    bundle = Bundle.load(model_dir)
    if bundle.calibration is None:
        raise EbtPolicyError(f"{model_dir} is not calibrated; run `ebt-policy calibrate --model {model_dir}` first")
    threshold = float(bundle.calibration["threshold"])
    quiet = run_episodes(model_dir, range(seed, seed + calm), task=bundle.name)
    hit = run_episodes(model_dir, range(seed + 5000, seed + 5000 + disturbed), task=bundle.name, perturb=perturb)
    hit = [rollout for rollout in hit if rollout.disturbed_s is not None]
    alarms = [max(raw_score(m) for m in rollout.minima) > threshold for rollout in quiet if rollout.success]
    result: dict[str, Any] = {
        "calm": {"episodes": calm, "successes": sum(r.success for r in quiet), "false_alarms": sum(alarms)},
        perturb: {"episodes": len(hit), "successes": sum(r.success for r in hit)},
        "threshold": threshold,
        "fails": {},
        "disturbed": {},
    }
    typical_s = float(np.median([r.disturbed_s for r in hit if r.disturbed_s is not None])) if hit else 0.0
    for name in scores_of(quiet[0].minima[0]):
        for window_s in (1.0, 3.0):
            after = [(r, worst(r, r.disturbed_s or 0.0, (r.disturbed_s or 0.0) + window_s)) for r in hit]
            failed = [w[name] for r, w in after if w and not r.success]
            passed = [w[name] for r, w in after if w and r.success]
            result["fails"][f"{name}_{window_s:.0f}s"] = auroc(passed, failed)
        calm_worst = [w[name] for r in quiet if (w := worst(r, typical_s, typical_s + 1.0))]
        hit_worst = [w[name] for r in hit if (w := worst(r, r.disturbed_s or 0.0, (r.disturbed_s or 0.0) + 1.0))]
        result["disturbed"][name] = auroc(calm_worst, hit_worst)
    alarmed = [any(raw_score(m) > threshold for t, m in zip(r.times_s, r.minima, strict=True)) for r in hit]
    failures = [a for a, r in zip(alarmed, hit, strict=True) if not r.success]
    result[perturb]["failures_with_alarm"] = sum(failures)
    result[perturb]["successes_with_alarm"] = sum(alarmed) - sum(failures)
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ebt_policy_ros.training.measure", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--calm", type=int, default=50)
    parser.add_argument("--disturbed", type=int, default=60)
    parser.add_argument("--seed", type=int, default=40_000)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        result = measure(options.model, calm=options.calm, disturbed=options.disturbed, seed=options.seed)
    except EbtPolicyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
