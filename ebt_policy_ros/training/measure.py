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
from ebt_policy_ros.core.uncertainty import Calibration, Window, motion
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.calibrate import changes, raw_scores
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


def scores_of(rollout: Rollout, window: Window, period_s: float) -> dict[str, NDArray[np.float64]]:
    """(T,) windowed scores of an episode's chunks, and what they are made of chunk by chunk, for comparison."""
    minima = rollout.minima
    times_s, raw = raw_scores(rollout, period_s)
    score = dict(zip(times_s, window.scores(times_s, raw), strict=True))
    parts = {
        "score": np.array([score.get(time_s, 0.0) for time_s in rollout.times_s]),
        "energy": np.array([minimum.energy for minimum in minima]),
        "stillness": -np.array([motion(minimum.chunk) for minimum in minima]),
        "change": np.array([0.0 if change is None else change for change in changes(rollout, period_s)]),
    }
    for term in minima[0].terms if minima else ():
        parts[term] = np.array([minimum.terms[term] for minimum in minima])
    return parts


Judged = tuple[Rollout, dict[str, NDArray[np.float64]]]
"""An episode and its scores."""


def worst(judged: Judged, begin_s: float, end_s: float) -> dict[str, float]:
    """Highest value of every part among the chunks planned in that time; empty when there was none."""
    rollout, parts = judged
    times_s = np.asarray(rollout.times_s)
    inside = (times_s >= begin_s) & (times_s <= end_s)
    return {name: float(part[inside].max()) for name, part in parts.items()} if inside.any() else {}


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
    calibration = Calibration.from_mapping(bundle.calibration)

    def judged(rollouts: Sequence[Rollout]) -> list[Judged]:
        return [(one, scores_of(one, calibration.window, bundle.chunk.period_s)) for one in rollouts]

    def alarms(one: Judged) -> bool:
        return bool((one[1]["score"] > calibration.threshold).any())

    quiet = judged(run_episodes(model_dir, range(seed, seed + calm), task=bundle.name))
    hit = judged(
        run_episodes(model_dir, range(seed + 5000, seed + 5000 + disturbed), task=bundle.name, perturb=perturb)
    )
    hit = [one for one in hit if one[0].disturbed_s is not None]
    failed, passed = ([one for one in hit if one[0].success is success] for success in (False, True))
    result: dict[str, Any] = {
        "calm": {
            "episodes": calm,
            "successes": sum(rollout.success for rollout, _ in quiet),
            "false_alarms": sum(alarms(one) for one in quiet if one[0].success),
        },
        perturb: {
            "episodes": len(hit),
            "successes": len(passed),
            "failures_with_alarm": sum(alarms(one) for one in failed),
            "successes_with_alarm": sum(alarms(one) for one in passed),
        },
        "threshold": calibration.threshold,
        "fails": {},
        "disturbed": {},
    }
    typical_s = float(np.median([one[0].disturbed_s or 0.0 for one in hit])) if hit else 0.0
    for name in quiet[0][1]:
        for length_s in (1.0, 3.0):
            result["fails"][f"{name}_{length_s:.0f}s"] = auroc(
                _worst_after(passed, name, length_s), _worst_after(failed, name, length_s)
            )
        at_rest = [values[name] for one in quiet if (values := worst(one, typical_s, typical_s + 1.0))]
        result["disturbed"][name] = auroc(at_rest, _worst_after(hit, name, 1.0))
    return result


def _worst_after(judged: Sequence[Judged], name: str, length_s: float) -> list[float]:
    begins_s = [one[0].disturbed_s or 0.0 for one in judged]
    after = [worst(one, begin_s, begin_s + length_s) for one, begin_s in zip(judged, begins_s, strict=True)]
    return [values[name] for values in after if values]


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
