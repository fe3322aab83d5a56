"""Closed-loop episodes in parallel: the one place where bundles meet simulated arms in several processes.

An episode is a function of its job alone (bundle, settings, task, seed, disturbance): arm and pipeline start anew with
every episode, one thread computes, and no process knows what another one does. So results do not depend on how many
processes there are, or on which of them plays what.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ebt_policy_ros.core.errors import BundleError, EbtPolicyError
from ebt_policy_ros.policy.bundle import POLICY_FILE, Bundle
from ebt_policy_ros.resources import find_model

if TYPE_CHECKING:
    from ebt_policy_ros.assemble import Assembly
    from ebt_policy_ros.sim.lockstep import Turn
    from ebt_policy_ros.sim.world import Disturbance, SimWorld

ROBOT = "panda_sim"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"), "1")
"""One core a process, for arithmetic and for Mesa's software rendering alike: threads of two processes that wait for
each other cost more than they bring."""

Result = TypeVar("Result")


class EpisodesError(EbtPolicyError):
    """A process that played episodes died, or failed in a way nobody foresaw; carries the evidence."""


@dataclass(frozen=True)
class Setup:
    """What plays an episode: a bundle's pipeline and a simulated arm with its task."""

    model: str
    """Bundle directory, or the name of one in models/."""
    task: str
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings by section that win over the bundle's."""
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "float32"
    sampler: str | None = None
    """Of a diffusion policy; None: the bundle's own."""
    time_limit_s: float | None = None
    """Longest episode [simulated s]; None: the task's."""


@dataclass(frozen=True)
class Job:
    """One episode to play."""

    setup: Setup
    index: int
    seed: int
    disturbance: Disturbance | None = None


class Episode:
    """An arm and the pipeline that drives it, ready for one job."""

    def __init__(self, job: Job, assembly: Assembly, world: SimWorld) -> None:
        self.job, self.assembly, self.world = job, assembly, world

    def play(self) -> Iterator[Turn]:
        """The episode, turn by turn; see ``sim.lockstep.play``."""
        from ebt_policy_ros.sim.lockstep import play

        limit_s, job = self.job.setup.time_limit_s, self.job
        return play(
            self.world,
            self.assembly.pipeline,
            job.seed,
            disturbance=job.disturbance,
            time_limit_s=self.world.arm.task.time_limit_s if limit_s is None else limit_s,
        )


class Stage:
    """Where a process plays; keeps the last task's arm and the last setup's pipeline: both are slow to make."""

    def __init__(self) -> None:
        self._world: SimWorld | None = None
        self._setup: Setup | None = None
        self._assembly: Assembly | None = None

    def prepare(self, job: Job) -> Episode:
        """The episode of ``job``; raises what loading the bundle or making the task raises."""
        return Episode(job, self._assemble(job.setup), self._build(job.setup.task))

    def close(self) -> None:
        """Frees the simulated arm."""
        if self._world is not None:
            self._world.arm.close()
        self._world = None

    def _build(self, task: str) -> SimWorld:
        from ebt_policy_ros.sim.arm import SimulatedArm
        from ebt_policy_ros.sim.world import SimWorld

        if self._world is None or self._world.arm.task.name != task:
            self.close()
            arm = SimulatedArm(task)
            self._world = SimWorld(arm, arm.task.target, 0, lambda _text: None)
        return self._world

    def _assemble(self, setup: Setup) -> Assembly:
        from ebt_policy_ros.assemble import assemble_all, load_robot

        if self._assembly is None or self._setup != setup:
            named = {} if setup.sampler is None else {"sampler": setup.sampler}
            robot = load_robot(ROBOT)[0]
            self._assembly = assemble_all(
                setup.model,
                robot,
                setup.overrides,
                setup.device,
                setup.runtime,
                precision=setup.precision,
                warm_up=True,
                **named,
            )
            self._setup = setup
        return self._assembly


