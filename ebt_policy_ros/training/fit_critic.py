"""Trains a critic of a finished policy and puts it into the bundle; the policy itself is untouched."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.policy.bundle import JUDGES, Bundle
from ebt_policy_ros.policy.critic import CRITIC_PREFIX
from ebt_policy_ros.policy.load import NETWORK_PREFIX
from ebt_policy_ros.training.settings import TrainSettings
from ebt_policy_ros.training.train import train


def fit_critic(
    model_dir: str | Path,
    data_dir: str | Path,
    *,
    work_dir: str | Path | None = None,
    encoder: str | Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> Bundle:
    """Train the critic of the bundle in ``model_dir`` on the demonstrations, and save it there.

    Checkpoint and curve go to a folder in ``work_dir`` (``model_dir``/critic if None); an interrupted training
    goes on there.
    ``encoder``: folder in which the policy's encoders have left the features of these demonstrations. Drops score
    heads and calibration: run fit_heads and calibrate next. Raises what ``training.train`` raises.
    """
    policy = Bundle.load(model_dir)
    # A folder for each policy: a checkpoint must not go on as the critic of another one.
    out = Path(work_dir or Path(model_dir) / "critic") / policy.policy_sha256[:12]
    settings = TrainSettings(
        data=str(data_dir),
        out=str(out),
        method="critic",
        policy=str(model_dir),
        encoder=None if encoder is None else str(encoder),
        steps=steps,
        seed=seed,
        snapshots=1,
        horizon=policy.chunk.horizon,
        execute_steps=policy.chunk.execute_steps,
    )
    critic = train(settings, report)
    assert critic is not None  # only an encoder's training has no bundle
    return with_critic(policy, critic).save(model_dir)


def with_critic(bundle: Bundle, critic: Bundle) -> Bundle:
    """The policy with this critic, a bundle of its own until now. Score heads, which know another critic's usual
    errors, and a calibration, which belonged to other weights, are dropped."""
    own = {name: tensor for name, tensor in bundle.tensors.items() if not name.startswith(JUDGES)}
    judge = {
        f"{CRITIC_PREFIX}{name.removeprefix(NETWORK_PREFIX)}": tensor
        for name, tensor in critic.tensors.items()
        if not name.startswith(f"{NETWORK_PREFIX}encoders.")
    }
    kept = ("training", "gradient_steps", "training_s", "training_cpu_s", "device", "validation")
    about = {key: critic.provenance[key] for key in kept}
    provenance = {**bundle.provenance, "critic": about}
    return replace(bundle, tensors={**own, **judge}, provenance=provenance, calibration=None).with_hash()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ebt_policy_ros.training.fit_critic", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--encoder", help="folder of the policy's encoders, which keeps the features of these data")
    parser.add_argument("--work-dir", help="default: MODEL/critic")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        fit_critic(
            options.model,
            options.data,
            work_dir=options.work_dir,
            encoder=options.encoder,
            steps=options.steps,
            seed=options.seed,
        )
    except EbtPolicyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
