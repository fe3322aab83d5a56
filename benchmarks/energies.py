r"""Which training makes energies tell of trouble? One policy plays; every variant judges what was seen.

  python -m benchmarks.energies --task can --policy models/can --data data/can \
      --variants a0=out/can_a0 a1=out/can_a1 --dp models/can/dp --episodes 60 --faults 12 --seed 50000 \
      --json benchmarks/results/energies_can.json --images docs/images --document docs/energies.md

Played once: calm episodes (for heads, thresholds and tests apart), and perturbations of scene, cameras and joints
(``SCENE`` and ``SENSES``; docs/perturbations.md), retry off. Judged at the same pictures: energies of every variant
and what is made of them, ensembles of variants, and distances that need no energy. docs/energies.md says what came of
it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import on_demonstrations
from benchmarks.energy_figures import draw
from benchmarks.energy_table import table, write_between
from benchmarks.on_demonstrations import Shown, energy_against_distance, mode_separation, spread_of_ways
from benchmarks.played import CALM, Played, load, play, save
from benchmarks.reported import reported
from benchmarks.rescore import (
    Judge,
    Scores,
    Seen,
    Variant,
    disagreement,
    encode,
    familiarity,
    plan_change,
    rests_of,
    scores,
    unnormalise,
)
from benchmarks.verdicts import Scored, judged
from ebt_policy_ros.cli.results import versions
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import NormalisedObservation
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.dataset import Demonstrations, normalise
from ebt_policy_ros.training.episodes import find_bundle
from ebt_policy_ros.training.fit_heads import Familiar, fit, joined

NO_VARIANT = "no energy"
HEAD_EPISODES, THRESHOLD_EPISODES = 24, 60
DP_SAMPLES = 8
SCENE, SENSES = ("teleport", "slip"), ("black", "frozen", "shifted", "tinted", "biased")
"""Kinds of perturbation that are played."""


@reported("energies")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    if not options.variants:
        _play_only(options)
        return 0
    result = measure(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if options.images is not None:
        draw(result, options.images)
    if options.document is not None:
        write_between(options.document, f"energies {options.task}", table(result))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.energies", description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", required=True)
    parser.add_argument("--policy", required=True, help="the bundle that plays")
    parser.add_argument("--data", required=True, help="its demonstrations")
    parser.add_argument("--variants", nargs="+", metavar="NAME=BUNDLE", help="the bundles that judge; none: only play")
    parser.add_argument("--members", nargs="+", default=[], metavar="NAME=BUNDLE", help="bundles for ensembles only")
    parser.add_argument("--critics", nargs="+", default=[], metavar="NAME=BUNDLE", help="critics that judge the plans")
    parser.add_argument("--dp", help="a diffusion bundle, for the spread of its samples (DDIM, 16 steps)")
    parser.add_argument("--episodes", type=int, default=60, help="calm ones, and of every perturbation of the scene")
    parser.add_argument("--faults", type=int, default=12, help="episodes of every perturbation of the senses")
    parser.add_argument("--head-episodes", type=int, default=HEAD_EPISODES, help="calm ones that heads are fitted on")
    parser.add_argument("--threshold-episodes", type=int, default=THRESHOLD_EPISODES, help="calm ones for thresholds")
    parser.add_argument("--rows", type=int, default=3000, help="rows of the demonstrations to compare with")
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--processes", type=int, help="episodes in parallel (default: one a core)")
    parser.add_argument("--time-limit", type=float, help="longest episode [simulated s] (default: the task's)")
    parser.add_argument("--played", type=Path, help="keep the episodes in this .npz, or take them from it")
    parser.add_argument("--scores", type=Path, help="keep every chunk's scores in this .npz")
    parser.add_argument("--shown", type=Path, help="keep the encoded demonstrations in this .npz, or take them from it")
    parser.add_argument("--json", type=Path, required=True, help="where the result goes")
    parser.add_argument("--images", type=Path, help="folder for the plots")
    parser.add_argument("--document", type=Path, help="Markdown file for the table, between its markers")
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Play, judge and compare; the result for the JSON file."""
    directory, policy = find_bundle(options.policy)
    variants = [_variant(text) for text in options.variants]
    members = [_variant(text) for text in options.members]
    shown = _shown([*variants, *members], options)
    episodes = _episodes(options, directory, policy)
    _say(f"{len(episodes)} episodes, {sum(len(one.times_s) for one in episodes)} chunks")
    critics = [Judge(*_named(text, "critics")) for text in options.critics]
    scored = judge(policy, variants, members, critics, shown, episodes, options)
    return {
        "task": options.task,
        "policy": {"success": _success(episodes), "sha256": policy.policy_sha256, **_about(policy)},
        "variants": {v.name: {"alpha": v.alpha, **_about(v.bundle)} for v in (*variants, *members)},
        **judged(scored),
        "distance": {
            **{v.name: energy_against_distance(v, shown[v.encoder]) for v in variants},
            **{c.name: energy_against_distance(variants[0], shown[c.encoder], c) for c in critics},
        },
        "modes": {
            "expert": spread_of_ways(variants[0], shown[variants[0].encoder]),
            **{v.name: mode_separation(v, shown[v.encoder]) for v in variants},
        },
        "seed": options.seed,
        "versions": versions(),
    }