def play_all(
    jobs: Sequence[Job], work: Callable[[Episode], Result], *, processes: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Plays ``jobs`` and yields (place in ``jobs``, what ``work`` made of the episode), each as soon as it is there.

    ``work`` is a function of a module (processes find it by name) and its results can be pickled. ``processes``: at
    most so many, None for one a core; with one the episodes are played here. Closing the generator, or Ctrl-C, ends
    the processes at once. An error in an episode is raised here; EpisodesError when a process died.
    """
    count = min(len(jobs), num_processes(processes))
    if count <= 1:
        yield from _play_here(jobs, work)
        return
    workers = _start(count, work)
    try:
        yield from _deal(jobs, workers)
    finally:
        for worker in workers:
            worker.stop()


def num_processes(wanted: int | None) -> int:
    """``wanted``, or the number of cores this process may use."""
    if wanted is not None:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_bundle(model: str | Path, method: str | None = None) -> tuple[Path, Bundle]:
    """The bundle that ``model`` and ``method`` ('ebt', 'dp', 'regression') name, and its directory.

    ``model`` itself where its method is the one asked for (or none is), else its sub-folder of that name, where
    baselines lie. BundleError says what was looked for and how to make it.
    """
    directory = find_model(str(model))
    bundle = Bundle.load(directory)
    if method in (None, bundle.method):
        return directory, bundle
    baseline = directory / str(method)
    if not (baseline / POLICY_FILE).exists():
        raise BundleError(
            f"{directory} is of method '{bundle.method}' and has no '{method}' bundle beside it: expected "
            f"{baseline / POLICY_FILE}; train one with `ebt-policy train --method {method} --out {baseline}`"
        )
    found = Bundle.load(baseline)
    if found.method != method:
        raise BundleError(f"{baseline}: expected a bundle of method '{method}', got '{found.method}'")
    return baseline, found


def task_of(bundle: Bundle) -> str:
    """The task a bundle was trained for, as its provenance says; else its name."""
    data = bundle.provenance.get("data")
    task = data.get("task") if isinstance(data, Mapping) else None
    return str(task or bundle.name)


def _play_here(jobs: Sequence[Job], work: Callable[[Episode], Result]) -> Iterator[tuple[int, Result]]:
    stage = Stage()
    try:
        for place, job in enumerate(jobs):
            yield place, work(stage.prepare(job))
    finally:
        stage.close()


# ---- the processes ---------------------------------------------------------------------------------------------


class _Worker:
    """A process that plays what it is sent, one job at a time."""

    def __init__(self, context: Any, work: Callable[[Episode], Any]) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, place: int, job: Job) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: ``receive`` says so
            self.connection.send((place, job))

    def receive(self) -> tuple[int, Any]:
        """A place and its result; raises the error that came instead."""
        try:
            place, result, error = self.connection.recv()
        except (EOFError, ConnectionResetError) as lost:
            self.process.join(5.0)
            raise EpisodesError(
                f"a process that played episodes died (exit code {self.process.exitcode}); -9 means that it was "
                "killed, usually for memory: use fewer processes"
            ) from lost
        if error is not None:
            raise error
        return place, result

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(5.0)


def _start(count: int, work: Callable[[Episode], Any]) -> list[_Worker]:
    """Starts the processes, deaf to Ctrl-C (the parent's to handle) and with one thread each."""
    context = multiprocessing.get_context("spawn")  # OpenGL and torch do not survive a fork
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    os.environ.update(ONE_THREAD)
    try:
        return [_Worker(context, work) for _ in range(count)]
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if in_main:
            signal.signal(signal.SIGINT, handler)


def _deal(jobs: Sequence[Job], workers: Sequence[_Worker]) -> Iterator[tuple[int, Any]]:
    """Every worker gets its next job when it is done with the last."""
    waiting = deque(enumerate(jobs))
    busy = {}
    for worker in workers:
        worker.send(*waiting.popleft())
        busy[worker.connection] = worker
    while busy:
        for connection in wait(list(busy)):
            worker = busy[connection]  # type: ignore[index]
            done = worker.receive()
            if waiting:
                worker.send(*waiting.popleft())
            else:
                del busy[connection]  # type: ignore[arg-type]
            yield done


def _serve(connection: Connection, work: Callable[[Episode], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stage = Stage()
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone, perhaps with an answer unread
        while True:
            place, job = connection.recv()
            try:
                answer = (place, work(stage.prepare(job)), None)
            except EbtPolicyError as error:
                answer = (place, None, error)
            except ModuleNotFoundError as error:
                answer = (place, None, error)
            except Exception as error:  # noqa: BLE001 - carried to the parent, which raises it
                answer = (place, None, EpisodesError(f"episode with seed {job.seed}: {type(error).__name__}: {error}"))
            connection.send(answer)
