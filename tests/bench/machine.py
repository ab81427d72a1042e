"""The machine a run was taken on, as the report tells it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path

from tests.bench.tools import version


def describe() -> dict[str, str]:
    """Name → what is there; nothing that identifies the machine."""
    found = {
        "Processor": f"{os.cpu_count()} cores, {_cpu_model()}",
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "Kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        # How it was compiled matters as much as its version.
        "Python": f"{platform.python_implementation()} {' '.join(sys.version.split())}",
        "Packages": ", ".join(
            f"{name} {_package(name)}" for name in ("httptools", "uvloop", "msgspec")
        ),
        "wrk": version(["wrk", "--version"]).split(" [")[0].removeprefix("wrk "),
        "nginx": version(["nginx", "-v"]).removeprefix("nginx version: "),
        "Load average before the run": f"{os.getloadavg()[0]:.2f}",
    }
    return {name: text for name, text in found.items() if text}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _package(name: str) -> str:
    try:
        return distribution_version(name)
    except PackageNotFoundError:
        return "absent"
