"""The whole flow, one way: observe -> normalise -> minimise <-> retry -> unnormalise -> safety -> schedule.

``think`` is slow and changes nothing; ``act`` is fast, takes place at the time it really is, and commits.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ebt_policy_ros.core.cycle import (
    Cycle,
    Event,
    History,
    Move,
    Plan,
    State,
    Thought,
    chunk_seed,
    is_finite,
    report,
    slowed,
    weigh,
)
from ebt_policy_ros.core.due import Due
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.hand import holds_nothing, with_hand
from ebt_policy_ros.core.minimise import EnergyMinimiser
from ebt_policy_ros.core.normalise import Normaliser
from ebt_policy_ros.core.observe import JointSample, Lack, ObservationBuffer, Unavailable
from ebt_policy_ros.core.pace import Pace, stopwatch
from ebt_policy_ros.core.recent import PlanBefore, Recent
from ebt_policy_ros.core.retry import (
    Accept,
    Decision,
    Evidence,
    GoOn,
    Hold,
    Memory,
    Retreat,
    ThinkMore,
    decide,
    remember,
)
from ebt_policy_ros.core.safety import Refused, SafetyStage, next_row
from ebt_policy_ros.core.schedule import Schedule
from ebt_policy_ros.core.settings import PipelineSettings, RobotSettings
from ebt_policy_ros.core.types import Floats, Instant, Minimum, NormalisedObservation, Observation, Pixels
from ebt_policy_ros.core.uncertainty import Uncertainty, raw_score

__all__ = ["Cycle", "Pipeline", "Plan", "State"]


LEAST_ROWS = 2
"""Rows of an accepted chunk that are executed however little it is trusted."""


class Pipeline:
    """The control flow of one robot. Thread-safe: callbacks add, one model thread thinks and acts, anyone stops."""

    def __init__(
        self,
        minimiser: EnergyMinimiser,
        normaliser: Normaliser,
        uncertainty: Uncertainty,
        settings: PipelineSettings,
        robot: RobotSettings,
    ) -> None:
        if normaliser.num_joints != len(robot.joints):
            raise SettingsError(
                f"robot '{robot.name}': expected the policy's {normaliser.num_joints} joints, got {len(robot.joints)}"
            )
        self.settings, self.robot = settings, robot
        self._minimiser, self._normaliser, self._uncertainty = minimiser, normaliser, uncertainty
        self._buffer = ObservationBuffer(settings.observe, robot.joint_names)
        self._safety = SafetyStage(robot, settings.safety, settings.period_ns)
        self._schedule = Schedule(settings.schedule, robot, settings.period_ns)
        self._lock = threading.RLock()
        self._counters: Counter[str] = Counter()
        self._memory = Memory()
        self._generation = 0  # raised by stop, reset and clear: a plan of an older one is void
        self._seed, self._number = settings.minimise.seed, 0
        self._retry_requested = False
        self._is_braking = False  # what runs is already the way to rest
        self._due = Due(settings)
        self._recent = Recent(settings.period_ns)
        self._joints_now: JointSample | None = None  # the newest when the present act began
        self._more_s = 0.0  # about the longest that a further round of thought took lately
        self._pace = Pace(settings.minimise.deadline_s)

    # ---- the flow ----------------------------------------------------------------------------------------------

    def think(
        self,
        now: Instant,
        clock: Callable[[], float] | None = None,
        *,
        max_rounds: int | None = None,
        max_steps: int | None = None,
    ) -> Plan:
        """Observe, minimise and decide: slow, on the model thread; changes nothing that ``act`` does not commit.

        ``clock``: seconds of a steady clock, by which the deadline is kept; None: thinking takes no time (lockstep).
        ``max_rounds``, ``max_steps``: minimise no more often, and descend no further in all (a replay knows for how
        much there was time).
        """
        passed_s = stopwatch(clock)
        self._pace.begin(passed_s)
        seen, plan = self._look(now)
        if not isinstance(seen, Observation) or plan.evidence.requested or plan.memory.given_up:
            return replace(plan, decision=decide(plan.evidence, plan.memory, self.settings.retry))
        observation = self._normaliser.normalise_observation(seen)
        with self._lock:
            self._schedule.advance(now.ros_ns)  # what is written down now need not be when the command is due
            before = self._recent.scores_before(seen.stamp_ns, self._uncertainty.window_s)
            start = self._recent.warm_start(seen.stamp_ns) if self.settings.minimise.warm_start else None
        frozen = next_row(seen.stamp_ns, self.settings.period_ns, now.ros_ns) if start is not None else 0
        thought, evidence, decision = Thought(), plan.evidence, plan.decision
        while isinstance(decision, ThinkMore):
            steps, starts = self._effort(thought.rounds)
            begun_s, seed = passed_s(), chunk_seed(self._seed, plan.number, thought.rounds)
            minimum = self._minimiser.minimise(
                observation,
                steps=steps,
                starts=starts,
                seed=seed,
                warm_start=start,
                frozen_rows=frozen,
                may_step=self._pace.of(starts, thought.steps, max_steps),
            )
            thought = thought.with_minimum(minimum)
            if thought.rounds == 1:
                thought = self._compared(thought, minimum, observation, seen.stamp_ns)
            if thought.minimum is not None and is_finite(thought.minimum):
                start = thought.minimum.chunk  # what comes next goes on from here, beside fresh starts
            evidence = weigh(evidence, thought, self._uncertainty, before)
            if thought.rounds > 1:
                self._more_s = max(0.9 * self._more_s, passed_s() - begun_s)
            has_time = passed_s() + self._more_s <= self.settings.minimise.deadline_s
            has_time = has_time and (max_rounds is None or thought.rounds < max_rounds)
            evidence = replace(evidence, may_think=thought.gained and has_time)
            decision = decide(evidence, plan.memory, self.settings.retry)
        self._counters["deadlines_missed"] += passed_s() > self.settings.minimise.deadline_s
        raw = raw_score(thought.minimum, thought.change) if thought.minimum is not None else None
        return replace(
            plan,
            decision=decision,
            evidence=evidence,
            thought=thought,
            observation_stamp_ns=seen.stamp_ns,
            raw_score=raw if raw is not None and np.isfinite(raw) else None,
        )

    def act(self, plan: Plan, now: Instant, *, dry_run: bool = False) -> Cycle:
        """Make the plan a safe command at the time it really is: fast. A dry run schedules and remembers nothing."""
        with self._lock:
            if plan.generation != self._generation:
                self._counters["void_plans"] += 1
                return Cycle(self._resting(), None, reason="the plan is void: stopped or reset meanwhile")
            self._schedule.advance(now.ros_ns)
            decision, thought_ns = plan.decision, plan.evidence.now_ns
            self._joints_now = self._buffer.latest_joints()
            move = self._carry_out(decision, plan, now)
            if move.refused:
                self._counters[f"refused_{move.refused_limit}"] += 1
                evidence = replace(plan.evidence, now_ns=now.ros_ns, refused=move.refused, may_think=False)
                plan = replace(plan, evidence=evidence)
                decision = decide(evidence, plan.memory, self.settings.retry)
                move = self._carry_out(decision, plan, now)
                move = move if not move.refused else self._brake(now)
            if not dry_run:
                self._commit(decision, plan, move, now)
            if plan.raw_score is not None and plan.observation_stamp_ns is not None:
                self._recent.score(plan.observation_stamp_ns, plan.raw_score)
            self._set_due(decision, plan, move, now)
            history = self._history(Event.ROUND, plan, thought_ns, now)
            return report(decision, plan, move, self._resting(), self._uncertainty, history)

    def _carry_out(self, decision: Decision, plan: Plan, now: Instant) -> Move:
        """The decision as a safe command from the splice on."""
        if isinstance(decision, Accept):
            return self._follow(decision, plan, now)
        if isinstance(decision, Retreat):
            return self._go_back(decision, now)
        return Move() if isinstance(decision, GoOn) else self._brake(now)

    def _follow(self, accept: Accept, plan: Plan, now: Instant) -> Move:
        """Unnormalise -> safety, on the rows that time has not overtaken; slowly when doubtful."""
        splice = self._schedule.splice(now.ros_ns, self._measured(now))
        minimum, stamp_ns = plan.thought.minimum, plan.observation_stamp_ns
        if splice is None or minimum is None or stamp_ns is None:
            return Move(too_late=True, reason="too late: the joint states are stale by now")
        dropped = next_row(stamp_ns, self.settings.period_ns, splice.start_ns)
        if dropped >= len(minimum.chunk):
            late_s = (splice.start_ns - stamp_ns) * 1e-9
            return Move(too_late=True, dropped_points=dropped, reason=f"too late: observed {late_s:.3f} s ago")
        chunk = slowed(minimum.chunk, self._speed(accept), dropped)
        made = self._safety.make(self._normaliser.unnormalise_chunk(chunk), stamp_ns, splice)
        if isinstance(made, Refused):
            return Move(refused=made.reason, refused_limit=made.limit, dropped_points=dropped)
        return Move(made.chunk, made.clamps, dropped, splice.restarted, executed=chunk)

    def _go_back(self, retreat: Retreat, now: Instant) -> Move:
        """Along the executed path to the last calm point; the hand keeps its command or opens."""
        splice = self._schedule.splice(now.ros_ns, self._measured(now))
        if splice is None:
            return Move(reason="nothing runs and nothing is measured: nowhere to go back")
        settings = self.settings.retry
        targets = self._schedule.retreat_targets(
            splice, settings.min_retreat_s, settings.min_retreat_rad, settings.retreat_s
        )
        targets = with_hand(targets, self.robot, self.settings.period_s, release=retreat.release)
        made = self._safety.make(targets, self._safety.earliest_ns(splice), splice)
        if isinstance(made, Refused):
            return Move(refused=made.reason, refused_limit=made.limit)
        return Move(made.chunk, made.clamps, reason=splice.restarted)

    def _brake(self, now: Instant) -> Move:
        """To rest within the limits; nothing to send when the arm rests or brakes already."""
        splice = self._schedule.splice(now.ros_ns, self._measured(now))
        if splice is None or self._is_braking or not self._schedule.is_moving(splice.start_ns):
            return Move()
        return Move(self._safety.brake(splice), reason=splice.restarted)

    def _commit(self, decision: Decision, plan: Plan, move: Move, now: Instant) -> None:
        """Remember what was decided and let the command run."""
        self._count(decision, move)
        if move.too_late:
            return
        self._memory = remember(plan.memory, plan.evidence, decision, self.settings.retry)
        if isinstance(decision, Accept) and decision.is_calm:
            self._schedule.mark_calm()
        if isinstance(decision, Retreat):
            self._retry_requested = False
            self._recent.forget_scores()
            self._schedule.cut_path()
        if move.command is not None:
            self._schedule.accept(move.command, now.ros_ns, retreat=isinstance(decision, Retreat))
            self._is_braking = not isinstance(decision, Accept | Retreat)

    def _set_due(self, decision: Decision, plan: Plan, move: Move, now: Instant) -> None:
        """When the next round is wanted; chunk numbers count the observations that were thought about."""
        self._number = plan.number + (1 if plan.thought.rounds else 0)
        stamp_ns, before = plan.observation_stamp_ns, None
        self._due.planned(stamp_ns, self._lack(now) if plan.evidence.unavailable else None)
        if isinstance(decision, GoOn) and stamp_ns is not None and self._due.look_again(stamp_ns):
            return
        if move.too_late or plan.evidence.unavailable:
            self._due.at_once()
        elif isinstance(decision, Accept) and stamp_ns is not None and move.executed is not None:
            self._due.after(stamp_ns, self._trusted_rows(plan.thought.minimum, is_doubtful=decision.is_doubtful))
            before = PlanBefore(move.executed, stamp_ns, self._speed(decision))
        elif isinstance(decision, Retreat) and move.command is not None:
            self._due.at(move.command.end_ns)
        else:
            self._due.at(now.ros_ns + round(self.settings.retry.look_again_s * 1e9))
            if plan.thought.minimum is not None and is_finite(plan.thought.minimum):
                before = PlanBefore(plan.thought.minimum.chunk, None)
        self._recent.plan(before)

    def _speed(self, accept: Accept) -> float:
        """Share of its own pace at which a chunk is executed."""
        return self.settings.retry.slow_speed if accept.is_doubtful else 1.0

    def _trusted_rows(self, minimum: Minimum | None, *, is_doubtful: bool) -> int:
        """How many rows of a chunk are executed before it is replaced."""
        schedule = self.settings.schedule
        rows = schedule.execute_steps
        if self.settings.retry.longer_chunks and self._memory.retreats > 0:
            rows = max(rows, self.settings.horizon * 3 // 4)
        if is_doubtful:
            rows = schedule.alert_steps or rows
        if schedule.trust == 0.0 or minimum is None:
            return rows
        return min(max(self._uncertainty.trusted_rows(minimum, schedule.trust), LEAST_ROWS), rows)

    # ---- input and requests --------------------------------------------------------------------------------------

    def add_image(self, camera: str, stamp_ns: int, receive_ns: int, pixels: Pixels) -> None:
        """Store an image: (height, width, 3) uint8 RGB, kept, not copied; ``stamp_ns`` ROS, ``receive_ns`` steady."""
        self._buffer.add_image(camera, stamp_ns, receive_ns, pixels)

    def add_joints(
        self,
        stamp_ns: int,
        receive_ns: int,
        names: Sequence[str],
        positions: Sequence[float] | Floats,
        velocities: Sequence[float] | Floats | None = None,
    ) -> None:
        """Store a joint state, by name, in any order; MessageError names what is malformed."""
        self._buffer.add_joints(stamp_ns, receive_ns, names, positions, velocities)

    def is_due(self, now: Instant) -> bool:
        """Whether a round of ``think`` and ``act`` is wanted now; cheap, to be asked at every tick."""
        with self._lock:
            has_cause = self._retry_requested or self._due.lacking is not None
            if self._memory.given_up or (not has_cause and self._due.waits(now, self._buffer)):
                return False
        seen = self._buffer.observe(now)
        with self._lock:
            if isinstance(seen, Unavailable):
                return (seen.lack, seen.sources) != self._due.lacking
            return has_cause or self._due.is_now(seen.stamp_ns, now)

    @property
    def waits_for_camera(self) -> bool:
        """Whether a plan is due and waits for one more picture: ``is_due`` should be asked again soon."""
        return self._due.waits_for_camera

    def look_ahead(self, now: Instant) -> None:
        """What can be done before the next plan is due: encode the pictures with which it may begin, when that is soon.
        On the model thread, while nothing is due. Changes no plan, only how soon it is there."""
        with self._lock:
            self._schedule.advance(now.ros_ns)
            if self._memory.given_up or not self._due.is_soon(now):
                return
        self._minimiser.encode_ahead(self._buffer.newest_images())

    def wants_images(self, now: Instant) -> bool:
        """Whether images of now could matter: for a simulation that renders on demand, before it feeds and asks is_due.

        True when a round may be due, and often enough in between that no camera looks stale.
        """
        with self._lock:
            if self._due.may_be(now) or self._retry_requested or self._due.lacking is not None:
                return True
        half_age_s = min(self.settings.observe.max_stamp_age_s, self.settings.observe.max_receive_age_s) / 2.0
        return self._buffer.oldest_image_s(now) > half_age_s

    def watch(self, now: Instant) -> Cycle | None:
        """The stale watchdog alone: fast, for a timer beside a model thread that is still thinking.

        When the arm moves and the input is stale, the cycle that brakes it, voiding the plan in the making; else None.
        """
        with self._lock:
            seen, plan = self._look(now)
            if isinstance(seen, Observation) or not self._schedule.is_moving(now.ros_ns) or self._is_braking:
                return None
            return self._halt(Hold(seen.reason, waits_for_input=True), plan, now, Event.WATCH)

    def stop(self, now: Instant) -> Cycle:
        """Brake to rest now; a plan still being thought about is void. The next round may start anew."""
        with self._lock:
            self._retry_requested = False
            return self._halt(Hold("stopped"), self._look(now)[1], now, Event.STOP)

    def request_retry(self) -> None:
        """Retreat and try again at the next round; without effect after giving up."""
        with self._lock:
            self._retry_requested = not self._memory.given_up

    def reset(self, seed: int | None = None) -> None:
        """Leave a latched give-up and forget all doubt; with a seed, chunks are numbered from 0 again (new episode)."""
        with self._lock:
            if seed is not None:
                self._seed, self._number = replace(self.settings.minimise, seed=seed).seed, 0
            self._memory, self._retry_requested = Memory(), False
            self._recent.forget_scores()
            self._forget_plans()

    def continue_from(self, seed: int, number: int) -> None:
        """The next chunk is ``number`` of a run with this base seed (a recording that begins in the middle of one)."""
        with self._lock:
            self._seed, self._number = replace(self.settings.minimise, seed=seed).seed, number

    def clear(self) -> None:
        """Forget buffers and the running trajectory (a clock that jumped back, a new episode); a give-up stays."""
        with self._lock:
            self._buffer.clear()
            self._schedule.clear()
            self._memory = replace(
                self._memory, doubtful_since_ns=None, calm=0, holding_since_ns=None, attempt_since_ns=None
            )
            self._retry_requested = self._is_braking = False
            self._recent.forget_scores()
            self._forget_plans()

    def counters(self) -> dict[str, int]:
        """Everything counted since the start, by name, for diagnostics."""
        with self._lock:
            return {**self._buffer.counters(), **self._counters}

    # ---- what they ask -----------------------------------------------------------------------------------------

    def _look(self, now: Instant) -> tuple[Observation | Unavailable, Plan]:
        """The input, and a plan in which nothing has been thought yet."""
        look = self._buffer.look(now)
        seen, joints = look.seen, look.joints
        with self._lock:
            command = self._schedule.command_at(joints.stamp_ns) if joints is not None else None
            evidence = Evidence(
                now_ns=now.ros_ns,
                unavailable=seen.reason if isinstance(seen, Unavailable) else "",
                requested=self._retry_requested,
                score=self._blind_score(seen),
                threshold=self._uncertainty.threshold,
                is_look=self._due.is_look(now),
                holds_nothing=joints is not None
                and command is not None
                and holds_nothing(self.robot, command.positions, joints.positions),
            )
            undecided = ThinkMore("nothing thought yet")
            plan = Plan(self._number, self._generation, evidence, self._memory, undecided, Thought())
            return seen, replace(plan, newest_ns=look.newest_ns)

    def _blind_score(self, seen: Observation | Unavailable) -> float | None:
        """The score without thought: the highest once the input has gone, since nothing is known any more."""
        has_lost = isinstance(seen, Unavailable) and seen.lack is not Lack.NOT_YET_SEEN
        return 1.0 if has_lost and self._uncertainty.calibration is not None else None

    def _halt(self, hold: Hold, plan: Plan, now: Instant, event: Event) -> Cycle:
        """Brake whatever the model thread is at (locked); doubt is neither added nor forgotten."""
        self._schedule.advance(now.ros_ns)
        self._joints_now = self._buffer.latest_joints()
        move = self._brake(now)
        self._forget_plans()
        if hold.waits_for_input:
            self._set_due(hold, plan, move, now)
        if move.command is not None:
            self._schedule.accept(move.command, now.ros_ns)
            self._is_braking = True
        history = self._history(event, plan, plan.evidence.now_ns, now)
        return report(hold, plan, move, self._resting(), self._uncertainty, history)

    def _history(self, event: Event, plan: Plan, thought_ns: int, now: Instant) -> History:
        joints_ns = None if self._joints_now is None else self._joints_now.stamp_ns
        return History(event, thought_ns, now.ros_ns, plan.newest_ns, joints_ns, plan.thought.rounds, self._seed)

    def _forget_plans(self) -> None:
        self._generation += 1
        self._due.forget()
        self._recent.plan(None)

    def _effort(self, rounds: int) -> tuple[int, int]:
        settings = self.settings.minimise
        return (settings.steps, settings.starts) if rounds == 0 else (settings.more_steps, settings.more_starts)

    def _compared(self, thought: Thought, minimum: Minimum, observation: NormalisedObservation, at_ns: int) -> Thought:
        """The thought with how far the plan before differs from the new one: in energy (a forward pass), and itself."""
        if not is_finite(minimum):
            return thought
        with self._lock:
            change, rest = self._recent.change(minimum.chunk, at_ns), self._recent.rest(minimum.chunk, at_ns)
        surprise = self._minimiser.score(observation, rest) - minimum.energy if rest is not None else np.nan
        return replace(thought, change=change, surprise=float(surprise) if np.isfinite(surprise) else None)

    def _measured(self, now: Instant) -> JointSample | None:
        """The joint state of this act while it is fresh enough to compare with or start from."""
        joints, allowed = self._joints_now, self.settings.observe
        if joints is None or now.ros_ns - joints.stamp_ns > allowed.max_stamp_age_s * 1e9:
            return None
        return joints if now.steady_ns - joints.receive_ns <= allowed.max_receive_age_s * 1e9 else None

    def _lack(self, now: Instant) -> tuple[Lack, tuple[str, ...]] | None:
        seen = self._buffer.observe(now)
        return (seen.lack, seen.sources) if isinstance(seen, Unavailable) else None

    def _resting(self) -> State:
        if self._memory.given_up:
            return State.GIVEN_UP
        return State.WAITING if self._schedule.running is None else State.HOLDING

    def _count(self, decision: Decision, move: Move) -> None:
        self._counters[f"decided_{type(decision).__name__.lower()}"] += 1
        self._counters["dropped_points"] += move.dropped_points
        self._counters["too_late"] += move.too_late
        self._counters["restarted"] += move.command is not None and bool(move.reason)
        for limit, number in move.clamps.items():
            self._counters[f"clamped_{limit}"] += number
