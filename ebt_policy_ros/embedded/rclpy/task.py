"""Futures, and tasks that an executor runs."""

from __future__ import annotations

import inspect
import threading
import warnings
import weakref
from collections.abc import Callable, Generator
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr


class Future:
    """A result that comes later; done callbacks run in the executor when there is one, else in the setting thread."""

    def __init__(self, *, executor: Any = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Future], Any]] = []
        self._lock = threading.RLock()
        self._executor: Any = None
        self._set_executor(executor)

    def __del__(self) -> None:
        if self._exception is not None and not self._exception_fetched:
            warnings.warn(f"The following exception was never retrieved: {self._exception}", stacklevel=1)

    def __await__(self) -> Generator[Any, None, Any]:
        while not self.done():
            yield self
        return self.result()

    def cancel(self) -> None:
        with self._lock:
            if not self._done:
                self._cancelled = True
        self._run_callbacks()

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        """The result, None before it is there; raises what was set as exception."""
        if self._exception is not None:
            self._exception_fetched = True
            raise self._exception
        return self._result

    def exception(self) -> BaseException | None:
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: Any) -> None:
        with self._lock:
            self._result = result
            self._done = True
            self._cancelled = False
        self._run_callbacks()

    def set_exception(self, exception: BaseException) -> None:
        with self._lock:
            self._exception = exception
            self._exception_fetched = False
            self._done = True
            self._cancelled = False
        self._run_callbacks()

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        self._schedule([callback])

    def _run_callbacks(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        self._schedule(callbacks)

    def _schedule(self, callbacks: list[Callable[[Future], Any]]) -> None:
        executor = self._executor() if self._executor is not None else None
        for callback in callbacks:
            if executor is not None:
                executor.create_task(callback, self)
                continue
            try:
                callback(self)
            except Exception as error:  # kept for whoever asks for the result
                warnings.warn(f"Unhandled exception in done callback: {error}", stacklevel=2)

    def _set_executor(self, executor: Any) -> None:
        self._executor = None if executor is None else weakref.ref(executor)


class Task(Future):
    """A function or coroutine that an executor runs; a coroutine is continued until it returns."""

    def __init__(self, handler: Any, args: Any = None, kwargs: Any = None, executor: Any = None) -> None:
        super().__init__(executor=executor)
        args, kwargs = args or (), kwargs or {}
        if inspect.iscoroutinefunction(handler):
            self._handler: Any = handler(*args, **kwargs)
        elif inspect.iscoroutine(handler):
            self._handler = handler
        else:
            self._handler = lambda: handler(*args, **kwargs)
        self._is_coroutine = inspect.iscoroutine(self._handler)
        self._task_lock = threading.Lock()
        self._is_executing = False
        self._waits_for: Any = None

    def __call__(self) -> None:
        """One step; done() tells whether it was the last."""
        if self._done or self._cancelled or self._is_executing or not self._task_lock.acquire(blocking=False):
            return
        try:
            self._is_executing = True
            if self._is_coroutine:
                self._step()
            else:
                self.set_result(self._handler())
        except Exception as error:
            self.set_exception(error)
        finally:
            self._is_executing = False
            self._task_lock.release()

    def _step(self) -> None:
        try:
            self._waits_for = self._handler.send(None)
        except StopIteration as stop:
            self.set_result(stop.value)

    def executing(self) -> bool:
        return self._is_executing

    def cancel(self) -> None:
        if self._is_coroutine:
            self._handler.close()
        super().cancel()

    def _can_continue(self) -> bool:
        return not isinstance(self._waits_for, Future) or self._waits_for.done()


__getattr__ = module_getattr(__name__)
