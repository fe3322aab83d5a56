"""Freed memory is kept for the next picture."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from ebt_policy_ros.nodes.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
size = 640 * 480 * 3
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    bytes(bytearray(size))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_pictures_are_not_got_page_by_page_any_more():
    pages = {}
    for how in ("returned", "kept"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        pages[how] = int(done.stdout)
    assert pages["kept"] < pages["returned"] / 10
