r"""Does the score foresee failures, better than what needs no energy, and how often does it cry wolf?

  python -m benchmarks.foresight --model models/can --data data/can --calm out/calm.npz --tuned out/tuned.npz \
      --apart out/apart.npz --json benchmarks/results/foresight_can.json --document docs/uncertainty.md

Judges episodes that benchmarks.watch kept (retry off): calm ones (the first 60 give every score its threshold, the
others its false alarms), perturbations that the score was chosen on (``--tuned``) and those kept apart (``--apart``). A
score of an episode in a window of time is its highest value among the chunks planned then. Where the node found that
its input had gone (a frozen camera), every score is the highest, since nothing is planned any more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import on_demonstrations, watch
from benchmarks.energy_table import write_between
from benchmarks.foresight_table import table
from benchmarks.reported import reported
from benchmarks.rescore import NEIGHBOURS, Variant, familiarity
from benchmarks.watch import Watched
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.settings import RetrySettings
from ebt_policy_ros.core.uncertainty import STILL, Calibration, Window, conformal_threshold, motion
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.fast import FastCritic
from ebt_policy_ros.policy.load import load_critic, load_heads
from ebt_policy_ros.training.calibrate import changes, chunks_in
from ebt_policy_ros.training.dataset import Demonstrations, normalise
from ebt_policy_ros.training.episodes import find_bundle
from ebt_policy_ros.training.statistics import auroc_interval, wilson

Values = NDArray[np.float64]
AFTER_S = (1.0, 3.0, 5.0, np.inf)
FOR_THRESHOLDS = 60
"""Calm episodes that thresholds are taken from; the others count false alarms."""
DP_SAMPLES, BATCH = 4, 128
PATIENCE_S = RetrySettings().patience_s
"""How long doubt has to last before the ladder holds and retreats [s]."""
EMPTY_M = 0.004
"""A finger at less than this holds nothing [m]."""
BASELINES = ("Mahalanobis", f"nearest {NEIGHBOURS}", "direction reversal", "diffusion variance", "energy", "surprise")
PRODUCT = ("expected error", "unfamiliarity", "change", "stillness")
"""Logarithms whose sum is the score."""


@dataclass(eq=False)
class Judged:
    """An episode and its scores by name, one value a chunk; NaN where there is none."""

    episode: Watched
    scores: dict[str, Values]

    def worst(self, name: str, begin_s: float, end_s: float) -> float:
        """Highest value among the chunks planned from ``begin_s`` to ``end_s``; NaN when there is none, infinite when
        the input went then."""
        if any(begin_s - 1e-9 <= time_s <= end_s + 1e-9 for time_s in self.episode.blind_s):
            return float("inf")
        times_s = np.array(self.episode.times_s)
        values = self.scores[name][(times_s >= begin_s - 1e-9) & (times_s <= end_s + 1e-9)]
        values = values[np.isfinite(values)]
        return float(values.max()) if len(values) else float("nan")

    def after(self, name: str, length_s: float) -> float:
        """The worst within ``length_s`` of the disturbance."""
        begin_s = self.episode.disturbed_s or 0.0
        return self.worst(name, begin_s, begin_s + length_s)

    def delay_s(self, name: str, threshold: float, lasting_s: float = 0.0) -> float:
        """From the disturbance to the first chunk at which the score has been above the threshold for ``lasting_s``
        [s], or to the loss of the input; infinite when there is none."""
        begin_s, since_s = self.episode.disturbed_s or 0.0, None
        blind_s = min((time_s - begin_s for time_s in self.episode.blind_s if time_s >= begin_s), default=float("inf"))
        for time_s, value in zip(self.episode.times_s, self.scores[name], strict=True):
            if time_s < begin_s - 1e-9 or not value > threshold:
                since_s = None
                continue
            since_s = time_s if since_s is None else since_s
            if time_s - since_s >= lasting_s - 1e-9:
                return min(float(time_s) - begin_s, blind_s)
        return blind_s

    def alarms(self, name: str, threshold: float, lasting_s: float = 0.0, within_s: float = np.inf) -> bool:
        """Whether the score is above the threshold for so long, within a time of the disturbance (or the start)."""
        delay_s = self.delay_s(name, threshold, lasting_s)
        return bool(np.isfinite(delay_s) and delay_s <= within_s + 1e-9)

    @property
    def emptied_s(self) -> float | None:
        """From the disturbance to the hand first seen closed on nothing [s]; None: never."""
        begin_s = self.episode.disturbed_s or 0.0
        for time_s, positions in zip(self.episode.times_s, self.episode.positions, strict=True):
            if time_s > begin_s and positions[-1] < EMPTY_M:
                return time_s - begin_s
        return None


# ---- what scores are made of -------------------------------------------------------------------------------------


class Judge:
    """A bundle's critic and heads, and distances to its demonstrations, for batches of observations."""

    def __init__(self, model: Path, bundle: Bundle, shown: on_demonstrations.Shown, *, diffusion: bool) -> None:
        critic, heads = load_critic(bundle), load_heads(bundle)
        if critic is None or heads is None:
            raise EbtPolicyError(f"{model} has no critic or no score heads; run `ebt-policy calibrate --data` first")
        self.bundle, self.critic, self.heads, self.fast = bundle, critic, heads, FastCritic(critic)
        positions = normalise(shown.positions, bundle.positions)
        self.known = np.concatenate([shown.features.flatten(1).numpy(), positions], 1, dtype=np.float32)
        self.spread = _diffusion_spread(model) if diffusion else None

    @torch.inference_mode()
    def parts(self, episode: Watched) -> dict[str, Values]:
        """Everything that is known of every chunk of an episode."""
        features = torch.from_numpy(np.array(episode.features)).float()
        positions = torch.from_numpy(normalise(np.array(episode.positions), self.bundle.positions)).float()
        chunks = np.array(episode.chunks)
        distances = self.fast.distances(self.fast.observe(features, positions), torch.from_numpy(chunks).float())
        inputs = np.concatenate([features.flatten(1).numpy(), positions.numpy()], 1, dtype=np.float32)
        change = np.array(changes(episode.times_s, chunks, self.bundle.chunk.period_s), dtype=float)  # None: NaN
        found = {
            "expected error": np.log(distances.mean(1).sqrt().double().numpy()),
            "unfamiliarity": np.log(self.heads(features, positions)[:, 0].double().numpy()),
            "change": np.log(np.maximum(change, 1e-6)),
            "stillness": -np.log([motion(chunk) + STILL for chunk in chunks]),
            "energy": np.array(episode.energies, dtype=float),
            "surprise": np.array(episode.surprises, dtype=float),
            "direction reversal": _reversal(np.array(episode.positions)[:, :-1]),
            **familiarity(self.known, inputs),
        }
        if self.spread is not None:
            found["diffusion variance"] = self.spread(features, positions)
        return {name: values.astype(float) for name, values in found.items()}


