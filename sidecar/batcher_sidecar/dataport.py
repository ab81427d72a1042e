"""The data port as a whole: its listener, its connections, and what they share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from batcher_sidecar.core import ByteBudget
from batcher_sidecar.errors import render
from batcher_sidecar.listen import listening_sockets
from batcher_sidecar.router import Batch, Forward, Router
from batcher_sidecar.runtime import Runtime
from batcher_sidecar.server import ClientConnection
from batcher_sidecar.tasks import TaskSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batcher_contract import BatcherSettings
    from batcher_sidecar.codecs import Codecs
    from batcher_sidecar.config import SidecarConfig
    from batcher_sidecar.flow import Flow
    from batcher_sidecar.metrics import Metrics
    from batcher_sidecar.port import ClientRequest
    from batcher_sidecar.upstream import UpstreamPool

_BACKLOG: Final = 1024
_LOOK_EVERY_S: Final = 0.05


class SidecarPort:
    """Implements ``port.DataPort`` for the connections."""

    def __init__(
        self, config: SidecarConfig, codecs: Codecs, pool: UpstreamPool, metrics: Metrics
    ) -> None:
        settings = config.settings
        self.router = Router(settings, codecs, enabled=config.enable_batcher)
        self.pool = pool
        self.budget = ByteBudget(settings.max_queue_bytes)
        self._connections: set[Flow] = set()
        self.opened = self._connections.add
        self.draining = False
        self.timeout_s = settings.timeout_s
        self.last_request_s = 0.0
        self.ready: Callable[[], Awaitable[tuple[bool, str]]] | None = None
        """Readiness; set before listening."""
        self._runtime = Runtime(settings, codecs, pool, self.budget, metrics)
        self.queue_full = self._runtime.queue_full
        self.submit = self._runtime.submit
        self.left = self._runtime.left
        self.model_not_ready = self._runtime.model_not_ready
        self._metrics = metrics
        self.count_bypassed = metrics.bypassed
        self.count_refused = metrics.refused
        self._probes = TaskSet()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.get_running_loop()

    # --- for the lifecycle ----------------------------------------------------------------------

    async def listen(self, host: str | None, port: int) -> None:
        """Accept connections. Raises OSError, naming port and flag, if that cannot be."""
        for sock in await listening_sockets(host, port, flag="--port", backlog=_BACKLOG):
            self._servers.append(
                await self._loop.create_server(
                    lambda: ClientConnection(self, self._loop), sock=sock, backlog=_BACKLOG
                )
            )

    def apply(self, settings: BatcherSettings) -> None:
        """Serve by these settings from now on; what waits is looked at again."""
        self.router.apply(settings)
        for connection in self._connections:
            connection.judge_anew()
        self.budget.limit_bytes = settings.max_queue_bytes
        self.timeout_s = settings.timeout_s
        self._runtime.apply(settings)

    def stop_listening(self) -> None:
        """Accept no more connections, and close those that are idle."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.close_if_idle()

    def drain(self, *, active: bool) -> None:
        """Begin or call off draining: windows end, each answer is its connection's last.

        Idle connections stay until `stop_listening`: a request may be on its way on any of them,
        and its client could not know whether it was served.
        """
        self.draining = active
        self._runtime.drain(active=active)

    def closed(self, connection: Flow) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    async def until_answered(self, timeout_s: float) -> None:
        """Wait, in a drain, until no answer is owed or not yet taken."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                # No transport tells when the last byte is taken, so this has to look.
                while any(conn.outstanding for conn in self._connections):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_EVERY_S)

    async def close(self) -> None:
        """End everything at once."""
        self.stop_listening()
        for connection in list(self._connections):
            connection.abort()
        await self._probes.cancel()
        self._runtime.close()

    # --- for the connections --------------------------------------------------------------------

    def probe(self, request: ClientRequest) -> None:
        """Answer a readiness probe on the data port."""
        self._probes.start(self._probe(request))

    async def _probe(self, request: ClientRequest) -> None:
        ready, sentence = await self.ready() if self.ready is not None else (False, "starting")
        status = 200 if ready else 503
        head, body = render(status, sentence.encode() + b"\n", content_type=b"text/plain")
        request.conn.respond(request, status, head, body)

    def count(self, request: ClientRequest, status: int) -> None:
        """Count an answered request for the metrics."""
        route = request.route
        if isinstance(route, Batch):
            self._metrics.request_done(route.codec.protocol, route.model, status)
        elif isinstance(route, Forward):
            self._metrics.request_done("forwarded", "", status)