def _shown(variants: Sequence[Variant], options: argparse.Namespace) -> dict[str, Shown]:
    """Rows of the demonstrations as every encoder sees them; the first encoder's are kept in ``--shown``."""
    found: dict[str, Shown] = {}
    data: Demonstrations | None = None
    for variant in variants:
        if variant.encoder in found:
            continue
        kept = on_demonstrations.load(options.shown, variant.encoder) if options.shown is not None else None
        if kept is None:
            data = data or Demonstrations.load(options.data)
            kept = on_demonstrations.sample(data, variant, options.rows, options.seed)
            if options.shown is not None and not options.shown.exists():
                on_demonstrations.save(options.shown, variant.encoder, kept)
        found[variant.encoder] = kept
    return found


def _variant(text: str) -> Variant:
    return Variant(*_named(text, "variants"))


def _named(text: str, option: str) -> tuple[str, Path]:
    name, separator, directory = text.partition("=")
    if not separator:
        raise EbtPolicyError(f"--{option} {text}: expected NAME=BUNDLE, such as a1=out/can_a1")
    return name, find_bundle(directory)[0]


def _about(bundle: Bundle) -> dict[str, Any]:
    training = bundle.provenance.get("training", {})
    kept = ("anchor", "seed", "starts", "start_choices", "descent_steps", "random_descent_steps")
    return {
        "training": {key: training[key] for key in kept if key in training},
        "gradient_steps": bundle.provenance.get("gradient_steps"),
    }


def _success(episodes: Sequence[Played]) -> list[int]:
    calm = [one for one in episodes if one.kind == CALM]
    return [sum(one.success for one in calm), len(calm)]


# ---- the episodes ----------------------------------------------------------------------------------------------


def wanted_episodes(options: argparse.Namespace) -> list[Played]:
    """What to play: seeds of heads, thresholds and tests do not overlap; kinds share the test seeds."""
    calm = [
        *(Played(CALM, options.seed + i, "heads") for i in range(options.head_episodes)),
        *(Played(CALM, options.seed + 1000 + i, "threshold") for i in range(options.threshold_episodes)),
    ]
    counts = dict.fromkeys((CALM, *SCENE), options.episodes) | dict.fromkeys(SENSES, options.faults)
    return calm + [Played(kind, options.seed + 2000 + i) for kind, count in counts.items() for i in range(count)]


def _play_only(options: argparse.Namespace) -> None:
    if options.played is None:
        raise EbtPolicyError("without --variants there is nothing to judge; name --played FILE to keep the episodes")
    _episodes(options, *find_bundle(options.policy))


def _episodes(options: argparse.Namespace, directory: Path, policy: Bundle) -> list[Played]:
    if options.played is not None and options.played.exists():
        return load(options.played, policy.policy_sha256)
    wanted = wanted_episodes(options)
    episodes = play(directory, options.task, wanted, processes=options.processes, time_limit_s=options.time_limit)
    episodes = [one for one in episodes if one.times_s]
    if options.played is not None:
        save(options.played, policy.policy_sha256, episodes)
    return episodes


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


# ---- the judgement ---------------------------------------------------------------------------------------------


def judge(
    policy: Bundle,
    variants: Sequence[Variant],
    members: Sequence[Variant],
    critics: Sequence[Judge],
    shown: Mapping[str, Shown],
    episodes: Sequence[Played],
    options: argparse.Namespace,
) -> list[Scored]:
    """All scores of all episodes, named '<variant>: <score>'; ``members`` appear in ensembles alone."""
    rests, rows = zip(*(rests_of(one.times_s, one.chunks, policy.chunk.period_s) for one in episodes), strict=True)
    planned = np.concatenate([np.asarray(one.chunks) for one in episodes])
    positions = np.concatenate([np.asarray(one.positions) for one in episodes])
    cameras = [np.concatenate([np.asarray(one.images[c.name]) for one in episodes]) for c in policy.cameras]
    everyone = [*variants, *members]
    per_encoder = {variant.encoder: variant for variant in everyone}
    seen = {}
    for encoder, variant in per_encoder.items():
        features = encode(variant, cameras)
        seen[encoder] = Seen(
            features,
            positions,
            unnormalise(planned, policy.actions).astype(float),
            unnormalise(np.concatenate(rests), policy.actions).astype(float),
        )
    owner = np.repeat(np.arange(len(episodes)), [len(one.times_s) for one in episodes])
    found: Scores = {}
    by_variant = {}
    for variant in everyone:
        _say(f"{variant.name}: heads and scores")
        variant.heads = variant.heads or _heads(
            variant, shown[variant.encoder], seen[variant.encoder], episodes, owner, options
        )
        by_variant[variant.name] = scores(variant, seen[variant.encoder])
        if variant in variants:
            found |= {f"{variant.name}: {name}": values for name, values in by_variant[variant.name][0].items()}
    for group in _ensembles(everyone):
        label = "+".join(member.name for member in group)
        found |= {f"{label}: {name}": values for name, values in disagreement(group, by_variant).items()}
    first = variants[0]
    for critic in critics:
        judged = critic.scores(seen[critic.encoder])
        found |= {f"{critic.name}: {name}": values for name, values in judged.items()}
    own = seen[first.encoder]
    known = _inputs(first, shown[first.encoder].features, shown[first.encoder].positions)
    plain = familiarity(known, _inputs(first, own.features, own.positions))
    plain["plan change"] = plan_change(own, policy.actions, np.concatenate(rows))
    if options.dp is not None:
        plain["spread of diffusion"] = _spread_of_diffusion(options.dp, cameras, positions)
    found |= {f"{NO_VARIANT}: {name}": values for name, values in plain.items()}
    if options.scores is not None:
        _keep(options.scores, episodes, owner, found)
    return [
        Scored(one, {name: values[owner == place] for name, values in found.items()})
        for place, one in enumerate(episodes)
    ]


