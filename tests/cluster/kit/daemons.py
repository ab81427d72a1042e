"""Programs that outlive the process that started them, and are ended by their PID files."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.apiserver.kit import StartError

__all__ = ["Daemons", "end_processes", "is_alive"]

_STOP_S: Final = 5.0
_LAST_WORDS: Final = 3000


class Daemons:
    """The programs whose PID files are in one folder."""

    def __init__(self, folder: Path, logs: Path, prefix: Sequence[str] = ()) -> None:
        self._folder, self._logs, self._prefix = folder, logs, prefix

    def start(self, name: str, *command: str) -> None:
        """Start a program under a name of its own, in the place of the calling process's session.

        What the prefix runs must become the program (`exec`), so that the PID is the program's.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        log, append = str(self._logs / f"{name}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # Not a Popen, which asks to be waited for by the process that made it.
        pid = os.posix_spawnp(
            "env",
            ["env", f"--chdir={self._logs}", *self._prefix, *command],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        (self._folder / name).write_text(f"{pid} {_born(pid)}")

    def is_running(self, name: str) -> bool:
        return self._find(name) is not None

    def check(self) -> None:
        """Raise StartError with the last words of a program that has ended."""
        for name in self.names:
            if not self.is_running(name):
                raise StartError(f"{name} has ended:\n{self.last_words(name)}")

    def last_words(self, name: str) -> str:
        """The end of what it wrote."""
        with contextlib.suppress(OSError):
            return (self._logs / f"{name}.log").read_text(errors="replace")[-_LAST_WORDS:]
        return ""

    @property
    def names(self) -> list[str]:
        """Those that were started, in no order."""
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []

    def stop(self, name: str, *, politely: bool = True) -> None:
        """End a program; one that has ended, or was never started, is fine."""
        pid = self._find(name)
        if pid is not None:
            end_processes([pid], politely=politely)
        (self._folder / name).unlink(missing_ok=True)

    def _find(self, name: str) -> int | None:
        try:
            pid, born = map(int, (self._folder / name).read_text().split())
        except (OSError, ValueError):
            return None
        # Another program may have got the number since.
        return pid if is_alive(pid) and _born(pid) == born else None


def end_processes(pids: Iterable[int], *, politely: bool = False) -> None:
    """End processes and wait until they are gone; insists after 5 s."""
    left = set(pids)
    end_s = time.monotonic() + (_STOP_S if politely else 0)
    for number in (signal.SIGTERM, signal.SIGKILL) if politely else (signal.SIGKILL,):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL:
            end_s = time.monotonic() + _STOP_S
        while left and time.monotonic() < end_s:
            left = {pid for pid in left if is_alive(pid)}
            time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; reaps it if it was this process's child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def _born(pid: int) -> int:
    """When a process was started, in the kernel's ticks; 0 if it is gone."""
    try:
        return int(_stat(pid)[19])
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
