"""Executors: they wait for work of their nodes without using the processor, and run it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutinefunction
from typing import Any

from ebt_policy_ros.embedded.dds import WaitSet
from ebt_policy_ros.embedded.unsupported import module_getattr

from .callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from .subscription import _Call
from .task import Future, Task
from .utilities import get_default_context


class TimeoutException(Exception):
    """Nothing became ready in time."""


class ShutdownException(Exception):
    """The executor was shut down."""


class ExternalShutdownException(Exception):
    """The context was shut down while the executor was spinning."""


class ConditionReachedException(Exception):
    """What the executor was to wait for has happened."""


_ROS_GROUPS = (ReentrantCallbackGroup, MutuallyExclusiveCallbackGroup)


class _Grouped:
    """Entities that may run together or not at all."""

    __slots__ = ("any", "others", "readers")

    def __init__(self, entity: Any) -> None:
        self.any = entity
        self.readers: dict[int, Any] = {}
        """Handle to wait for -> entity."""
        self.others: list[Any] = []
        """What is asked, not waited for: timers and guard conditions."""


class _Work:
    """A plain callback of an entity, its data taken."""

    __slots__ = ("_call", "_entity")

    def __init__(self, call: Callable[[], Any], entity: Any) -> None:
        self._call, self._entity = call, entity

    def run(self) -> None:
        try:
            self._call()
        finally:
            self._entity.callback_group.ending_execution(self._entity)


class Executor:
    """Base of the executors; nodes are added and removed at any time, from any thread."""

    def __init__(self, *, context: Any = None) -> None:
        self._context = get_default_context() if context is None else context
        if not self._context.ok():
            from .exceptions import RCLError

            raise RCLError(
                "failed to create guard_condition: the given context is not valid, rcl_init() was not called"
            )
        self._nodes: list[Any] = []
        self._lock = threading.RLock()
        self._is_shutdown = False
        self._is_stale = True
        self._waitset: WaitSet | None = None
        self._grouped: list[_Grouped] = []
        self._handles: set[int] = set()
        self._ready: deque[Any] = deque()
        self._tasks: list[Task] = []
        self._busy = 0
        self._idle = threading.Condition()
        self._waiting = threading.RLock()
        self._local = threading.local()
        waker = weakref.WeakMethod(self.wake)
        self._waker = lambda: (waker() or _nothing)()
        self._context._wakers.append(self._waker)

    @property
    def context(self) -> Any:
        return self._context

    def create_task(self, callback: Any, *args: Any, **kwargs: Any) -> Task:
        task = Task(callback, args, kwargs, executor=self)
        with self._lock:
            self._tasks.append(task)
        self.wake()
        return task

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stops; True when all callbacks have ended within `timeout_sec` (None or negative: no limit)."""
        self._is_shutdown = True
        self.wake()
        limit = None if timeout_sec is None or timeout_sec < 0 else timeout_sec
        if not getattr(self._local, "is_running", False):  # a callback may shut its own executor down
            with self._idle:
                if not self._idle.wait_for(lambda: self._busy == 0, limit):
                    return False
        with self._lock:
            self._nodes.clear()
            if self._waker in self._context._wakers:
                self._context._wakers.remove(self._waker)
        with self._waiting:
            if self._waitset is not None:
                self._waitset.close()
        return True

    def add_node(self, node: Any) -> bool:
        with self._lock:
            if node in self._nodes:
                return False
            self._nodes.append(node)
        node.executor = self
        self._entities_changed()
        return True

    def remove_node(self, node: Any) -> None:
        with self._lock:
            if node in self._nodes:
                self._nodes.remove(node)
        self._entities_changed()

    def get_nodes(self) -> list[Any]:
        with self._lock:
            return list(self._nodes)

    def wake(self) -> None:
        """Makes the executor look again."""
        if self._waitset is not None:
            self._waitset.wake()

    def _entities_changed(self) -> None:
        self._is_stale = True
        self.wake()

    def spin(self) -> None:
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        future.add_done_callback(lambda _: self.wake())
        until = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self._context.ok() and not future.done() and not self._is_shutdown:
            left_s = None if until is None else max(0.0, until - time.monotonic())
            self._spin_once(left_s, future.done)
            if until is not None and time.monotonic() >= until:
                return

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Waits for one callback and runs it; no limit when `timeout_sec` is None or negative."""
        self._spin_once(timeout_sec, _never)

    def spin_once_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        future.add_done_callback(lambda _: self.wake())
        self._spin_once(timeout_sec, future.done)

    def _spin_once(self, timeout_sec: float | None, is_reached: Callable[[], bool]) -> None:
        raise NotImplementedError()

    def can_execute(self, entity: Any) -> bool:
        return bool(entity.callback_group.can_execute(entity))

    def _refresh(self) -> None:
        with self._lock:
            if self._waitset is None or self._waitset.participant.is_closed:
                self._waitset = WaitSet(self._context._dds())
            if not self._is_stale:
                return
            self._is_stale = False
            groups: dict[int, _Grouped] = {}
            for entity in (entity for node in self._nodes for entity in node._rcl_entities()):
                group = entity.callback_group
                # Groups of ROS's own kinds allow all of their callbacks or none.
                grouped = groups.setdefault(id(group if type(group) in _ROS_GROUPS else entity), _Grouped(entity))
                handle = getattr(entity, "_wait_handle", None)
                if handle is None:
                    grouped.others.append(entity)
                else:
                    grouped.readers[handle] = entity
            self._grouped = list(groups.values())
            self._handles = {handle for grouped in self._grouped for handle in grouped.readers}

    def _next_task(self, timeout_sec: float | None, is_reached: Callable[[], bool]) -> Task | _Work:
        """The next piece of work, its data already taken; raises Timeout, Shutdown or ConditionReached."""
        until = None if timeout_sec is None or timeout_sec < 0 else time.monotonic_ns() + int(timeout_sec * 1e9)
        has_waited = False
        while True:
            if self._is_shutdown:
                raise ShutdownException()
            if not self._context.ok():
                raise ExternalShutdownException()
            if is_reached():
                raise ConditionReachedException()
            task = self._waiting_task() or self._ready_task()
            if task is not None:
                return task
            if has_waited and until is not None and time.monotonic_ns() >= until:
                raise TimeoutException()
            self._wait(until)
            has_waited = True

    def _waiting_task(self) -> Task | None:
        if not self._tasks:
            return None
        with self._lock:
            self._tasks = [task for task in self._tasks if not task.done() and not task.cancelled()]
            for task in self._tasks:
                if not task.executing() and task._can_continue():
                    return task
        return None

    def _ready_task(self) -> Task | _Work | None:
        while self._ready:
            entity = self._ready.popleft()
            if not entity.callback_group.beginning_execution(entity):
                continue
            work = None
            try:
                work = entity._take()
            finally:
                if work is None:
                    entity.callback_group.ending_execution(entity)
            if work is not None:
                return self._task_of(entity, work)
        return None

    def _task_of(self, entity: Any, work: Any) -> Task | _Work:
        is_call = isinstance(work, _Call)
        if not iscoroutinefunction(work.callback if is_call else work):
            return _Work(work, entity)
        task = Task(work.callback, work.arguments, executor=self) if is_call else Task(work, executor=self)
        task._on_finished = lambda: entity.callback_group.ending_execution(entity)  # type: ignore[attr-defined]
        return task

    def _run(self, task: Task | _Work) -> None:
        self._local.is_running = True
        with self._idle:
            self._busy += 1
        try:
            if isinstance(task, _Work):
                task.run()
            else:
                self._step(task)
        finally:
            self._local.is_running = False
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _step(self, task: Task) -> None:
        """One step of a task; a coroutine that is not through stays with the executor."""
        is_over = True
        try:
            task()
            is_over = task.done() or task.cancelled()
        finally:
            finished = getattr(task, "_on_finished", None)
            if is_over and finished is not None:
                task._on_finished = None  # type: ignore[attr-defined]
                finished()
        if is_over:
            if task.exception() is not None:
                raise task.exception()  # type: ignore[misc]
        else:
            with self._lock:
                if task not in self._tasks:
                    self._tasks.append(task)
            if isinstance(task._waits_for, Future):
                task._waits_for.add_done_callback(lambda _: self.wake())

    def _wait(self, until_ns: int | None) -> None:
        with self._waiting:
            if not self._is_shutdown:
                self._wait_for_work(until_ns)

    def _wait_for_work(self, until_ns: int | None) -> None:
        self._refresh()
        limits = [] if until_ns is None else [until_ns - time.monotonic_ns()]
        free = [grouped for grouped in self._grouped if self.can_execute(grouped.any)]
        for grouped in free:
            for entity in grouped.others:
                if entity._is_ready():
                    limits.append(0)
                elif hasattr(entity, "_wait_ns") and (left := entity._wait_ns()) is not None:
                    limits.append(left)
        assert self._waitset is not None
        are_all_free = len(free) == len(self._grouped)
        self._waitset.attach_only(
            self._handles if are_all_free else {handle for grouped in free for handle in grouped.readers}
        )
        triggered = self._waitset.wait(min(limits) if limits else None)
        for grouped in free:
            self._ready.extend(entity for entity in grouped.others if entity._is_ready())
        for grouped in free:
            self._ready.extend(entity for handle, entity in grouped.readers.items() if handle in triggered)

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def _never() -> bool:
    return False


def _nothing() -> None:
    return None


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""

    def __init__(self, *, context: Any = None) -> None:
        super().__init__(context=context)

    def _spin_once(self, timeout_sec: float | None, is_reached: Callable[[], bool]) -> None:
        try:
            task = self._next_task(timeout_sec, is_reached)
        except (ShutdownException, TimeoutException, ConditionReachedException):
            return
        self._run(task)


class MultiThreadedExecutor(Executor):
    """Waits in the thread that spins and runs callbacks in a pool; callback groups say which may overlap."""

    def __init__(self, num_threads: int | None = None, *, context: Any = None) -> None:
        super().__init__(context=context)
        count = num_threads if num_threads is not None else max(2, os.cpu_count() or 2)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="ros_executor")
        self._errors: deque[BaseException] = deque()

    def _run_in_pool(self, task: Task | _Work) -> None:
        try:
            self._run(task)
        except BaseException as error:  # handed to the spinning thread, whatever it is
            self._errors.append(error)
        finally:
            self.wake()

    def _spin_once(self, timeout_sec: float | None, is_reached: Callable[[], bool]) -> None:
        try:
            task = self._next_task(timeout_sec, lambda: bool(self._errors) or is_reached())
        except (ShutdownException, TimeoutException, ConditionReachedException):
            pass
        else:
            with self._lock:
                if task in self._tasks:
                    self._tasks.remove(task)
            self._pool.submit(self._run_in_pool, task)
        if self._errors:
            raise self._errors.popleft()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        finished = super().shutdown(timeout_sec)
        self._pool.shutdown(wait=finished and not getattr(self._local, "is_running", False), cancel_futures=True)
        return finished


__getattr__ = module_getattr(__name__)
