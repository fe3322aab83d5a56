"""Plays a bag's pictures and joints through the node's pipeline again, and says whether the same comes out.

  ebt-policy replay out/my_bag --model lift --json out/replay.json --report out/replay.html
  ebt-policy replay out/my_bag --model lift --compare out/other --record out/replayed.mcap

A bag with the node's own ~/status is repeated as recorded: from what the node had received when it planned, with its
seeds, at its times, so that the same bundle gives the same chunks, bit for bit on one machine. Any other bag of the
policy's cameras and joints is planned on as the node would (--timing free); what it plans does not happen.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ebt_policy_ros.cli.arguments import add_runtime, add_settings, output_file, set_over
from ebt_policy_ros.cli.progress import LiveLine
from ebt_policy_ros.cli.results import energy_summary, latency_summary, versions, write_json
from ebt_policy_ros.core.errors import DatasetError, SettingsError

if TYPE_CHECKING:
    from ebt_policy_ros.assemble import Assembly
    from ebt_policy_ros.bags.timeline import Timeline
    from ebt_policy_ros.cli.replay_run import Replay, Replayed

TIMINGS = ("auto", "recorded", "free")
SAME = ("state", "attempt", "steps", "network_evaluations", "energy", "energy_trace", "uncertainty", "change", "clamps")
"""Keys of a status that a replay has to repeat."""
SHOWN_DIFFERENCES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy replay``."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 bag: its directory, or a .mcap or .db3 file")
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--robot", default="panda_sim", help="robot file, or the name of one in config/robots/")
    parser.add_argument(
        "--urdf",
        type=Path,
        metavar="F",
        help="draw /replay/plan with the robot's URDF instead of the robot file's chain (needs Pinocchio)",
    )
    parser.add_argument("--compare", metavar="MODEL", help="another bundle, replayed on the same observations")
    parser.add_argument(
        "--timing",
        choices=TIMINGS,
        default="auto",
        help="when plans are made (default: as recorded where the bag says)",
    )
    parser.add_argument(
        "--topic",
        type=_topic,
        action="append",
        default=[],
        metavar="NAME=TOPIC",
        help="topic of a camera, joint_states, status or joint_trajectory in the bag, unless it is the node's own",
    )
    parser.add_argument("--latency", type=float, default=0.0, help="how long a thought takes with free timing [s]")
    add_settings(parser, " that the recorded node had, too")
    add_runtime(parser)
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless everything recorded is repeated")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the results go")
    parser.add_argument("--report", type=output_file, metavar="F", help="where a page to look at goes (HTML)")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="OUT",
        help="a new bag (OUT.mcap: a file): all of BAG, and the replay on /replay/*",
    )


def run(options: argparse.Namespace) -> int:
    """Replays, prints a summary, writes what is asked for; returns the exit status."""
    from ebt_policy_ros.cli.replay_bag import ReplayBag, find_tool
    from ebt_policy_ros.cli.replay_page import write_page

    tool = find_tool(options.robot, options.urdf)
    assembly = _assembly(options, options.model)
    rounds, replay, timing = _replay(options, assembly, "replayed")
    if not any(one.cycle is not None and one.cycle.minimum is not None for one in rounds):
        reasons = [one.cycle.reason for one in rounds if one.cycle is not None and one.cycle.reason]
        raise DatasetError(
            f"{options.bag}: nothing was planned from it"
            + (f"; the last reason was: {reasons[-1]}" if reasons else "; it holds no round of the node")
        )
    result = summarise(options, assembly, rounds, replay, timing)
    if options.compare is not None:
        other = _assembly(options, options.compare)
        result["compare"] = compare(assembly, rounds, other, _replay(options, other, "compared")[0])
    if options.record is not None:
        with ReplayBag(options.record) as bag, _open(options, assembly) as timeline:
            bag.copy(timeline)
            bag.add(rounds, assembly, tool)
        result["record"] = str(options.record)
    if options.json is not None:
        write_json(options.json, result)
    if options.report is not None:
        write_page(options.report, result, rounds, assembly)
    print(in_words(result))
    return 1 if options.strict and not is_same(result) else 0


def _topic(text: str) -> tuple[str, str]:
    name, separator, topic = text.partition("=")
    if not (name and separator and topic):
        raise argparse.ArgumentTypeError(f"expected NAME=TOPIC, such as front=/my_camera/image_raw, got '{text}'")
    return name, topic


def _assembly(options: argparse.Namespace, model: str) -> Assembly:
    from ebt_policy_ros.assemble import assemble_all, load_robot

    robot = load_robot(options.robot)[0]
    return assemble_all(
        model,
        robot,
        set_over(options.set, {}),
        options.device,
        options.runtime,
        precision=options.precision,
        warm_up=True,
    )


def _open(options: argparse.Namespace, assembly: Assembly) -> Timeline:
    from ebt_policy_ros.bags.timeline import Timeline

    return Timeline(options.bag, assembly.settings.observe.cameras, dict(options.topic))


def _replay(options: argparse.Namespace, assembly: Assembly, what: str) -> tuple[list[Replayed], Replay, str]:
    """All rounds, what was counted on the way, and whose timing it was."""
    from ebt_policy_ros.cli.replay_run import Replay

    with _open(options, assembly) as timeline:
        has_history = timeline.tells_history()
        if options.timing == "recorded" and not has_history:
            raise SettingsError(
                f"--timing recorded: {options.bag} has no status of a node that says when it planned; use --timing free"
            )
        timing = ("recorded" if has_history else "free") if options.timing == "auto" else options.timing
        replay = Replay(timeline, assembly)
        rounds = replay.as_recorded() if timing == "recorded" else replay.on_its_own(options.latency)
        line, kept = LiveLine(), []
        for number, one in enumerate(rounds, 1):
            kept.append(one)
            if number % 10 == 0:
                line.update(f"{number} rounds {what}")
        line.close()
    return kept, replay, timing


def summarise(
    options: argparse.Namespace, assembly: Assembly, rounds: list[Replayed], replay: Replay, timing: str
) -> dict[str, Any]:
    """The result file."""
    cycles = [one.cycle for one in rounds if one.cycle is not None]
    chunks = [cycle for cycle in cycles if cycle.minimum is not None]
    scores = [cycle.uncertainty for cycle in chunks if cycle.uncertainty is not None]
    threshold = chunks[0].threshold if chunks and np.isfinite(chunks[0].threshold) else None
    begin_ns = rounds[0].time_ns
    return {
        "command": "replay",
        "bag": str(options.bag),
        "model": assembly.model_name,
        "notes": list(replay.notes),
        "timing": timing,
        "rounds": len(rounds),
        "chunks": len(chunks),
        "duration_s": (rounds[-1].time_ns - begin_ns) * 1e-9,
        "states": dict(Counter(cycle.state.value for cycle in cycles)),
        "holds": dict(Counter(_kind(cycle.reason) for cycle in cycles if cycle.minimum is None and cycle.reason)),
        "events": dict(replay.events),
        "energy": energy_summary([cycle.energy for cycle in chunks if cycle.energy is not None]),
        "uncertainty": {
            "max": max(scores, default=None),
            "threshold": threshold,
            "above": sum(score > threshold for score in scores) if threshold is not None else None,
        },
        "network_evaluations": sum(cycle.network_evaluations for cycle in chunks),
        "think_ms": latency_summary([one.think_ms for one in rounds if one.cycle and one.cycle.minimum is not None]),
        "sources": {
            name: {k: v for k, v in vars(own).items() if k != "last_ns"} for name, own in replay.courses.items()
        },
        "refusals": replay.refusals,
        "recorded": against_recording(rounds) if timing == "recorded" else None,
        "versions": versions(),
    }


def against_recording(rounds: list[Replayed]) -> dict[str, Any]:
    """How far the replay repeats what the node sent and said."""
    from ebt_policy_ros.cli.replay_run import trajectory_difference

    differences = [(one, trajectory_difference(one.cycle, one.sent)) for one in rounds if one.sent is not None]
    keys: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    same = 0
    for one in rounds:
        wrong = {key: (told, now) for key, told, now in _statuses(one) if told != now}
        keys.update(list(wrong))
        same += not wrong
        if wrong and len(found) < SHOWN_DIFFERENCES:
            found.append({"time_ns": one.time_ns, "chunk": one.told.get("chunk"), "differs": wrong, "lost": one.lost})
    missing = sum(one.told.get("commanded") == "true" and one.sent is None for one in rounds)
    return {
        "trajectories": len(differences),
        "trajectories_equal": sum(difference == 0.0 for _, difference in differences),
        "trajectories_not_in_bag": missing,
        "max_difference": max((difference for _, difference in differences), default=0.0),
        "statuses": len(rounds),
        "statuses_equal": same,
        "differs_in": dict(keys),
        "first_differences": found,
        "rounds_with_lost_messages": sum(bool(one.lost) for one in rounds),
    }


def _statuses(one: Replayed) -> Iterator[tuple[str, str, str]]:
    """(key, recorded, replayed) of everything that has to be the same."""
    from ebt_policy_ros.messages.status import cycle_values

    now: Mapping[str, str] = {}
    if one.cycle is not None:
        now = cycle_values(one.cycle, enabled=True, commanded=True, think_ms=0.0, stamp_age_ms=None)
    for key in SAME:
        yield key, one.told.get(key, ""), now.get(key, "none")


def is_same(result: Mapping[str, Any]) -> bool:
    """Whether everything recorded was repeated, bit for bit."""
    told = result["recorded"]
    return told is not None and told["trajectories"] == told["trajectories_equal"] and not told["differs_in"]


def compare(one: Assembly, rounds: list[Replayed], other: Assembly, others: list[Replayed]) -> dict[str, Any]:
    """Two bundles' chunks from the same observations: joint targets' differences [rad, m], energies, scores."""
    from ebt_policy_ros.cli.replay_run import targets

    by_stamp = {o.cycle.observation_stamp_ns: o.cycle for o in others if o.cycle and o.cycle.minimum is not None}
    pairs = [
        (cycle, by_stamp[cycle.observation_stamp_ns])
        for r in rounds
        if (cycle := r.cycle) and cycle.minimum is not None and cycle.observation_stamp_ns in by_stamp
    ]
    if not pairs:
        return {"model": other.model_name, "chunks": 0}
    length = min(one.settings.horizon, other.settings.horizon)
    names = one.robot.joint_names
    order = [other.robot.joint_names.index(name) for name in names]
    apart = np.abs(np.stack([targets(one, a)[:length] - targets(other, b)[:length][:, order] for a, b in pairs]))
    return {
        "model": other.model_name,
        "chunks": len(pairs),
        "mean_difference": dict(zip(names, apart.mean((0, 1)).round(6).tolist(), strict=True)),
        "max_difference": dict(zip(names, apart.max((0, 1)).round(6).tolist(), strict=True)),
        "energy": [
            energy_summary([c.energy for c in side if c.energy is not None]) for side in zip(*pairs, strict=True)
        ],
        "uncertainty_mean": [
            float(np.mean(scores)) if (scores := [c.uncertainty for c in side if c.uncertainty is not None]) else None
            for side in zip(*pairs, strict=True)
        ],
    }


def in_words(result: Mapping[str, Any]) -> str:
    """The result for people."""
    told, lines = result["recorded"], [f"{result['bag']}: {note}" for note in result["notes"]]
    lines.append(
        f"{result['chunks']} chunks in {result['rounds']} rounds over {result['duration_s']:.1f} s, "
        f"timing {result['timing']}"
    )
    if told is not None:
        lines.append(
            f"trajectories equal bit for bit: {told['trajectories_equal']} of {told['trajectories']}"
            + (f" (largest difference {told['max_difference']:.3g})" if told["max_difference"] else "")
            + (f"; {told['trajectories_not_in_bag']} are not in the bag" if told["trajectories_not_in_bag"] else "")
        )
        differs = ", ".join(f"{key} {count}" for key, count in told["differs_in"].items())
        lines.append(
            f"statuses equal: {told['statuses_equal']} of {told['statuses']}" + (f" ({differs})" if differs else "")
        )
        if told["rounds_with_lost_messages"]:
            lines.append(f"messages that the node had and the bag lacks: in {told['rounds_with_lost_messages']} rounds")
    for source, own in result["sources"].items():
        troubles = [
            f"{own[key]} {key.replace('_', ' ')}"
            for key in ("refused", "gaps", "jumps_back", "out_of_order")
            if own[key]
        ]
        if troubles:
            lines.append(f"{source}: {', '.join(troubles)}; longest gap {own['longest_gap_s']:.2f} s")
    lines += [f"held {count} times: {reason}" for reason, count in result["holds"].items()]
    if "compare" in result and result["compare"]["chunks"]:
        other = result["compare"]
        worst = max(other["mean_difference"].items(), key=lambda item: item[1])
        lines.append(
            f"{other['model']}: {other['chunks']} chunks compared, largest mean difference {worst[1]:.4f} ({worst[0]})"
        )
    return "\n".join(lines)


def _kind(reason: str) -> str:
    """A reason without its numbers, so that equal ones are counted together."""
    return re.sub(r"-?\d+(\.\d+)?", "#", reason)
