"""Model cards: what the bundle and the results say is in them, and nothing that they do not say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from nodes.tiny_bundle import make_tiny_bundle

from benchmarks import cards
from benchmarks.matrix import HERE, Matrix
from benchmarks.table import measured
from ebt_policy_ros.policy.bundle import Bundle

DATA = {"task": "can", "episodes": 27, "held_out_episodes": 3, "rows": 4321, "kind": "rosbag2", "sha256": "f00d"}
ENCODER = {
    "training": {"method": "encoder", "steps": 2800, "batch": 64},
    "gradient_steps": 2800,
    "training_cpu_s": 816.4,
    "data": DATA,
}
NOTES = {
    "data": DATA,
    "training": {"method": "ebt", "steps": 2500, "batch": 32, "seed": 0, "shards": 1, "detach": False, "snapshots": 5},
    "gradient_steps": 2000,
    "training_cpu_s": 604.3,
    "encoder": ENCODER,
    "device": "cpu",
    "torch": "9.9",
    "critic": {"training": {"method": "critic", "batch": 64, "learning_rate": 0.002}, "gradient_steps": 900},
    "heads": {"rows": 812, "episodes": 40, "seed": 30000},
    "calibration": {"episodes": 60, "successes": 58, "first_seed": 20000},
    "selection": {
        "task": "can",
        "first_seed": 6000,
        "episodes": 30,
        "sampler": None,
        "chosen_gradient_steps": 2000,
        "scores": [
            {"gradient_steps": 2000, "episodes": 30, "successes": 29},
            {"gradient_steps": 2500, "episodes": 15, "successes": 13},
        ],
    },
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """models/can, calibrated, with a diffusion policy of other weights beside it."""
    directory = make_tiny_bundle(tmp_path / "models" / "can")
    bundle = replace(Bundle.load(directory), name="can", provenance=NOTES)
    bundle.save(directory)
    tensors = {name: tensor * 1.5 for name, tensor in bundle.tensors.items()}
    training = {"method": "dp", "steps": 3500, "learning_rate": 5e-4}
    notes = {**NOTES, "training": training, "training_cpu_s": 295.4, "gradient_steps": 3500, "selection": None}
    del notes["critic"], notes["heads"], notes["calibration"]
    baseline = replace(bundle, tensors=tensors, method="dp", calibration=None, provenance=notes)
    baseline.with_hash().save(directory / "dp")
    return directory.parent


def result(models: Path, method: str, variant: str, outcomes: str, **changed):
    """A result of the bundle's own weights unless ``changed`` says otherwise, in ``results`` beside the models."""
    directory = models / "can" if method == "ebt" else models / "can" / method
    entry = {
        "command": f"ebt-policy eval --policy {method}",
        "task": "can",
        "method": method,
        "variant": variant,
        "training_seed": 0,
        "first_seed": 1000,
        "outcomes": outcomes,
        "mean_duration_s": 6.3,
        "network_evaluations_per_chunk_mean": 2.0,
        "policy_sha256": Bundle.load(directory).policy_sha256,
        "weights_sha256": Bundle.load(directory).weights_sha256,
        **changed,
    }
    path = models.parent / "results" / "can" / f"{method}-{entry['training_seed']}-{variant}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry))


def written(models: Path) -> str:
    assert cards.main(["--models", str(models), "--results", str(models.parent / "results")]) == 0
    return (models / "can" / "README.md").read_text()


def test_a_card_holds_the_numbers_of_its_files(models):
    result(models, "ebt", "k2", "1" * 19 + "0")
    result(models, "dp", "ddpm100", "1" * 10 + "0" * 10)
    (models.parent / "results" / "can" / "energies.json").write_text("{}")  # of another benchmark
    assert len(measured(models.parent / "results")) == 2
    text = written(models)
    assert text.startswith("# can: take the can")
    assert "| EBT, 2 steps | **0.950** (0.764 to 0.991) | 20 | +45.0 (" in text
    assert "| diffusion, DDPM-100 | **0.500** (0.299 to 0.701) | 20 | - |" in text
    assert "failed: seeds 1019." in text
    assert "30 demonstrations (rosbag2): 27 for training (4321 rows, 50 ms apart), 3 held out" in text
    assert "`f00d`" in text
    assert "| camera encoders, once for all methods | - | 2800 | 64 | 0.001 | 816 | - |" in text
    assert "| EBT | . | 2000 | 32 | 0.003 | 604 | step 2000 (2000: 29 of 30, 2500: 13 of 15) |" in text
    assert "| critic, which judges the energy's chunks | . | 900 | 64 | 0.002 | not recorded | - |" in text
    assert "in the critic" in text
    assert "| diffusion | `dp/` | 3500 | not recorded | 0.0005 | 295 | no: the last state |" in text
    assert "alpha 0.05, n 100, threshold 950. Measured on 60 calm episodes" in text
    assert "of which 58 succeeded" in text
    assert "812 observations" in text


