"""Runs sim_node and policy_node as separate processes over DDS and lets the arm do its task, live. In the middle
episode the object is moved away while the arm reaches for it. Ends with a table, a JSON file and an HTML report.

Exit status: 0 when the run completed, whatever the arm achieved (read success_rate in the JSON); 1 when a node died or
never came up; 2 for bad input; 130 when interrupted. What was seen until then is always written.

To watch with ROS 2's own tools (RViz, ros2 topic), set ROS_DOMAIN_ID for both; unset, the demo picks a free domain and
stays on this machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.arguments import output_file, whole_number
from ebt_policy_ros.cli.demo_record import DemoRecord
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError

EXIT_DIED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy demo``."""
    parser.add_argument("--episodes", type=whole_number(1), default=5, help="episodes to run (default 5)")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the first episode; the next ones count up")
    parser.add_argument("--headless", action="store_true", help="do not open the report in a browser")
    parser.add_argument(
        "--json", type=output_file, metavar="F", help="where the results go (default: REPORT/demo.json)"
    )
    parser.add_argument("--report", type=Path, default=Path("out/demo"), help="directory of report.html and the log")
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--time-limit", type=float, default=25.0, help="longest episode [simulated s] (default 25)")
    parser.add_argument("--task", default="lift", help="task of the simulated arm")
    parser.add_argument("--record", type=Path, metavar="DIR", help="a new rosbag2 bag of everything the nodes say")


def run(options: argparse.Namespace) -> int:
    """Runs the demo and writes everything; returns the exit status."""
    from ebt_policy_ros.cli.demo_processes import launch_command, termination_as_interrupt, uninterrupted
    from ebt_policy_ros.cli.isolation import isolate
    from ebt_policy_ros.cli.nodes import provide_rclpy
    from ebt_policy_ros.resources import find_model, find_resource

    if options.record is not None and options.record.exists():
        raise SettingsError(f"--record {options.record}: it exists already; recordings overwrite nothing")
    model, launch_file = find_model(options.model), find_resource("launch/demo.launch.xml")
    joint_names, cameras = _robot_and_cameras(model)
    domain = isolate(os.environ)
    provide_rclpy()
    options.report.mkdir(parents=True, exist_ok=True)
    record = DemoRecord(model.name, options.seed, _done_text(options.task), settings=_settings(domain, options.task))
    command = launch_command(launch_file, _launch_arguments(options, model))
    try:
        with termination_as_interrupt():
            _play(record, options, command, joint_names, cameras)
        status = 0
    except KeyboardInterrupt:
        status = 130
        record.trouble.append(f"interrupted; {len(record.episodes)} of {options.episodes} episodes were begun")
    except EbtPolicyError as error:
        record.trouble.append(" ".join(str(error).split()))
        status = EXIT_DIED
    with uninterrupted():
        _finish(record, options)
    return status


def _play(
    record: DemoRecord,
    options: argparse.Namespace,
    command: Sequence[str],
    joint_names: Sequence[str],
    cameras: Sequence[str],
) -> None:
    """Starts the nodes with ``command``, runs the episodes into ``record``, ends everything that was started."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from ebt_policy_ros.cli.demo_bag import DemoBag
    from ebt_policy_ros.cli.demo_monitor import Monitor, Spinner
    from ebt_policy_ros.cli.demo_processes import Launched, uninterrupted
    from ebt_policy_ros.cli.demo_run import DemoRun
    from ebt_policy_ros.cli.demo_sim import SIM, SimControl

    launched = Launched(command, options.report / "nodes.log")
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    monitor = Monitor(joint_names, cameras, SIM)
    spinner = Spinner(monitor)
    bag: DemoBag | None = None
    try:
        if options.record is not None:
            bag = DemoBag(options.record, cameras, options.task)
        demo = DemoRun(monitor, spinner, SimControl(monitor, launched.check), record, launched.check)
        demo.wait_for_nodes()
        demo.run(options.episodes, options.seed, options.time_limit)
    finally:
        with uninterrupted():
            launched.close()
            spinner.close()
            monitor.destroy_node()
            if bag is not None:
                print(f"recorded: {bag.close()}")
            rclpy.try_shutdown()


def _launch_arguments(options: argparse.Namespace, model: Path) -> dict[str, str]:
    return {
        "model": str(model.resolve()),
        "task": options.task,
        "episode_seed": str(options.seed),
        "policy_seed": str(options.seed),
        "enabled": "false",
    }


def _robot_and_cameras(model: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Joint names of the simulated robot, camera names of the bundle."""
    from ebt_policy_ros.assemble import fit_robot, load_robot
    from ebt_policy_ros.policy.bundle import Bundle

    bundle = Bundle.load(model)
    robot = fit_robot(bundle, load_robot("panda_sim")[0], model)
    return robot.joint_names, tuple(camera.name for camera in bundle.cameras)


def _settings(domain: int, task: str) -> dict[str, str]:
    return {
        "task": task,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "ROS_DOMAIN_ID": str(domain),
    }


def _finish(record: DemoRecord, options: argparse.Namespace) -> None:
    """Table, JSON and report of what was seen."""
    from ebt_policy_ros.cli.report import text_table, write_report

    json_file = options.json or options.report / "demo.json"
    page = options.report / "report.html"
    write_json(json_file, record.as_json())
    write_report(page, record)
    if record.episodes:
        print(text_table(_rows(record)))
        print(_summary(record.as_json(), record.done_text))
    print(f"results: {json_file}\nreport:  {page}")
    for sentence in record.trouble:
        sys.stderr.write(f"ebt-policy demo: {sentence}\n")
    if not options.headless:
        webbrowser.open(page.resolve().as_uri())


def _done_text(task: str) -> str:
    from ebt_policy_ros.sim.tasks import make_task

    return make_task(task).done_text


def _summary(result: Mapping[str, Any], done_text: str) -> str:
    latency, rules = result["chunk_latency_ms"], result["trajectory_rules"]
    episodes, passes = result["episodes"], result["network_evaluations_per_calm_chunk"]
    return (
        f"{sum(episode['success'] for episode in episodes)} of {len(episodes)} {done_text}; "
        f"chunk latency median {latency['p50']} ms, 99 % {latency['p99']} ms; "
        + ("no calm episode" if passes is None else f"{passes:.3g} network passes per calm chunk")
        + f"; {rules['violations']} rule violations in {rules['checked']} trajectories"
    )


def _rows(record: DemoRecord) -> list[list[str]]:
    rows = [
        ["episode", "seed", "outcome", "disturbed", "time [s]", "chunks", "retries", "max surprise", "max uncertainty"]
    ]
    for episode in record.episodes:
        entry = episode.as_json()
        rise, highest = entry["surprise"]["max"], entry["uncertainty"]["max"]
        rows.append(
            [
                str(episode.index + 1),
                str(episode.seed),
                episode.verdict,
                "" if episode.perturbed_at_s is None else f"at {episode.perturbed_at_s:.1f} s",
                f"{episode.duration_s:.1f}",
                str(entry["chunks"]),
                str(episode.retries),
                "-" if rise is None else f"{rise:.2f}",
                "-" if highest is None else f"{highest:.2f}",
            ]
        )
    return rows
