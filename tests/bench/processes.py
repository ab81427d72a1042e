"""Processes under measurement: started in their own group, accounted for as a group, killed so."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED: Final = 2
_GONE_TIMEOUT_S: Final = 5.0
_running: set[ProcessGroup] = set()


class StartError(Exception):
    """A process that was to be measured did not start; the text says which and why."""


class StubError(Exception):
    """The benchmark's own model server failed: nothing can be measured."""


@contextlib.contextmanager
def alone(waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the machine against other runs; calls `waiting` once if another one holds it.

    The lock is a name in the network namespace and goes with the process, however that ends.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        said = False
        while True:
            try:
                lock.bind("\0inference-batcher-bench")
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            if not said:
                waiting()
                said = True
            time.sleep(1)
        yield


def process_cpu_s(pid: int) -> float:
    """CPU seconds (user and system) that a process and all its threads have used so far.

    The sum of utime and stime of ``/proc/<pid>/stat``, but read from the process's CPU clock
    (clock_getcpuclockid(3)), which is not rounded to ticks of 10 ms.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        fields = _stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def machine_busy_s() -> float:
    """CPU seconds of all processes of the machine since boot (user, nice and system)."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(ticks) for ticks in first[1:4]) / _TICKS_PER_S


def _stat_fields(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` after the name, or nothing if the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _status_bytes(pid: int, name: str) -> int:
    """A size of ``/proc/<pid>/status`` (`VmRSS`, `VmHWM`) in bytes; 0 if the process has gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


class ProcessGroup:
    """A command in its own session, with whatever it starts; a context manager that kills it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        log: Path | None = None,
        stop_s: float = 0,
    ) -> None:
        self.command = list(command)
        self._cwd = cwd
        self._log = log
        self._stop_s = stop_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        _running.add(self)
        with open(self._log or os.devnull, "ab") as output:
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"{self.command[0]} cannot be started: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the process group has not been started"
        return self._process.pid

    def pids(self) -> list[int]:
        """Every live process of the group."""
        group = str(self.pid)
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat_fields(int(entry))
                if fields and fields[0] != "Z" and group in (fields[2], fields[3]):
                    found.append(int(entry))
        return found

    def cpu_s(self) -> float:
        """CPU seconds of all live processes of the group together."""
        return sum(process_cpu_s(pid) for pid in self.pids())

    def rss_bytes(self) -> int:
        """Resident memory of the group now (pages that two processes share count twice)."""
        return sum(_status_bytes(pid, "VmRSS") for pid in self.pids())

    def peak_rss_bytes(self) -> int:
        """The sum of the processes' highest resident memory so far."""
        return sum(_status_bytes(pid, "VmHWM") for pid in self.pids())

    def exit_code(self) -> int | None:
        """The exit status of the command, None while it runs."""
        assert self._process is not None, "the process group has not been started"
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Wait for the command's end; subprocess.TimeoutExpired when it takes longer."""
        assert self._process is not None, "the process group has not been started"
        return self._process.wait(timeout_s)

    def failure(self) -> str:
        """Why the command is of no use: its exit status and the end of what it printed."""
        code = self.exit_code()
        state = "is not ready" if code is None else f"ended with status {code}"
        printed = ""
        if self._log is not None and self._log.exists():
            printed = self._log.read_text(errors="replace")[-800:].strip()
        if self._log is None:
            printed = "(its output is discarded: run the command by hand to see it)"
        return f"{' '.join(self.command)} {state}" + (f":\n{printed}" if printed else "")

    def kill(self) -> None:
        """SIGKILL the whole group, after `stop_s` seconds for the command to end on SIGTERM.

        A graceful stop may take half a minute, and nothing is lost here; but one that is quick lets
        a command take its own children along.
        """
        if self._process is None:
            _running.discard(self)
            return
        if self._stop_s and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        deadline_s = time.monotonic() + _GONE_TIMEOUT_S
        while self.pids() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        _running.discard(self)


@atexit.register
def _kill_leftovers() -> None:
    for group in list(_running):
        group.kill()
