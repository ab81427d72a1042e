"""Starting, watching and ending the programs of the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType, TracebackType

__all__ = ["DemoError", "Interrupted", "Program", "Stage", "free_ports", "interruptible"]

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "sidecar"
STOP_TIMEOUT_S = 3.0
POLL_INTERVAL_S = 0.05
LOG_TAIL_LINES = 15


class DemoError(Exception):
    """The demo cannot go on, or something it claims did not hold. The text is a sentence."""


class Interrupted(BaseException):
    """A signal asked the demo to end. Not an `Exception`: nothing but the end may handle it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def _interrupt(signal_number: int, _frame: FrameType | None) -> None:
    # Once: what follows must not tear the cleaning up apart, which is bounded by itself.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signal_number)


def interruptible() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into `Interrupted`, raised in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as sockets:
        ports = []
        for _ in range(count):
            listener = sockets.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
        return ports


class Program:
    """One running program. Its output goes to a file that is shown if it fails."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.name = name
        self._process = process
        self._log = log

    def wait_ready(self, url: str, timeout_s: float) -> float:
        """Poll `url` until it answers 200; return the seconds that took.

        Raises `DemoError` if the program ends, or is not ready after `timeout_s`.
        """
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            if self._process.poll() is not None:
                raise self._ended()
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=1.0).status_code == 200:
                    return time.monotonic() - began
            time.sleep(POLL_INTERVAL_S)
        raise DemoError(
            f"{self.name} was not ready after {timeout_s:g} s ({url}). It said:\n{self.tail()}"
        )

    def finish(self, timeout_s: float, while_waiting: Callable[[], None]) -> str:
        """Wait until the program has ended by itself and return all it wrote.

        Raises `DemoError` if it fails or has not ended after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} has not ended after {timeout_s:g} s.")
            while_waiting()
            time.sleep(POLL_INTERVAL_S)
        if self._process.returncode != 0:
            raise self._ended()
        return self._output()

    def tail(self) -> str:
        """Return the last lines of what the program wrote."""
        return "\n".join(self._output().splitlines()[-LOG_TAIL_LINES:]) or "(nothing)"

    def _ended(self) -> DemoError:
        return DemoError(
            f"{self.name} ended with status {self._process.returncode}. It said:\n{self.tail()}"
        )

    def _output(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """End the program: politely, then not. It starts no others, so it is all there is."""
        process = self._process
        # The sidecar drains on the first SIGTERM; nobody is left to wait for, so insist.
        for patience_s in (0.3, STOP_TIMEOUT_S):
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience_s)
        process.kill()
        process.wait()
        self._log.close()


class Stage:
    """The programs that run, ended in reverse order when the block is left."""

    def __init__(self) -> None:
        self._programs: list[Program] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for program in reversed(self._programs):
            program.stop()

    def start(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start a Python program, in a session of its own and tied to this process.

        Must be called in the main thread: the tie is to the thread that starts it.
        """
        log = tempfile.TemporaryFile()  # closed by Program.stop
        # From a checkout the sidecar need not be installed.
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(SOURCES)]))
        python = sys.executable
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [python, "-IS", str(HERE / "tied.py"), str(os.getpid()), python, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches the demo alone, which ends the rest
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        )
        program = Program(name, process, log)
        self._programs.append(program)
        return program
