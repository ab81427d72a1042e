"""The sidecar as a process: started with flags on free ports, watched, stopped."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from batcher_contract.names import READINESS_PROBE_ENV
from tests.ports import free_port
from tests.sidecar.kit.client import connect, request
from tests.sidecar.kit.wire import BOUND_S

__all__ = ["SidecarProcess", "until"]

_SOURCES: Final = Path(__file__).parents[3] / "sidecar"
_START_S: Final = 20.0
_POLL_S: Final = 0.01


async def until(
    reached: Callable[[], Awaitable[bool]], what: str, within_s: float = BOUND_S
) -> None:
    """Look again and again until `reached`.

    Raises:
        AssertionError: it took longer than `within_s`.
    """
    end_s = time.monotonic() + within_s
    while not await reached():
        assert time.monotonic() < end_s, f"not within {within_s} s: {what}"
        await asyncio.sleep(_POLL_S)


class SidecarProcess:
    """One running sidecar."""

    def __init__(
        self,
        flags: Sequence[str],
        *,
        log: Path,
        component_port: int,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.component_port = component_port
        ports = {"--port": free_port(), "--admin-port": free_port()}
        self.port = ports["--port"]
        self.admin_port = ports["--admin-port"]
        ports["--component-port"] = component_port
        self.log = log
        self.may_end = False
        """The test has told it to stop."""
        self._stderr: IO[bytes] = log.open("wb")
        environment = {k: v for k, v in os.environ.items() if k != READINESS_PROBE_ENV}
        environment["PYTHONPATH"] = str(_SOURCES)
        environment.update(env or {})
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "batcher_sidecar",
                # Flags of the test's own win: none may be given twice.
                *(f"{flag}={port}" for flag, port in ports.items() if flag not in flags),
                *flags,
            ],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """All it wrote so far, to both streams."""
        return self.log.read_text(errors="replace")

    async def started(self) -> None:
        """Wait until both ports answer.

        Raises:
            AssertionError: it ended, or took too long.
        """
        await until(self._answers, "the sidecar's start", _START_S)

    async def _answers(self) -> bool:
        assert self.running, f"ended with {self._process.returncode}:\n{self.output}"
        try:
            status = await self.admin_status("/livez")
            (await connect(self.port)).close()
        except OSError:
            return False
        return status == 200

    async def admin_status(self, target: str) -> int:
        admin = await connect(self.admin_port)
        try:
            admin.send(request("GET", target))
            return (await admin.response("GET")).status
        finally:
            admin.close()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.may_end = True
        self._process.send_signal(signal.SIGTERM)

    async def exit_code(self, within_s: float = BOUND_S) -> int:
        """Wait for its end."""
        await until(self._ended, "the sidecar's end", within_s)
        return self._process.returncode

    async def _ended(self) -> bool:
        return not self.running

    def stop(self) -> None:
        """End it without ceremony, if it still runs."""
        if self.running:
            self._process.kill()
        self._process.wait()
        self._stderr.close()

    def check(self) -> None:
        """It lives, unless it was told to stop, and wrote no traceback."""
        output = self.output
        assert "Traceback" not in output, output
        assert "never retrieved" not in output, output
        assert self.running or self.may_end, f"ended with {self._process.returncode}:\n{output}"