def _reversal(positions: NDArray[np.float32]) -> Values:
    """(T,) 1 where the arm (T, D) turned back between the last three chunks, else 0."""
    steps = np.diff(positions, axis=0)
    turned = np.zeros(len(positions))
    turned[2:] = (steps[1:] * steps[:-1]).sum(1) < 0
    return turned


def _diffusion_spread(model: Path) -> Callable[[torch.Tensor, torch.Tensor], Values]:
    """How far four samples (DDIM, 16 steps) of the diffusion policy beside a bundle lie apart: (T,)."""
    from ebt_policy_ros.runtimes.torch_baselines import DiffusionSampler

    sampler = DiffusionSampler(find_bundle(model, "dp")[1], "cpu", sampler="ddim16", num_threads=1)

    def spread(features: torch.Tensor, positions: torch.Tensor) -> Values:
        parts = []
        for begin in range(0, len(features), BATCH):
            cache = sampler.noise.observe(features[begin : begin + BATCH], positions[begin : begin + BATCH])
            count = cache.shape[2]
            generator = torch.Generator().manual_seed(begin)
            horizon, joints = sampler.network.architecture.horizon, sampler.network.architecture.joints
            chunks = torch.randn((count * DP_SAMPLES, horizon, joints), generator=generator)
            repeated = cache.repeat_interleave(DP_SAMPLES, 2)
            for index, step in enumerate(sampler.steps):
                noise = sampler.noise.noise(repeated, chunks, sampler.noise.conditions[index])
                (chunks, *_) = sampler.scheduler.step(noise, step, chunks, return_dict=False)
            parts.append(chunks.unflatten(0, (count, DP_SAMPLES)).var(1).mean((1, 2)).sqrt())
        return torch.cat(parts).double().numpy()

    return spread


