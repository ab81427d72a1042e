"""Start, readiness, drain and end of the process."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher_contract import BatcherSettings
    from batcher_sidecar.dataport import SidecarPort
    from batcher_sidecar.probe import ModelProbe

UNDRAIN_AFTER_S: Final = 10.0
"""How long after a drain by the hook SIGTERM may take before the drain is called off."""

_log = logging.getLogger(__name__)


class Lifecycle:
    """Whether we are ready or draining, and how the end comes.

    A drain makes readiness fail, ends all windows and has each answer close its connection, but
    goes on accepting: other machines learn of it late. It is quiet when for the quiet time of the
    settings no request but probes has come.
    """

    def __init__(self, port: SidecarPort, probe: ModelProbe, settings: BatcherSettings) -> None:
        self._port = port
        self._probe = probe
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._drain_began_s = 0.0
        self._hooks = 0  # that are being answered
        self._undrain: asyncio.TimerHandle | None = None
        self.terminating = asyncio.Event()
        """SIGTERM or SIGINT has come."""
        self.aborting = asyncio.Event()
        """It has come twice."""

    def apply(self, settings: BatcherSettings) -> None:
        """Drain by these settings from now on."""
        self._settings = settings

    def handle_signals(self) -> None:
        """React to SIGTERM and SIGINT: drain, then end; at once the second time."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.terminating.is_set():
            _log.warning("told twice to end: ending at once")
            self.aborting.set()
            return
        _log.info("told to end: draining")
        self.terminating.set()
        if self._undrain is not None:
            self._undrain.cancel()
        self._begin_drain()

    async def ready(self) -> tuple[bool, str]:
        """Tell whether requests should be sent here, and why."""
        if self._port.draining:
            return False, "draining: this pod is going away"
        if await self._probe.check():
            return True, "ready: the model server's own probe succeeds"
        return False, f"the model server is not ready: {self._probe.reason}"

    def _begin_drain(self) -> None:
        if not self._port.draining:
            self._drain_began_s = time.monotonic()
            self._port.drain(active=True)

    def _call_off_drain(self) -> None:
        self._undrain = None
        _log.warning("no SIGTERM came within %g s after the drain: serving again", UNDRAIN_AFTER_S)
        self._port.drain(active=False)

    async def drain_by_hook(self) -> str:
        """Drain for the preStop hook of the model's container; return when nothing is left to do.

        Where the model's own probe fails there is nothing to wait for, and waiting would hold up
        the restart of a model server that hangs.
        """
        if self._undrain is not None:
            self._undrain.cancel()
            self._undrain = None
        self._begin_drain()
        self._hooks += 1
        try:
            if not await self._probe.check():
                return "the model server is not ready: nothing to wait for"
            await self._until_quiet()
            left_s = self._drain_began_s + self._settings.drain_timeout_s - time.monotonic()
            await self._port.until_answered(left_s)
            return "drained"
        finally:
            self._hooks -= 1
            if not self._hooks and not self.terminating.is_set():
                self._undrain = self._loop.call_later(UNDRAIN_AFTER_S, self._call_off_drain)

    async def _until_quiet(self) -> None:
        """Wait until nobody has asked for a while, within the drain's timeout."""
        while True:
            now_s = time.monotonic()
            last_s = max(self._drain_began_s, self._port.last_request_s)
            quiet_at_s = last_s + self._settings.drain_quiet_s
            left_s = min(quiet_at_s, self._drain_began_s + self._settings.drain_timeout_s) - now_s
            if left_s <= 0:
                return
            await asyncio.sleep(left_s)

    async def run(self) -> int:
        """Serve until told to end; drain; return the exit code."""
        await self.terminating.wait()
        drain = asyncio.ensure_future(self._drain_to_end())
        abort = asyncio.ensure_future(self.aborting.wait())
        await asyncio.wait([drain, abort], return_when=asyncio.FIRST_COMPLETED)
        finished = drain.done()
        for task in (drain, abort):
            task.cancel()
        await asyncio.wait([drain, abort], timeout=1)
        if finished and not drain.cancelled():
            drain.result()
        return 0 if finished else 1

    async def _drain_to_end(self) -> None:
        await self._until_quiet()
        self._port.stop_listening()
        await self._port.until_answered(self._port.timeout_s)
        _log.info("drained: ending")
