"""The sentences of a model card: what a bundle does, how it was measured, and what it was not made for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebt_policy_ros.policy.bundle import POLICY_FILE, WEIGHTS_FILE, Bundle

SHOWN_FAILURES = 10
WAYS = {
    "ebt": "An Energy-Based Transformer: {steps} gradient steps on a chunk's energy turn noise into {chunk}.",
    "dp": "A Diffusion Policy (epsilon prediction) that turns noise into {chunk}.",
    "regression": "A regression that predicts {chunk} in one pass.",
}


def about(directory: Path, bundle: Bundle, task: str) -> str:
    """Title, what it does, what it sees, what is in the folder."""
    title, success = _task_words(task)
    chunk = bundle.chunk
    seconds = f"{chunk.horizon * chunk.period_s:g} s"
    rows = f"a chunk of {chunk.horizon} joint targets ({seconds}), of which {chunk.execute_steps} are executed"
    cameras = ", ".join(f"`{camera.name}` ({camera.width}x{camera.height})" for camera in bundle.cameras)
    does = WAYS[bundle.method].format(steps=bundle.minimiser.steps, chunk=rows)
    sees = f"It sees the cameras {cameras} and the positions of {len(bundle.joints)} joints, and no pose of any object."
    rows_of_table = {
        "joints": ", ".join(f"{joint.name} [{joint.unit}]" for joint in bundle.joints),
        "parameters": _parameters(bundle),
        "files": _files(directory),
        "weights": f"sha256 `{bundle.weights_sha256[:16]}`",
        "this card": "written by `python -m benchmarks.cards` from the bundle and the files in `benchmarks/results`",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows_of_table.items())])
    return "\n\n".join([f"# {title}", " ".join(part for part in (does, sees, success) if part), table])


def _task_words(task: str) -> tuple[str, str]:
    """Title of a task, and what counts as success; of a simulated task its own words."""
    from ebt_policy_ros.sim.tasks import TASKS

    if task not in TASKS:
        return task, ""
    kind = TASKS[task]
    title = (sys.modules[kind.__module__].__doc__ or task).splitlines()[0].rstrip(".")
    name, _, what = title.partition(":")
    success = " ".join((inspect.getdoc(kind) or "").split()).replace("``", "`")
    return f"{name.lower()}:{what}", success


def _parameters(bundle: Bundle) -> str:
    sizes = {name: tensor.size for name, tensor in bundle.tensors.items()}
    network = sum(size for name, size in sizes.items() if name.startswith("network."))
    encoders = sum(size for name, size in sizes.items() if name.startswith("network.encoders."))
    critic = sum(size for name, size in sizes.items() if name.startswith("critic."))
    heads = sum(sizes.values()) - network - critic
    return (
        f"{network:,} in the network ({encoders:,} of them camera encoders)"
        + (f", {critic:,} in the critic" if critic else "")
        + (f", {heads:,} in score heads" if heads else "")
    )


def _files(directory: Path) -> str:
    size = (directory / WEIGHTS_FILE).stat().st_size
    return f"`{POLICY_FILE}`, `{WEIGHTS_FILE}` ({size / 1e6:.1f} MB)"


def measured_in(result: Mapping[str, Any]) -> str:
    """How the bundle's own success was measured, and which episodes it lost."""
    first, outcomes = result["first_seed"], result["outcomes"]
    lost = [str(first + place) for place, letter in enumerate(outcomes) if letter == "0"]
    more = f" and {len(lost) - SHOWN_FAILURES} more" if len(lost) > SHOWN_FAILURES else ""
    failed = f"; failed: seeds {', '.join(lost[:SHOWN_FAILURES])}{more}" if lost else "; none failed"
    return (
        f"Seeds {first} to {first + len(outcomes) - 1}, {result['mean_duration_s']:.1f} simulated seconds an episode"
        f"{failed}."
    )


def limits(bundle: Bundle, task: str, own: Mapping[str, Any] | None, is_trained_again: bool) -> str:
    """What the numbers do not say, as a list."""
    from ebt_policy_ros.sim.tasks import TASKS

    notes = bundle.provenance
    said = []
    if task in TASKS:
        said.append(
            "Simulation only: one robot, one kind of object, one lighting, one placement of the cameras, "
            "demonstrations of one scripted expert. Nothing is known about a real arm, or about anything else in view."
        )
        said.append("The simulator follows the sign of the gripper's target only: partly open hands were not learned.")
    if own is None:
        said.append("Its success was not measured with these weights.")
    said.append(
        "Success is of undisturbed episodes: how it does when the object is moved, a camera is covered or a joint lies "
        "is not in these numbers."
    )
    if not is_trained_again:
        said.append("One training seed: how much success differs from one training to the next was not measured.")
    if bundle.method == "ebt" and notes.get("training", {}).get("start_choices", 1) == 1:
        said.append(
            "Starts do not choose between the expert's ways (`start_choices` 1): where demonstrations differ, the "
            "result is drawn to their average."
        )
    if bundle.calibration is not None:
        said.append(
            "The threshold holds for calm simulated episodes of this task; on another camera, light or robot the score "
            "is a rank until it is calibrated there. That it foresees failures is not shown by a calibration."
        )
    return "\n".join(f"- {sentence}" for sentence in said)
