"""How functions of tensors run in torch: as they are, compiled, or recorded once as CUDA graphs and replayed.

A CUDA graph takes its inputs from fixed addresses and leaves its results at fixed ones, and launches hundreds of small
kernels at the price of one. So every recording has static buffers of its own; what goes in and comes out is copied, a
few microseconds for the small tensors here, and nobody's result changes under his hands. Inputs from the host lie in
pinned memory, from where the graph itself fetches them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ebt_policy_ros.core.errors import SettingsError

Function = Callable[..., tuple[Tensor, ...]]
MOST_RECORDINGS = 16
"""Recordings kept of one function, one for every set of shapes; the oldest goes."""
_WARM_UPS = 3


class Programs:
    """Makes what runs a function on a device."""

    def __init__(self, device: torch.device, *, compiled: bool = False, recorded: bool = False) -> None:
        """SettingsError where nothing could compile. ``recorded`` on the CPU goes through the same buffers without a
        graph: a rehearsal, for tests."""
        self._device, self._compiles, self.records = device, compiled, recorded
        if compiled:
            _check_compiler(device)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function by torch.compile, if that is wanted; compiled when it first runs."""
        if not self._compiles:
            return function
        options = {"cpp_wrapper": True} if self._device.type == "cpu" else None
        return torch.compile(function, fullgraph=True, options=options)  # type: ignore[no-any-return]

    def recorded(self, function: Function) -> Function:
        """The function as a recording for every set of input shapes, if that is wanted; made when it first runs."""
        return Recorded(function, self._device) if self.records else function


class Recorded:
    """A function that runs by replaying what it did when it first saw inputs of these shapes.

    It must do the same whatever its inputs say: no look at a value, no result but its tensors.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self._function, self._device = function, device
        self._recordings: OrderedDict[tuple[Any, ...], _Recording | _Rehearsal] = OrderedDict()

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        shapes = tuple((value.shape, value.dtype, value.device) for value in values)
        recording = self._recordings.get(shapes)
        if recording is None:
            make = _Recording if self._device.type == "cuda" else _Rehearsal
            recording = self._recordings[shapes] = make(self._function, values, self._device)
            if len(self._recordings) > MOST_RECORDINGS:
                self._recordings.popitem(last=False)
        return recording.replay(values)


class _Rehearsal:
    """A function that goes through the buffers of a recording and computes anew each time: what a CPU can do."""

    def __init__(self, function: Function, values: tuple[Tensor, ...], device: torch.device) -> None:
        self._function = function
        self._inputs = tuple(_buffer(value, device) for value in values)
        _put(values, self._inputs)
        self._outputs = function(*self._inputs)

    def replay(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Its results for these values."""
        _put(values, self._inputs)
        _put(self._function(*self._inputs), self._outputs)
        return tuple(kept.clone() for kept in self._outputs)


class _Recording:
    """A CUDA graph."""

    def __init__(self, function: Function, values: tuple[Tensor, ...], device: torch.device) -> None:
        self._device = device
        self._inputs = tuple(_buffer(value, device) for value in values)
        _put(values, self._inputs)
        with torch.cuda.device(device):
            self._done = torch.cuda.Event()
            self._graph, self._outputs = _capture(function, self._inputs)

    def replay(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Its results for these values; nothing is waited for but that the last replay has fetched its own."""
        with torch.cuda.device(self._device):
            self._done.synchronize()  # else the host would write into buffers that are still read
            _put(values, self._inputs)
            self._graph.replay()
            self._done.record()
            return tuple(kept.clone() for kept in self._outputs)


def _put(values: tuple[Tensor, ...], buffers: tuple[Tensor, ...]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def _buffer(value: Tensor, device: torch.device) -> Tensor:
    """Room for values like this one, where it lies; on the host pinned, so that a GPU can fetch it by itself."""
    is_fetched = device.type == "cuda" and value.device.type == "cpu"
    return torch.empty(value.shape, dtype=value.dtype, device=value.device, pin_memory=is_fetched)


def _capture(function: Function, inputs: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
    """The graph of one call, and where its results will be; after a few calls that allocate and choose kernels."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = function(*inputs)
    return graph, outputs


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise SettingsError("runtime 'torch_compile' needs triton on a GPU; install it, or use runtime torch")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SettingsError(
            f"runtime 'torch_compile' needs a C++ compiler and '{compiler}' is not there; install g++, name another "
            "one in CXX, or use runtime torch"
        )
