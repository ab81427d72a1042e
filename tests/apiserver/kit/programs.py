"""Where the programs of Kubernetes are, and how they are run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

__all__ = ["ROOT", "Program", "StartError", "program_path"]

ROOT: Final = Path(__file__).parents[3]
_BUILT: Final = ROOT / ".cache" / "kubernetes" / "bin"
_TIED: Final = ROOT / "examples" / "demo" / "tied.py"
_STOP_S: Final = 10.0
_LAST_WORDS: Final = 3000


class StartError(Exception):
    """A program that the tests need is missing, or did not start; the text says why."""


def program_path(name: str) -> str:
    """Where a program is: in `KUBEBUILDER_ASSETS` if that is set, else where `make` built it.

    Raises StartError, saying what to do, if it is in neither place.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidates = [Path(assets) / name] if assets and name != "helm" else [_BUILT / name]
    if name == "helm" and (known := shutil.which(name)) and assets:
        candidates.insert(0, Path(known))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return str(candidate)
    remedy = "mend KUBEBUILDER_ASSETS" if assets and name != "helm" else "run `make kubernetes`"
    raise StartError(f"{candidates[-1]} is missing: {remedy}")


class Program:
    """A running program that ends with the tests, however they end; a context manager."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._out: IO[bytes] = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(_TIED), str(os.getpid()), *command],
            cwd=log.parent,
            env=None if env is None else {**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._out,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """All it wrote so far."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Raise StartError with its last words if it has ended."""
        if self.exit_code is not None:
            words = self.output[-_LAST_WORDS:]
            raise StartError(f"{self.name} ended with {self.exit_code}:\n{words}")

    def wait_for_output(self, text: str, within_s: float = 30.0) -> None:
        """Wait until it has written a text; raises StartError if it ends or takes too long."""
        end_s = time.monotonic() + within_s
        while text not in self.output:
            self.check()
            if time.monotonic() > end_s:
                words = self.output[-_LAST_WORDS:]
                raise StartError(f"{self.name} did not write {text!r} in {within_s} s:\n{words}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self._process.kill()
        self._process.wait(_STOP_S)

    def stop(self) -> int:
        """Ask it to end, insist after 10 s; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._out.close()
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
