"""Makes, lends and keeps connections to one model server."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher_sidecar.tasks import TaskSet
from batcher_sidecar.upstream.connection import IDLE_S, UpstreamConnection
from batcher_sidecar.upstream.exchange import Exchange, Piece, Sink, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_S: Final = 5.0
_MAX_IDLE: Final = 256


class UpstreamPool:
    """Makes, lends and keeps connections to one model server."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        literal = f"[{host}]" if ":" in host else host
        self.host_header = f"{literal}:{port}".encode()
        self._idle: deque[UpstreamConnection] = deque()
        self._all: set[UpstreamConnection] = set()
        self._connecting = TaskSet()
        self._sweep: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.on_unreachable: Callable[[], None] = lambda: None
        """Called when no connection can be made."""

    def request(
        self, sink: Sink, method: bytes, data: list[Piece], *,
        replayable: bool = False, streamed: bool = False, raw: bool = False,
    ) -> Exchange:  # fmt: skip
        """Send a request (head and what there is of its body); the answer goes to ``sink``.

        The list is the exchange's from now on.

        ``replayable``: it may be sent once more if a kept connection turns out to be dead.
        ``streamed``: the rest of the body follows by ``Exchange.write``.
        ``raw``: a tunnel from the first byte, on a connection of its own.
        """
        exchange = Exchange(
            self, sink, method, data, replayable=replayable, streamed=streamed, raw=raw
        )
        now_s = time.monotonic()
        while self._idle and not raw:
            conn = self._idle.pop()
            if conn.usable(now_s):
                conn.reused = True
                exchange.started(conn)
                return exchange
            conn.close()
        self.connect(exchange)
        return exchange

    def connect(self, exchange: Exchange) -> None:
        """Start an exchange on a new connection."""
        self._connecting.start(self._connect(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        factory = functools.partial(UpstreamConnection, self)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, conn = await self._loop.create_connection(factory, *self._address)
        except TimeoutError:
            self._refused(exchange, f"no connection in {CONNECT_TIMEOUT_S:g} s")
            return
        except OSError as error:
            self._refused(exchange, error.strerror or "no connection")
            return
        self._all.add(conn)
        if exchange.ended:
            conn.close()
        else:
            exchange.started(conn)

    def _refused(self, exchange: Exchange, why: str) -> None:
        self.on_unreachable()
        exchange.lost(Unreachable(why), untouched=True)

    def put_back(self, conn: UpstreamConnection) -> None:
        """Keep a connection whose exchange is complete."""
        conn.idle_since_s = time.monotonic()
        self._idle.append(conn)
        if len(self._idle) > _MAX_IDLE:
            self._idle.popleft().close()
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_S, self._sweep_idle)

    def forget(self, conn: UpstreamConnection) -> None:
        """A connection is gone."""
        self._all.discard(conn)
        if conn in self._idle:
            self._idle.remove(conn)

    def _sweep_idle(self) -> None:
        """Close what has been idle too long; come back while anything is idle."""
        self._sweep = None
        now_s = time.monotonic()
        while self._idle and not self._idle[0].usable(now_s):
            self._idle.popleft().close()
        if self._idle:
            wait_s = self._idle[0].idle_since_s + IDLE_S - now_s
            self._sweep = self._loop.call_later(max(wait_s, 0.05), self._sweep_idle)

    async def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        await self._connecting.cancel()
        for conn in list(self._all):
            conn.close()
