"""Install the Debian packages named as arguments, as far as they are missing.

It says what it installs. It needs root; without, or on another system, it says what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main() -> None:
    """Install what is missing."""
    missing = [name for name in sys.argv[1:] if not is_installed(name)]
    if not missing:
        return
    words = " ".join(missing)
    if not shutil.which("apt-get"):
        sys.exit(f"Install what Debian has as {words}: this system has no apt-get to do it with.")
    if os.geteuid():
        sys.exit(f"Run this as root, or first `apt-get install --no-install-recommends {words}`.")
    sys.stdout.write(f"installing Debian packages: {words}\n")
    sys.stdout.flush()
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *missing]
    for command in (["apt-get", "--quiet", "update"], install):
        done = subprocess.run(  # noqa: S603
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        # Lists that cannot be renewed may still do.
        if done.returncode and command is install:
            sys.exit(f"{done.stdout[-3000:]}\n`{' '.join(command)}` failed: see its words above.")


def is_installed(package: str) -> bool:
    """Whether the package is installed whole."""
    query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}", package)
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return False
    return done.stdout == "installed"


if __name__ == "__main__":
    main()
