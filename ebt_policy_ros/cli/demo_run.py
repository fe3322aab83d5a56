"""Runs the episodes of the demo over the graph: resets, watches, disturbs one of them, and says what it sees."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from std_srvs.srv import SetBool, Trigger

from ebt_policy_ros.cli.demo_monitor import Monitor, NoAnswerError, Spinner, wait_until
from ebt_policy_ros.cli.demo_processes import ProcessDiedError
from ebt_policy_ros.cli.demo_record import DemoRecord, EpisodeRecord
from ebt_policy_ros.cli.demo_sim import SIM, SimControl
from ebt_policy_ros.cli.progress import LiveLine

START_S = 180.0
"""For both nodes to come up, the model's warm-up included [wall s]: a cold, loaded machine needs a minute."""
SILENCE_S = 60.0
"""Without a tick of /clock after which the run is given up [wall s]."""
DISTURBANCE = "teleport@reaching0.06"
"""The object is moved away as soon as the hand is within 6 cm of it."""


class DemoRun:
    """One run of the demo; ``record`` is complete at any time, also after an interruption."""

    def __init__(
        self, monitor: Monitor, spinner: Spinner, sim: SimControl, record: DemoRecord, alive: Callable[[], None]
    ) -> None:
        self.record = record
        self._monitor = monitor
        self._spinner = spinner
        self._sim = sim
        self._alive = alive
        self._line = LiveLine()
        self._time_limit_s = float("inf")

    def wait_for_nodes(self) -> None:
        """Until the simulator ticks and talks and the policy is active; NoAnswerError when that never comes."""
        began = time.monotonic()
        self._line.say("starting sim_node and policy_node")
        monitor = self._monitor
        senses = lambda: monitor.clock_ns > 0 and monitor.positions is not None and self._sim.is_connected  # noqa: E731
        if not wait_until(senses, START_S, self._alive):
            raise NoAnswerError(f"no /clock, /joint_states and {SIM}/episode from sim_node within {START_S:g} s")
        if not wait_until(monitor.enable_client.service_is_ready, START_S, self._alive):
            raise NoAnswerError(f"policy_node did not come up within {START_S:g} s")
        end = time.monotonic() + START_S
        while True:  # active only once the model is loaded and warm
            try:
                self._spinner.call(monitor.enable_client, SetBool.Request(data=False))
                break
            except NoAnswerError as error:
                self._alive()
                if time.monotonic() > end:
                    raise NoAnswerError(f"policy_node did not become active within {START_S:g} s: {error}") from error
                time.sleep(0.3)
        self._line.say(f"both nodes are up after {time.monotonic() - began:.1f} s")

    def run(self, num_episodes: int, seed: int, time_limit_s: float) -> None:
        """All episodes; the object is moved away in the middle one. Raises what made going on pointless."""
        self._time_limit_s = time_limit_s
        disturbed = num_episodes // 2
        try:
            for index in range(num_episodes):
                self._episode(index, num_episodes, seed + index, disturb=index == disturbed)
        finally:
            self._line.close()

    def _episode(self, index: int, num_episodes: int, seed: int, *, disturb: bool) -> None:
        monitor, spinner = self._monitor, self._spinner
        spinner.call(monitor.enable_client, SetBool.Request(data=False))
        self._sim.reset(seed)
        before_ns, rejected = monitor.joints_stamp_ns, self._num_rejected()
        if not wait_until(lambda: monitor.joints_stamp_ns > before_ns, SILENCE_S, self._alive):
            raise NoAnswerError(f"sim_node sent no joint states within {SILENCE_S:g} s after its reset")
        spinner.call(monitor.reset_client, Trigger.Request())
        episode = EpisodeRecord(index, seed, self.record.done_text)
        self.record.episodes.append(episode)
        monitor.begin(episode)
        began = time.monotonic()
        try:
            if disturb:
                episode.perturbation = DISTURBANCE.partition("@")[0]
                self._sim.perturb(DISTURBANCE)
            spinner.call(monitor.enable_client, SetBool.Request(data=True))
            self._watch(episode, num_episodes)
        except BaseException:
            episode.interrupted = True
            raise
        finally:
            episode.duration_s = monitor.elapsed_s()
            episode.duration_wall_s = time.monotonic() - began
            monitor.end()
            self._note_disturbance(episode)
            episode.num_rejected = self._num_rejected() - rejected
            self.record.threshold = monitor.threshold
        self._line.say(
            f"episode {index + 1}/{num_episodes}  seed {seed}  {episode.verdict:<11}"
            f"{episode.duration_s:5.1f} s  retries {episode.retries}  rule violations {len(episode.violations)}"
            + ("  (object was moved away)" if episode.perturbed_at_s is not None else "")
        )

    def _num_rejected(self) -> int:
        return self._sim.latest.num_rejected if self._sim.latest is not None else 0

    def _watch(self, episode: EpisodeRecord, num_episodes: int) -> None:
        """Until the episode is over."""
        monitor = self._monitor
        last_ns, ticked_at = monitor.clock_ns, time.monotonic()
        while True:
            self._alive()
            if monitor.clock_ns != last_ns:
                last_ns, ticked_at = monitor.clock_ns, time.monotonic()
            elif time.monotonic() - ticked_at > SILENCE_S:
                raise ProcessDiedError(f"the simulated clock stood still for {SILENCE_S:g} s")
            self._note_disturbance(episode)
            self._line.update(self._describe(episode, num_episodes))
            if monitor.success:
                episode.success = True
                return
            if monitor.last_cycle is not None and monitor.last_cycle.state == "given up":
                episode.gave_up = True
                return
            if monitor.elapsed_s() > self._time_limit_s:
                return
            time.sleep(0.02)

    def _note_disturbance(self, episode: EpisodeRecord) -> None:
        told = self._sim.latest
        if episode.perturbed_at_s is None and told is not None and told.perturbed_ns is not None:
            episode.perturbed_at_s = round(self._monitor.episode_time_s(told.perturbed_ns), 3)
            self._line.say(f"episode {episode.index + 1}: the object was moved away at {episode.perturbed_at_s:.1f} s")

    def _describe(self, episode: EpisodeRecord, num_episodes: int) -> str:
        cycle, threshold = self._monitor.last_cycle, self._monitor.threshold
        start = f"episode {episode.index + 1}/{num_episodes}  {self._monitor.elapsed_s():5.1f} s  "
        if cycle is None:
            return start + "waiting for the first chunk"
        limit = "" if threshold is None else f"/{threshold:.2f}"
        return (
            f"{start}{cycle.state:<13}  energy {_shown(cycle.energy, '+.2f')}  uncertainty "
            f"{_shown(cycle.uncertainty, '.2f')}{limit}  attempt {cycle.attempt}  "
            f"latency {_shown(cycle.latency_ms, '.0f')} ms"
        )


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:{form}}"
