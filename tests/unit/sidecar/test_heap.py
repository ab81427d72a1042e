"""Memory that was freed is used again."""

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from batcher_sidecar.heap import keep_freed_memory

SIDECAR: Final = Path(__file__).parents[3] / "sidecar"
PROGRAM: Final = """
import resource, sys
from batcher_sidecar.heap import keep_freed_memory
limit_bytes = int(sys.argv[1])
if limit_bytes and not keep_freed_memory(limit_bytes):
    raise SystemExit("another C library")
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def bodies():
    return [bytes(250_000) + b"x" for _ in range(20)]
for _ in range(5):
    bodies()
before = faults()
for _ in range(20):
    bodies()
print(faults() - before)
"""


def faults(limit_bytes: int) -> int:
    """How many pages a process had to ask for again."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit_bytes)],
        cwd=SIDECAR,
        capture_output=True,
        text=True,
        check=False,
    )
    if "another C library" in done.stderr:
        pytest.skip("this C library decides by itself what it keeps")
    return int(done.stdout)


def test_large_blocks_are_not_asked_for_again_and_again() -> None:
    assert faults(64 << 20) < 200
    assert faults(0) > 2000


def test_no_more_is_kept_than_was_said() -> None:
    assert faults(1 << 20) > 2000


def test_a_c_library_without_the_choice_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert keep_freed_memory(1 << 20) is False
