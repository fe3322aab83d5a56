"""Runs a node with rclpy, real or embedded: `python -m ebt_policy_ros.embedded package.module:main --ros-args ...`."""

from __future__ import annotations

import importlib
import sys

from ebt_policy_ros.embedded import install


def main() -> int:
    """Imports `module:function` (default 'main') and calls it with the remaining command line in sys.argv."""
    if len(sys.argv) < 2:
        sys.stderr.write("usage: python -m ebt_policy_ros.embedded MODULE[:FUNCTION] [--ros-args ...]\n")
        return 2
    install()
    module, _, function = sys.argv.pop(1).partition(":")
    result = getattr(importlib.import_module(module), function or "main")()
    return int(result or 0)


if __name__ == "__main__":
    sys.exit(main())
