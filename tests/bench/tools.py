"""The programs from the distribution that the benchmark needs: wrk and nginx."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


class MissingTool(Exception):
    """A program is absent and could not be installed; the text says what to install."""


def require(name: str) -> None:
    """Make sure the program is there, from the Debian package of the same name if we are root.

    Raises MissingTool with the remedy otherwise.
    """
    if shutil.which(name):
        return
    remedy = f"{name} is missing: install it with `sudo apt-get install {name}`"
    if os.geteuid() or not shutil.which("apt-get"):
        raise MissingTool(remedy)
    sys.stderr.write(f"installing {name} …\n")
    # RUNLEVEL=1 keeps Debian from starting the service that a package brings.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", name],
    ):
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=300, check=False
        )
    if done.returncode or not shutil.which(name):
        raise MissingTool(f"{remedy} (apt-get said: {done.stderr.strip()[-300:]})")


def version(command: list[str]) -> str:
    """The first line a program prints about its version, or an empty text."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip().split("\n", 1)[0]
