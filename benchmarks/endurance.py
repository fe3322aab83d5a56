"""Does the node run on? Memory, age of what it acts on and latency of the live nodes, over minutes.

  python -m benchmarks.endurance --minutes 10 --image-size 554 --json benchmarks/results/endurance.json

Starts demo.launch.xml as the demo does (sim_node and policy_node over DDS, 20 Hz, two cameras; 554 x 554 are as many
pixels as 640 x 480), begins a new episode every ten seconds, and looks at both processes once a second.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live import run_live, with_parameters
from benchmarks.reported import reported
from ebt_policy_ros.cli.arguments import output_file, whole_number
from ebt_policy_ros.cli.demo_processes import Launched, launch_command
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import latency_summary, versions
from ebt_policy_ros.messages.status import LATENCY_PARTS
from ebt_policy_ros.resources import find_resource

EPISODE_S, SAMPLE_S = 10.0, 1.0
NODES = ("policy_node", "sim_node")
PARTS = ("latency_ms", *(f"{part}_ms" for part in LATENCY_PARTS), "stamp_age_ms")


def memory_mb(name: str) -> float | None:
    """Resident memory of the node's process [MB]; None while there is none."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if f"nodes:{name}" in command and str(os.environ["ROS_DOMAIN_ID"]) in _domain(folder):
                return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        except OSError:
            continue
    return None


def _domain(folder: Path) -> list[str]:
    entries = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
    return [entry.partition("=")[2] for entry in entries if entry.startswith("ROS_DOMAIN_ID=")]


def watch(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs the nodes and samples them; the result."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.node import Node
    from std_srvs.srv import Trigger

    from ebt_policy_ros.cli.demo_monitor import Spinner
    from ebt_policy_ros.messages.status import read_values

    parameters = with_parameters("config/demo.yaml", {"/**/sim_node": {"image_size": options.image_size}}, folder)
    given = {"params_file": str(parameters), "model": options.model, "task": options.task}
    rclpy.init(args=[])
    node, told, diagnosed = Node("endurance"), list[tuple[float, dict[str, str]]](), list[dict[str, str]]()
    began_s = time.monotonic()
    node.create_subscription(
        DiagnosticArray,
        "/ebt_policy/status",
        lambda message: told.append((time.monotonic() - began_s, read_values(message))),
        50,
    )
    node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda message: diagnosed.append(read_values(message, "ebt_policy")), 10
    )
    resets = [node.create_client(Trigger, name) for name in ("/sim_node/reset", "/ebt_policy/reset")]
    spinner = Spinner(node)
    launched = Launched(launch_command(find_resource("launch/demo.launch.xml"), given), folder / "nodes.log")
    memory: dict[str, list[tuple[float, float]]] = {name: [] for name in NODES}
    estimate, length_s, next_s = Estimate("seconds"), options.minutes * 60.0, EPISODE_S
    try:
        while (now_s := time.monotonic() - began_s) < length_s:
            launched.check()
            time.sleep(SAMPLE_S)
            for name in NODES:
                used = memory_mb(name)
                if used is not None:
                    memory[name].append((now_s, used))
            if now_s >= next_s and all(client.service_is_ready() for client in resets):
                for client in resets:
                    client.call_async(Trigger.Request())
                next_s = now_s + EPISODE_S
            estimate.show(int(now_s), int(length_s))
    finally:
        launched.close()
        spinner.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return summary(options, memory, told, [values for values in diagnosed if values])


def summary(
    options: argparse.Namespace,
    memory: dict[str, list[tuple[float, float]]],
    told: list[tuple[float, dict[str, str]]],
    diagnosed: list[dict[str, str]],
) -> dict[str, Any]:
    """Growth over the second half, latencies of the first and the last quarter, what was received and refused."""
    length_s = options.minutes * 60.0
    chunks = [(at_s, values) for at_s, values in told if values.get("latency_ms")]
    result: dict[str, Any] = {
        "minutes": options.minutes,
        "image_size": options.image_size,
        "model": options.model,
        "chunks": len(chunks),
        "memory_mb": {},
        "received": {k: int(v) for k, v in diagnosed[-1].items() if k.endswith((".received", ".refused"))},
        "versions": versions(),
    }
    for name, samples in memory.items():
        late = np.array([sample for sample in samples if sample[0] > length_s / 2])
        if len(late) > 1:
            slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
            result["memory_mb"][name] = {
                "after_a_minute": round(next((used for at_s, used in samples if at_s > 60.0), late[0, 1]), 1),
                "largest": round(max(used for _, used in samples), 1),
                "last": round(float(late[-1, 1]), 1),
                "growth_per_minute_second_half": round(60.0 * slope, 3),
            }
    for part in PARTS:
        values = [(at_s, float(told_of[part])) for at_s, told_of in chunks if told_of.get(part)]
        result[part] = {
            "all": latency_summary([value for _, value in values]),
            "first_quarter": latency_summary([value for at_s, value in values if at_s < length_s / 4]),
            "last_quarter": latency_summary([value for at_s, value in values if at_s > 3 * length_s / 4]),
        }
    return result


def in_words(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{result['chunks']} chunks in {result['minutes']:g} minutes; received: {result['received']}"]
    for name, used in result["memory_mb"].items():
        lines.append(
            f"{name}: {used['after_a_minute']} MB after a minute, {used['last']} at the end "
            f"(largest {used['largest']}), {used['growth_per_minute_second_half']:+.3f} MB a minute in the second half"
        )
    for part in PARTS:
        first, last, every = (result[part][key] for key in ("first_quarter", "last_quarter", "all"))
        lines.append(
            f"{part}: median {every['p50']}, 99 % {every['p99']}; "
            f"first quarter {first['p50']}, {first['p99']}; last {last['p50']}, {last['p99']}"
        )
    return "\n".join(lines)


@reported("endurance")
def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--image-size", type=whole_number(32), default=554, help="pixels of both cameras, either way")
    parser.add_argument("--model", default="lift")
    parser.add_argument("--task", default="lift")
    parser.add_argument("--json", type=output_file)
    options = parser.parse_args(given)
    return run_live(partial(watch, options), in_words, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
