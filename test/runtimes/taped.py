"""CUDA graphs on the CPU: the operations of one call, done again on the same memory without the Python around them.

What a graph may not hold shows here: a number that Python took from one call's inputs, or a choice that it made by
them, stays what it was when the graph was captured. (Where the inputs lie on a GPU, the capture itself refuses to look
at them; where they lie on the host, it does not.)
"""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ebt_policy_ros.runtimes import torch_programs


class _Taping(TorchDispatchMode):
    def __init__(self, tape):
        super().__init__()
        self._tape = tape

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self._tape.append((function, args, kwargs or {}, result))
        return result


class Graph:
    """What torch.cuda.CUDAGraph is: replayed into the tensors that its capture made."""

    def __init__(self):
        self.tape, self.replays = [], 0

    def replay(self):
        self.replays += 1
        for function, args, kwargs, result in self.tape:
            again = function(*args, **kwargs)
            for kept, made in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(kept, torch.Tensor) and kept.data_ptr() != made.data_ptr():
                    kept.copy_(made)


class Event:
    """What torch.cuda.Event is: a recorded one has to be waited for before its graph's inputs are written anew."""

    def __init__(self):
        self.told = []

    def record(self):
        self.told.append("recorded")

    def synchronize(self):
        self.told.append("waited for")


class _Stream:
    def wait_stream(self, other):
        assert isinstance(other, _Stream)


def put_in_place(monkeypatch):
    """Recordings for the CPU are made as those for a GPU are; returns the graphs, as they are made."""
    graphs = []

    @contextlib.contextmanager
    def capture(graph, capture_error_mode):
        assert capture_error_mode == "thread_local"
        with _Taping(graph.tape):
            yield

    def make():
        graphs.append(Graph())
        return graphs[-1]

    monkeypatch.setattr(torch_programs, "_Rehearsal", torch_programs._Recording)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    for name in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda _: contextlib.nullcontext())
    return graphs
