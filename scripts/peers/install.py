"""Install model servers and tools of others, named as arguments, that the tests run against.

Each gets a virtual environment of its own, `.cache/peers/NAME`, with exactly what `NAME.txt`
beside this file lists. What is there already, of the same list, is left as it is.

| Name | What it is |
|---|---|
| mlserver | MLServer and its scikit-learn runtime |
| perf | perf_analyzer, as the wheel of tritonclient brought it until 2.46.0 |
| triton | Triton Inference Server with its Python backend, out of the wheel of nvidia-pytriton |
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from install import ROOT, VENV_PYTHON, run, uv_environment  # noqa: E402

HOME: Final = Path(ROOT) / ".cache" / "peers"
STAMP: Final = "installed"


def main() -> None:
    """Install what is missing or out of date; say nothing if all is there."""
    names = sys.argv[1:]
    known = sorted(path.stem for path in HERE.glob("*.txt"))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        sys.exit(f"Name some of: {', '.join(known)}.")
    HOME.mkdir(parents=True, exist_ok=True)
    for name in names:
        with (HOME / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be about it
            install(name)


def install(name: str) -> None:
    """Install into a fresh environment, unless the one that is there is current."""
    target, listed = HOME / name, HERE / f"{name}.txt"
    wanted = f"{platform.python_version()} {listed.read_text()}"
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    sys.stdout.write(f"installing {name} into {target.relative_to(ROOT)}, once\n")
    sys.stdout.flush()
    shutil.rmtree(target, ignore_errors=True)
    uv = (VENV_PYTHON, "-m", "uv", "--quiet")
    env = uv_environment()
    run(*uv, "venv", "--python", VENV_PYTHON, os.fspath(target), env=env)
    into = ("--python", os.fspath(target / "bin" / "python"))
    # The list is whole, so nothing is left to be resolved. Compiled, a server starts in seconds.
    how = ("--no-deps", "--compile-bytecode")
    run(*uv, "pip", "install", *into, *how, "--requirement", os.fspath(listed), env=env)
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