def _keep(path: Path, episodes: Sequence[Played], owner: NDArray[np.int64], found: Scores) -> None:
    """Every chunk's scores, and what is needed to compare them, in one .npz."""
    about = {
        "kind": [one.kind for one in episodes],
        "purpose": [one.purpose for one in episodes],
        "seed": [one.seed for one in episodes],
        "success": [one.success for one in episodes],
        "disturbed_s": [np.nan if one.disturbed_s is None else one.disturbed_s for one in episodes],
        "duration_s": [one.duration_s for one in episodes],
    }
    arrays = {f"episode {name}": np.array(values) for name, values in about.items()}
    times = np.concatenate([one.times_s for one in episodes])
    np.savez(path, owner=owner, time_s=times, **arrays, **{f"score {name}": v for name, v in found.items()})


def _ensembles(variants: Sequence[Variant]) -> list[tuple[Variant, ...]]:
    """Variants that differ in nothing but their training seed; pairs of different ones where there are no such."""
    groups: dict[float, list[Variant]] = {}
    for variant in variants:
        groups.setdefault(variant.anchor, []).append(variant)
    same = [tuple(group) for group in groups.values() if len(group) > 1]
    return same or list(itertools.combinations(variants, 2))


def _inputs(variant: Variant, features: Tensor, positions: NDArray[Any]) -> NDArray[np.float32]:
    """(N, cameras * F + D): what familiarity is judged by, as the heads see it."""
    return np.concatenate(
        [features.flatten(1).numpy(), normalise(positions, variant.bundle.positions)], 1, dtype=np.float32
    )


def _heads(
    variant: Variant,
    shown: Shown,
    seen: Seen,
    episodes: Sequence[Played],
    owner: NDArray[np.int64],
    options: argparse.Namespace,
) -> Any:
    """Heads fitted as ``training.fit_heads`` does: on demonstrations and on successful calm episodes of their own."""
    good = [place for place, one in enumerate(episodes) if one.purpose == "heads" and one.success]
    parts = [_familiar(variant, shown.features, shown.positions, shown.episodes % 5 == 0)]
    rows = np.flatnonzero(np.isin(owner, good))
    if len(rows):
        is_second = np.searchsorted(good, owner[rows]) % 2 == 1
        parts.append(_familiar(variant, seen.features[torch.from_numpy(rows)], seen.positions[rows], is_second))
    return fit(joined(parts))


def _familiar(variant: Variant, features: Tensor, positions: NDArray[Any], for_unit: NDArray[np.bool_]) -> Familiar:
    inputs = torch.from_numpy(normalise(positions, variant.bundle.positions))
    return Familiar(features, inputs, torch.from_numpy(for_unit))


def _spread_of_diffusion(
    model: str, cameras: Sequence[NDArray[np.uint8]], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) how far eight samples of a diffusion policy lie apart."""
    from ebt_policy_ros.runtimes.torch_baselines import DiffusionSampler

    bundle = find_bundle(model, "dp")[1]
    sampler = DiffusionSampler(bundle, "cpu", sampler="ddim16", num_threads=1)
    inputs = normalise(positions, bundle.positions)
    spreads = []
    for place, at in enumerate(inputs):
        images = {spec.name: camera[place] for spec, camera in zip(bundle.cameras, cameras, strict=True)}
        observation = NormalisedObservation(images, at.astype(float))
        spreads.append(sampler.minimise(observation, steps=1, starts=DP_SAMPLES, seed=place).spread)
    return np.array(spreads)


if __name__ == "__main__":
    raise SystemExit(main())