def scored(parts: Sequence[tuple[Watched, Mapping[str, Values]]], calm: int, window: Window) -> list[Judged]:
    """All scores of all episodes: the product and what is left of it without each factor, every part chunk by chunk and
    over the window; parts are centred on the first ``calm`` episodes."""
    names = list(parts[0][1])
    centres = {name: float(np.nanmean(np.concatenate([own[name] for _, own in parts[:calm]]))) for name in names}
    judged = []
    for episode, own in parts:
        centred = {name: values - centres[name] for name, values in own.items()}
        raw = {"score": sum(centred[name] for name in PRODUCT)}
        for left_out in PRODUCT:
            raw[f"score without {left_out}"] = sum(centred[name] for name in PRODUCT if name != left_out)
        found = {f"{name}, chunk by chunk": values for name, values in {"score": raw["score"], **centred}.items()}
        for name, values in {**raw, **centred}.items():
            found[name] = _over_window(np.array(episode.times_s), values, window)
        judged.append(Judged(episode, found))
    return judged


def _over_window(times_s: Values, values: Values, window: Window) -> Values:
    known = np.isfinite(values)
    over = Window(0.0, window.length_s, window.chunks).scores(times_s[known], values[known])
    found = np.full(len(values), np.nan)
    found[known] = over
    return found


# ---- what they are worth -----------------------------------------------------------------------------------------


def area(hit: Sequence[Judged], name: str, length_s: float) -> list[float] | None:
    """AUROC (with interval) of failed against succeeded episodes by their worst within ``length_s``."""
    sides: tuple[list[float], list[float]] = ([], [])
    for one in hit:
        value = one.after(name, length_s)
        if not np.isnan(value):
            sides[not one.episode.success].append(value)
    found = auroc_interval(*sides)
    return None if found is None else [*(round(value, 4) for value in found), len(sides[0]), len(sides[1])]


def at_threshold(hit: Sequence[Judged], name: str, threshold: float, lasting_s: float = 0.0) -> dict[str, Any]:
    """What an alarm (a score above the threshold for ``lasting_s``) is worth: shares of failures and survivors alarmed,
    how soon, how far ahead."""
    failed = [one for one in hit if not one.episode.success]
    passed = [one for one in hit if one.episode.success]
    result: dict[str, Any] = {"failed": len(failed), "passed": len(passed)}
    for length_s in AFTER_S:
        told = [
            np.mean([one.alarms(name, threshold, lasting_s, length_s) for one in some])
            for some in (failed, passed)
            if some
        ]
        if len(told) == 2:
            result[_label(length_s)] = {
                "failures_alarmed": round(float(told[0]), 4),
                "survivors_alarmed": round(float(told[1]), 4),
                "balanced_accuracy": round(float(told[0] + 1 - told[1]) / 2, 4),
            }
    delays = [delay for one in failed if np.isfinite(delay := one.delay_s(name, threshold, lasting_s))]
    ahead = [one.emptied_s - one.delay_s(name, threshold, lasting_s) for one in failed if one.emptied_s is not None]
    result["delay_s"] = round(float(np.median(delays)), 2) if delays else None
    result["lead_before_empty_hand"] = {
        "failures_with_empty_hand": len(ahead),
        "alarmed_before": sum(lead > 0 for lead in ahead),
        "median_lead_s": round(float(np.median([lead for lead in ahead if np.isfinite(lead)])), 2)
        if any(np.isfinite(lead) for lead in ahead)
        else None,
    }
    return result


def _label(length_s: float) -> str:
    return "episode" if np.isinf(length_s) else f"{length_s:g}s"


def verdicts(
    judged: Mapping[str, Sequence[Judged]], names: Sequence[str], alpha: float, shipped: float
) -> dict[str, Any]:
    """Areas, thresholds and alarms of all scores on all groups of episodes ('calm', 'tuned', 'apart')."""
    calm = judged["calm"]
    result: dict[str, Any] = {"scores": {}, "episodes": {}}
    groups = {name: [one for one in some if one.episode.disturbed_s is not None] for name, some in judged.items()}
    groups = {name: some for name, some in groups.items() if some and name != "calm"}
    groups["all"] = [one for some in groups.values() for one in some]
    for name, some in groups.items():
        kinds = dict.fromkeys(one.episode.kind for one in some)
        result["episodes"][name] = {
            kind: [
                sum(one.episode.success for one in some if one.episode.kind == kind),
                sum(one.episode.kind == kind for one in some),
            ]
            for kind in kinds
        }
    good = [one for one in calm if one.episode.success]
    for name in names:
        maxima = [one.worst(name, 0.0, np.inf) for one in good]
        maxima = [value for value in maxima if np.isfinite(value)]
        threshold = conformal_threshold(maxima[:FOR_THRESHOLDS], alpha)
        false = sum(value > threshold for value in maxima[FOR_THRESHOLDS:])
        own: dict[str, Any] = {
            "threshold": round(threshold, 4),
            "false_alarms": [false, len(maxima[FOR_THRESHOLDS:])],
        }
        for group, some in groups.items():
            own[group] = {
                "fails": {_label(length_s): area(some, name, length_s) for length_s in AFTER_S},
                "kinds": {
                    kind: area([one for one in some if one.episode.kind == kind], name, 3.0)
                    for kind in result["episodes"][group]
                },
                "alarms": at_threshold(some, name, threshold),
            }
        result["scores"][name] = own
    result["shipped"] = {"threshold": shipped, "alpha": alpha}
    for label, lasting_s in (("alarm", 0.0), ("lasting", PATIENCE_S)):
        false = sum(one.alarms("score", shipped, lasting_s) for one in calm)
        result["shipped"][label] = {
            "lasting_s": lasting_s,
            "false_alarms": [false, len(calm), *(round(value, 3) for value in wilson(false, len(calm)))],
            **{group: at_threshold(some, "score", shipped, lasting_s) for group, some in groups.items()},
        }
    return result


