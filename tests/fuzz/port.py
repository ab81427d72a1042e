"""The data port as a whole, in virtual time, between fake clients and a fake model server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batcher_contract import BatcherSettings
from batcher_sidecar.codecs import Codecs
from batcher_sidecar.config import SidecarConfig
from batcher_sidecar.dataport import SidecarPort
from batcher_sidecar.flow import READ_AHEAD_BYTES
from batcher_sidecar.metrics import Metrics
from batcher_sidecar.server import ClientConnection
from batcher_sidecar.upstream import UpstreamPool
from tests.fuzz import oracle
from tests.fuzz.client import Caller
from tests.fuzz.engine import Fault
from tests.fuzz.generate import scenario as generate
from tests.fuzz.model import Model
from tests.fuzz.network import Link
from tests.fuzz.scenario import Scenario, smaller_scenarios
from tests.fuzz.virtual import VirtualLoop

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

__all__ = ["PortTarget"]

_WAIT_S: Final = 400.0
"""How long clients wait for answers; less than connections may be idle."""
_SOON_S: Final = 0.1
_REST_S: Final = 1000.0
"""How long everything may take to come to rest once all clients have gone."""


class _Gauges(Metrics):
    """Metrics that let the present values be read."""

    def bind(self, **gauges: Callable[[], int]) -> None:
        super().bind(**gauges)
        self.read = gauges


class PortTarget:
    """Scenarios around one data port (``Target``)."""

    name = "port"
    share = 3

    def generate(self, rng: random.Random) -> Scenario:
        """Make a scenario."""
        return generate(rng)

    def run(self, case: Scenario) -> None:
        """Play a scenario and look at everything that came of it."""
        loop = VirtualLoop()
        try:
            with loop.clock():
                asyncio.set_event_loop(loop)
                _Run(loop, case).play()
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def smaller(self, case: Scenario) -> Iterator[Scenario]:
        """Name simpler scenarios."""
        return smaller_scenarios(case)

    def encode(self, case: Scenario) -> Any:
        """Write a scenario as JSON can hold it."""
        return msgspec.to_builtins(case)

    def decode(self, content: Any) -> Scenario:
        """Read what ``encode`` wrote."""
        return msgspec.convert(content, Scenario)


class _Run:
    """One scenario being played."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario) -> None:
        self._loop = loop
        self._scenario = scenario
        self._model = Model(loop, scenario)
        self._callers: list[Caller] = []
        self._links: list[Link] = []
        self._connections: list[ClientConnection] = []
        self._metrics = _Gauges()
        self._ended = False

    def play(self) -> None:
        """Play it.

        Raises:
            Fault: something is wrong.
        """
        loop = self._loop
        loop.run_until_complete(self._set_up())
        started_s = loop.time()
        if self._scenario.stop_ms >= 0:
            self._stop_early(started_s + self._scenario.stop_ms / 1000)
            return
        last_ms = max([client.lasts_ms for client in self._scenario.clients], default=0)
        loop.run_until_idle(started_s + last_ms / 1000 + _WAIT_S)
        self._no_faults()
        settings = self._settings
        oracle.check_calls(self._model.calls, self._scenario, settings, self._callers)
        for caller in self._callers:
            oracle.check_answers(caller, self._scenario, settings, self._callers)
        if not any(connection.outstanding for connection in self._connections) and all(
            caller.script.steady for caller in self._callers
        ):
            self._nothing_held("although nothing is outstanding")
        for caller in self._callers:
            caller.leave()
        seen = not any(caller.sent_bytes > READ_AHEAD_BYTES for caller in self._callers)
        loop.run_until_idle(loop.time() + _SOON_S)
        if seen:
            self._nothing_held("soon after all clients have gone")
        if not loop.run_until_idle(loop.time() + _REST_S):
            if seen:
                raise Fault("timers go on after all clients have gone")
            # Who sends too much ahead is not read any more, so nobody sees that it has gone until
            # the model server is done with its request.
            self._model.close()
            if not loop.run_until_idle(loop.time() + _REST_S):
                raise Fault("timers go on after all clients and the model server have gone")
        self._no_faults()
        self._nothing_held("after all clients have gone")
        self._nothing_open()
        loop.run_until_complete(self._tear_down())
        if not loop.run_until_idle(loop.time() + _REST_S):
            raise Fault("timers go on after the end")
        self._no_faults()

    def _stop_early(self, at_s: float) -> None:
        """End the sidecar in the middle of things."""
        loop = self._loop
        loop.run_until_idle(at_s)
        self._no_faults()
        loop.run_until_complete(self._tear_down())
        if not loop.run_until_idle(loop.time() + _REST_S):
            raise Fault("timers go on after an early end")
        self._no_faults()
        self._nothing_held("after an early end")
        self._nothing_open()

    async def _set_up(self) -> None:
        """Build the sidecar's parts, and let the clients come."""
        overrides = dict(self._scenario.settings)
        enabled = overrides.pop("enable_batcher", True)
        if "batch_key_headers" in overrides:
            overrides["batch_key_headers"] = tuple(overrides["batch_key_headers"])
        self._settings = settings = BatcherSettings(**overrides)
        config = SidecarConfig(settings=settings, enable_batcher=enabled)
        self._pool = UpstreamPool("127.0.0.1", 8080)
        codecs = Codecs.of(settings.row_signature)
        self._port = SidecarPort(config, codecs, self._pool, self._metrics)
        self._port.ready = self._ready
        for client in self._scenario.clients:
            caller = Caller(self._loop, client)
            self._callers.append(caller)
            self._loop.call_later(client.start_ms / 1000, self._connect, caller)
        for at_ms, active in ((self._scenario.drain_ms, True), (self._scenario.undrain_ms, False)):
            if at_ms >= 0:
                self._loop.call_later(at_ms / 1000, self._drain, active)

    def _drain(self, active: bool) -> None:
        self._port.drain(active=active)

    async def _ready(self) -> tuple[bool, str]:
        if self._scenario.probe_ms:
            await asyncio.sleep(self._scenario.probe_ms / 1000)
        return True, "ready"

    def _connect(self, caller: Caller) -> None:
        if self._ended:
            return
        scenario = self._scenario
        link = Link(
            self._loop,
            caller,
            window_bytes=scenario.window_bytes,
            high_water_bytes=scenario.high_water_bytes,
        )
        self._links.append(link)
        connection = ClientConnection(self._port, self._loop)
        self._connections.append(connection)
        link.open(connection)
        caller.start(link)

    async def _tear_down(self) -> None:
        self._ended = True
        await self._port.close()
        await self._pool.close()
        self._model.close()

    # --- what must hold -------------------------------------------------------------------------

    def _no_faults(self) -> None:
        for error in (*self._loop.faults, *self._model.faults):
            raise error

    def _nothing_held(self, when: str) -> None:
        used_bytes = self._port.budget.used_bytes
        if used_bytes:
            raise Fault(f"bytes of the budget are held {when}", f"{used_bytes}")
        for name, read in self._metrics.read.items():
            if read():
                raise Fault(f"{name} is not 0 {when}", f"{read()}")

    def _nothing_open(self) -> None:
        if not all(link.closed for link in self._links):
            raise Fault("a client's connection is left open")
        if not all(link.closed for link in self._model.links):
            raise Fault("an idle connection to the model server is left open")
