"""What the demo is made of, without a graph: its processes, its domain, its progress line."""

import io
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from ebt_policy_ros.cli.demo_processes import Launched, ProcessDiedError, launch_command
from ebt_policy_ros.cli.isolation import free_domain, isolate
from ebt_policy_ros.cli.progress import Estimate, LiveLine, clock


def wait_for(condition) -> None:
    end = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_dead_launcher_is_noticed_with_the_end_of_its_log(tmp_path):
    launched = Launched([sys.executable, "-c", "print('no such bundle'); raise SystemExit(2)"], tmp_path / "log")
    with pytest.raises(ProcessDiedError, match=r"status 2; .*no such bundle"):
        wait_for(launched.check)
    assert launched.close() == 2


def test_a_launcher_is_interrupted_first(tmp_path):
    code = (
        "import time\nprint('up', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('bye')\n"
    )
    launched = Launched([sys.executable, "-c", code], tmp_path / "log")
    wait_for(lambda: "up" in launched.tail())
    launched.check()
    assert launched.close() == 0
    assert "bye" in launched.tail()


def test_no_process_of_the_group_is_left(tmp_path):
    """A launcher that ignores every request is killed, and with it what it started."""
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    launched = Launched([sys.executable, "-c", code], tmp_path / "log")
    wait_for(lambda: launched.tail().isdigit())
    child = int(launched.tail())
    assert is_alive(child)
    launched.close(patience_s=0.1)
    # Nobody in a container may reap an orphan: a zombie counts as ended.
    wait_for(lambda: not is_alive(child) or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z")


def test_launch_command_hands_arguments_on(tmp_path):
    command = launch_command(tmp_path / "demo.launch.xml", {"model": "a b", "enabled": "false"})
    assert command[0] == sys.executable
    assert command[-3:] == [str(tmp_path / "demo.launch.xml"), "model:=a b", "enabled:=false"]


def test_a_demo_is_alone_unless_a_domain_is_set():
    alone: dict[str, str] = {}
    domain = isolate(alone)
    assert alone["ROS_DOMAIN_ID"] == str(domain)
    assert 1 <= domain <= 101
    assert alone["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    shared = {"ROS_DOMAIN_ID": "7"}
    assert isolate(shared) == 7
    assert shared == {"ROS_DOMAIN_ID": "7"}


def test_a_domain_in_use_is_not_taken():
    taken = free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 7400 + 250 * taken + 11))
        assert taken not in [free_domain() for _ in range(300)]


def test_a_log_gets_plain_lines_now_and_then():
    stream = io.StringIO()
    line = LiveLine(stream)
    for index in range(100):
        line.update(f"state {index}")
    line.say("done")
    line.close()
    assert stream.getvalue() == "state 0\ndone\n"


def test_estimate_counts_only_what_was_done_now():
    stream = io.StringIO()
    estimate = Estimate("demonstrations", LiveLine(stream))
    estimate.show(391, 400)
    estimate.show(400, 400)
    assert "391/400 demonstrations" in stream.getvalue()
    assert "400/400" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (61, "1:01"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text
