"""One start of a policy in a fresh interpreter: python -m benchmarks.cold_start MODEL RUNTIME DEVICE; prints JSON.

Seconds until everything is imported and the model is loaded and warm, milliseconds of the first and of a later chunk,
and memory: the process's largest, and what is taken of the GPU's.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from benchmarks.reported import reported
from ebt_policy_ros.core.errors import SettingsError

EXIT_LACKING = 3
"""This machine has not what the runtime needs."""


@reported("cold_start")
def main(model: str, runtime: str, device: str) -> int:
    """Starts, thinks, says what it took; returns the exit status."""
    began_s = time.perf_counter()
    from ebt_policy_ros.assemble import assemble_all, load_robot
    from ebt_policy_ros.cli.bench_contestants import pictures

    try:
        assembly = assemble_all(model, load_robot("panda_sim")[0], {}, device, runtime, warm_up=True)
    except SettingsError as error:
        sys.stderr.write(f"benchmarks.cold_start: {error}\n")
        return EXIT_LACKING
    ready_s = time.perf_counter()
    minimiser = assembly.minimiser
    chunks = []
    for seed in range(20):
        seen = pictures(minimiser.bundle, seed)
        chunk_s = time.perf_counter()
        minimiser.minimise(seen, steps=2, starts=1, seed=seed)
        chunks.append((time.perf_counter() - chunk_s) * 1e3)
    told = {
        "ready_s": round(ready_s - began_s, 2),
        "first_chunk_ms": round(chunks[0], 2),
        "later_chunk_ms": round(sorted(chunks[5:])[7], 2),
        "memory_mb": round(largest_kb() / 1e3),
        "has_torch": "torch" in sys.modules,
    }
    if device != "cpu" and told["has_torch"]:
        import torch

        told["device_memory_mb"] = round(torch.cuda.max_memory_reserved() / 1e6)
    print(json.dumps(told))
    return 0


def largest_kb() -> int:
    """The largest resident memory so far [kB]; unlike getrusage's not that of the process that started this one."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) if found else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:4]))
