"""A base image with Python from Debian's packages, for where no registry can be reached."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from engine import Engine, debian, fail, run

LOCAL_BASE: Final = "localhost/python:3.13"
RELEASE: Final = "trixie"  # has Python 3.13
PACKAGES: Final = "python3,python3-venv,ca-certificates"
# What nothing in a container reads.
CLUTTER: Final = (
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
    *("var/cache/apt", "var/lib/apt/lists", "var/log"),
)


def make_base(engine: Engine) -> None:
    """Make the image; needs root and Debian's debootstrap."""
    if os.geteuid():
        fail("a base image can be made from Debian's packages by root only: name one with --base")
    debian("debootstrap")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(root))
        for name in CLUTTER:
            shutil.rmtree(root / name, ignore_errors=True)
        run("tar", "--create", "--file", f"{folder}/root.tar", "--directory", str(root), ".")
        shutil.rmtree(root)
        dockerfile = Path(folder) / "Dockerfile"
        dockerfile.write_text("FROM scratch\nADD root.tar /\n")
        context = (str(dockerfile), "--tag", LOCAL_BASE, folder)
        run(*engine.build, "--file", *context, env=engine.env)