# ---- command line --------------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Judges everything; the result for the JSON file."""
    directory, bundle = find_bundle(options.model)
    if bundle.calibration is None:
        raise EbtPolicyError(f"{directory} is not calibrated; run `ebt-policy calibrate --model {directory}` first")
    calibration = Calibration.from_mapping(bundle.calibration)
    judge = Judge(directory, bundle, _shown(options, directory), diffusion=not options.without_diffusion)
    files = {"calm": [options.calm], "tuned": options.tuned, "apart": options.apart}
    episodes = {group: [one for path in paths for one in watch.load(path)] for group, paths in files.items()}
    for group in ("tuned", "apart"):
        episodes[group] = [one for one in episodes[group] if not options.kinds or one.kind in options.kinds.split(",")]
    flat = [one for some in episodes.values() for one in some]
    window = Window(0.0, calibration.window_s, chunks_in(calibration.window_s, bundle))
    everything = scored([(one, judge.parts(one)) for one in flat], len(episodes["calm"]), window)
    found, begin = {}, 0
    for group, some in episodes.items():
        found[group] = everything[begin : begin + len(some)]
        begin += len(some)
    chunked = [f"{name}, chunk by chunk" for name in ("score", "Mahalanobis", f"nearest {NEIGHBOURS}")]
    names = ["score", *(f"score without {name}" for name in PRODUCT), *PRODUCT, *BASELINES, *chunked]
    names = [name for name in names if name in everything[0].scores]
    return {
        "task": options.task or bundle.name,
        "policy_sha256": bundle.policy_sha256,
        "window_s": calibration.window_s,
        **verdicts(found, names, calibration.alpha, calibration.threshold),
        "versions": versions(),
    }


def _shown(options: argparse.Namespace, directory: Path) -> on_demonstrations.Shown:
    variant = Variant("policy", directory)
    kept = on_demonstrations.load(options.shown, variant.encoder) if options.shown is not None else None
    if kept is not None:
        return kept
    if options.data is None:
        raise EbtPolicyError("--data: expected the demonstrations, for distances to them (or --shown with a kept file)")
    shown = on_demonstrations.sample(Demonstrations.load(options.data), variant, options.rows, 50_000)
    if options.shown is not None:
        on_demonstrations.save(options.shown, variant.encoder, shown)
    return shown


@reported("foresight")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foresight", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="the bundle that played and is judged")
    parser.add_argument("--task", help="name for markers (default: the bundle's)")
    parser.add_argument("--data", help="its demonstrations")
    parser.add_argument("--shown", type=Path, help="keep encoded demonstrations in this .npz, or take them from it")
    parser.add_argument("--rows", type=int, default=3000, help="rows of the demonstrations to compare with")
    parser.add_argument("--calm", type=Path, required=True, help="undisturbed episodes, of benchmarks.watch")
    parser.add_argument("--tuned", type=Path, nargs="*", default=[], help="perturbed ones that the score was chosen on")
    parser.add_argument("--apart", type=Path, nargs="*", default=[], help="perturbed ones kept apart")
    parser.add_argument("--kinds", help="only these, comma separated")
    parser.add_argument("--without-diffusion", action="store_true", help="leave the diffusion policy's variance out")
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    parser.add_argument("--document", type=Path, help="Markdown file for the tables, between its markers")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result = measure(options)
    write_json(options.json, result)
    if options.document is not None:
        write_between(options.document, f"foresight {result['task']}", table(result))
    else:
        print(table(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
