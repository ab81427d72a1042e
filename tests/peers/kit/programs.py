"""Model servers as processes, each out of an environment of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ROOT", "START_S", "Program", "installed"]

ROOT: Final = Path(__file__).parents[3]
START_S: Final = 240.0
"""How long a server may take, with its installation if that is still to be done."""
STOP_S: Final = 5.0
_INSTALL_S: Final = 600.0
_POLL_S: Final = 0.05
_TIED: Final = ROOT / "examples" / "demo" / "tied.py"


def installed(name: str) -> Path:
    """The environment of a peer, made now if it is not there yet.

    Raises:
        AssertionError: it cannot be installed; with pip's or uv's words.
    """
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "peers" / "install.py"), name],
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, f"{name} is not installed:\n{done.stdout}{done.stderr}"
    return ROOT / ".cache" / "peers" / name


class Program:
    """A command in a session of its own; its output goes to a file that is shown if it fails."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        self._output: IO[bytes] = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-IS", str(_TIED), str(os.getpid()), *command],
            cwd=log.parent,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    def wait_ready(self, url: str) -> None:
        """Poll `url` until it answers 200.

        Raises:
            AssertionError: the command ended, or took longer than `START_S`.
        """
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            code = self._process.poll()
            assert code is None, f"ended with {code}:\n{self.tail()}"
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=1.0).status_code == 200:
                    return
            time.sleep(_POLL_S)
        raise AssertionError(f"no 200 from {url} within {START_S} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """End it and whatever it started."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
