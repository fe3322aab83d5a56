"""When the model's thread looks, and at what."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ebt_policy_ros.core.types import Instant
from ebt_policy_ros.nodes import worker as module
from ebt_policy_ros.nodes.worker import Worker

PATIENCE_S = 30.0


def test_pictures_that_come_together_are_encoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_S", 0.2)
    asked: list[str] = []
    is_done = threading.Event()

    def is_due(_now: Instant) -> bool:
        asked.append("due?")
        if len(asked) < 3:
            worker.wake()  # one more picture is there before this one was looked at
        return False

    def look_ahead(_now: Instant) -> None:
        asked.append("ahead")
        is_done.set()

    pipeline: Any = SimpleNamespace(is_due=is_due, look_ahead=look_ahead, waits_for_camera=False)
    worker = Worker(
        pipeline, lambda: Instant(0, 0), lambda done: None, lambda error: asked.append(repr(error)), is_dry_run=bool
    )
    worker.resume()
    assert is_done.wait(PATIENCE_S)
    worker.close()
    assert asked[:4] == ["due?", "due?", "due?", "ahead"]
