"""The commands that make a bundle again, as far as its provenance remembers them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.settings import TrainSettings

TRAIN = "python -m ebt_policy_ros.training.train"
_LEFT_OUT = ("data", "out", "encoder", "policy", "method", "encoder_steps", "encoder_share", "device", "threads")
"""Settings that the commands give themselves, or that are without effect in them."""


def repeat(bundle: Bundle, baselines: Mapping[str, Bundle], task: str, evaluations: Sequence[str]) -> str:
    """Data, encoders, policy, choice, calibration and evaluation as commands."""
    data, out = f"data/{task}", f"out/{task}"
    commands = [*_data(bundle, task, data), *_encoder(bundle, data, out), *_policy(bundle, data, out)]
    for method, baseline in baselines.items():
        commands += _policy(baseline, data, f"{out}/{method}", f"{out}/encoder")
    lines = [f"    {command}" for command in [*commands, *evaluations]]
    notes = [
        "The shorter way with today's defaults: "
        f"`ebt-policy train --task {task} --out {out}`. Settings are all in `policy.json`."
    ]
    unknown = sorted(set(bundle.provenance.get("training", {})) - {field.name for field in _fields()})
    if unknown:
        notes.append(
            f"Trained by an earlier version, whose settings {', '.join(f'`{name}`' for name in unknown)} are gone: the "
            "commands come as near as they can."
        )
    return "\n".join(lines) + "\n\n" + " ".join(notes)


def _fields() -> tuple[Any, ...]:
    return dataclasses.fields(TrainSettings)


def _data(bundle: Bundle, task: str, data: str) -> Iterator[str]:
    from ebt_policy_ros.sim.tasks import TASKS

    notes = bundle.provenance.get("data", {})
    if task in TASKS and notes:
        episodes = int(notes["episodes"]) + int(notes.get("held_out_episodes", 0))
        yield f"ebt-policy collect --task {task} --episodes {episodes} --out {data}"


def _encoder(bundle: Bundle, data: str, out: str) -> Iterator[str]:
    encoder = bundle.provenance.get("encoder")
    if encoder:
        options = _options(encoder.get("training", {}))
        yield " ".join([TRAIN, "--method encoder", f"--data {data} --out {out}/encoder", *options])


def _policy(bundle: Bundle, data: str, out: str, encoder: str | None = None) -> Iterator[str]:
    notes = bundle.provenance
    source = f"--encoder {encoder or out + '/encoder'}" if notes.get("encoder") else "--encoder-steps 0"
    options = _options(notes.get("training", {}))
    yield " ".join([TRAIN, f"--method {bundle.method}", f"--data {data} --out {out}", source, *options])
    selection, critic, heads, basis = (notes.get(name) for name in ("selection", "critic", "heads", "calibration"))
    if selection:
        sampler = f" --sampler {selection['sampler']}" if selection.get("sampler") else ""
        yield f"ebt-policy select {out} --episodes {selection['episodes']} --seed {selection['first_seed']}{sampler}"
    if critic:
        chosen = f"--encoder {encoder or out + '/encoder'} --steps {critic['gradient_steps']}"
        yield f"python -m ebt_policy_ros.training.fit_critic --model {out} --data {data} {chosen}"
    if heads:
        chosen = f"--episodes {heads['episodes']} --seed {heads['seed']}"
        yield f"python -m ebt_policy_ros.training.fit_heads --model {out} --data {data} {chosen}"
    if basis and bundle.calibration is not None:
        chosen = f"--episodes {basis['episodes']} --seed {basis['first_seed']} --alpha {bundle.calibration['alpha']:g}"
        yield f"ebt-policy calibrate --model {out} {chosen}"


def _options(training: Mapping[str, Any]) -> list[str]:
    """What differs from the defaults, as options of the training module."""
    options = []
    for field in _fields():
        value = training.get(field.name, field.default)
        if field.name in _LEFT_OUT or value == field.default or value is None:
            continue
        name = field.name.replace("_", "-")
        options.append(f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name} {value}")
    return options