def test_what_was_not_measured_is_said_to_be_so(models):
    (models.parent / "results").mkdir()
    text = written(models)
    assert "| EBT, 2 steps; EBT, 1 step; EBT, 4 steps; EBT, 8 steps; diffusion, DDPM-100;" in text
    assert "regression | not measured |" in text
    assert "Success of this bundle: not measured." in text
    assert "False alarms on fresh episodes: not measured." in text
    assert "**" not in text
    result(models, "ebt", "k2", "1111")
    assert "| EBT, 2 steps | **1.000** (0.510 to 1.000) | 4 | not measured |" in written(models)


def test_results_of_other_weights_are_not_the_cards(models):
    result(models, "ebt", "k2", "1110", policy_sha256="0" * 64)
    result(models, "ebt", "k2", "1100", policy_sha256="1" * 64, training_seed=1)
    text = written(models)
    assert "Success of this bundle: not measured." in text
    assert "0.750" not in text
    assert "Trained again: seed 1 2 of 4." in text
    assert "One training seed" not in text


def test_score_heads_leave_a_result_its_bundles(models):
    """Results from before the heads were fitted: heads change no chunk."""
    result(models, "ebt", "k2", "1111")
    directory = models / "can"
    bundle = Bundle.load(directory)
    heads = {"heads.x": next(iter(bundle.tensors.values()))}
    replace(bundle, tensors={**bundle.tensors, **heads}, calibration=None).with_hash().save(directory)
    text = written(models)
    assert "| EBT, 2 steps | **1.000**" in text
    assert "Not calibrated" in text


def test_false_alarms_count_at_their_own_threshold(models):
    path = models.parent / "results" / "foresight_can.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = {"alarm": {"false_alarms": [3, 50, 0.0, 0.1]}, "lasting": {"false_alarms": [1, 50, 0.0, 0.1]}}
    path.write_text(json.dumps({"shipped": {"threshold": 950.0, **counts}}))
    assert "3 of 50 exceed the threshold, 1 for so long that the ladder would act" in written(models)
    path.write_text(json.dumps({"shipped": {"threshold": 949.0, **counts}}))
    assert "False alarms on fresh episodes: not measured." in written(models)


def test_the_commands_are_those_that_made_it(models):
    result(models, "ebt", "k2", "11", command="ebt-policy eval --just-so")
    commands = [line.strip() for line in written(models).splitlines() if line.startswith("    ")]
    train = "python -m ebt_policy_ros.training.train"
    assert commands == [
        "ebt-policy collect --task can --episodes 30 --out data/can",
        f"{train} --method encoder --data data/can --out out/can/encoder --steps 2800",
        f"{train} --method ebt --data data/can --out out/can --encoder out/can/encoder --steps 2500 --batch 32 "
        "--no-detach --shards 1 --snapshots 5",
        "ebt-policy select out/can --episodes 30 --seed 6000",
        "python -m ebt_policy_ros.training.fit_critic --model out/can --data data/can "
        "--encoder out/can/encoder --steps 900",
        "python -m ebt_policy_ros.training.fit_heads --model out/can --data data/can --episodes 40 --seed 30000",
        "ebt-policy calibrate --model out/can --episodes 60 --seed 20000 --alpha 0.05",
        f"{train} --method dp --data data/can --out out/can/dp --encoder out/can/encoder --steps 3500 "
        "--learning-rate 0.0005",
        "ebt-policy eval --just-so",
        f"ebt-policy {' '.join(dp_arguments())}",
    ]


def dp_arguments() -> list[str]:
    from benchmarks.matrix import Cell, Kind

    return Matrix.load(HERE / "matrix.yaml").arguments(Cell("can", Kind("dp", "ddpm100"), 0))


def test_remarks_by_hand_are_kept(models):
    written(models)
    path = models / "can" / "README.md"
    path.write_text(path.read_text() + f"\n{cards.BY_HAND}\n## Remarks\n\nIt once dropped the can.\n")
    once = written(models)
    assert once.endswith(f"{cards.BY_HAND}\n## Remarks\n\nIt once dropped the can.\n")
    assert written(models) == once


def test_a_bundle_that_tells_nothing_has_a_card_too(models, capsys):
    directory = models / "can"
    replace(Bundle.load(directory), name="mine", provenance={}, calibration=None).save(directory)
    shutil.rmtree(directory / "dp")
    text = written(models)
    assert text.startswith("# mine\n")
    assert "| EBT | . | not recorded | not recorded | not recorded | not recorded | no: the last state |" in text
    shutil.rmtree(directory)
    assert cards.main(["--models", str(models)]) == 2
    assert "expected bundles" in capsys.readouterr().err
