"""The connections to the model server, for batches and forwarded requests alike."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from typing import Final, Protocol, cast

import httptools

from batcher_sidecar.http1 import MAX_HEAD_BYTES, ResponseHead
from batcher_sidecar.tasks import TaskSet

IDLE_S: Final = 4.0
"""An idle connection is not used beyond this: uvicorn-based servers close theirs after 5 s."""
CONNECT_TIMEOUT_S: Final = 5.0
RETRY_WITHIN_S: Final = 0.1
_MAX_IDLE: Final = 256


class Unreachable(Exception):
    """No connection could be made; nothing was sent (503)."""


class Broken(Exception):
    """The connection was lost, or what came over it is no HTTP answer (502)."""


class Sink(Protocol):
    """Takes an answer as it comes: a head, pieces of body, then the end; or its loss at any time."""

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None:
        """The head is there; ``body_bytes`` is the declared length, None if there is none."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""

    def on_end(self) -> None:
        """The answer is complete."""

    def on_lost(self, error: Unreachable | Broken) -> None:
        """There will be no (more) answer."""

    def on_tunnel(self, data: bytes) -> None:
        """Bytes after a 101 answer, or on a raw exchange."""

    def on_upstream_writable(self, *, writable: bool) -> None:
        """The model server reads too slowly for more body, or takes it again."""


class Exchange:
    """One request to the model server and its answer. Made by ``UpstreamPool``."""

    __slots__ = (
        "_conn", "_paused", "_pool", "_replayable", "_retried", "_sent", "_sent_s",
        "body_open", "ended", "method", "raw", "sink",
    )  # fmt: skip

    def __init__(
        self, pool: UpstreamPool, sink: Sink, method: bytes, data: list[bytes], *,
        replayable: bool, streamed: bool, raw: bool,
    ) -> None:  # fmt: skip
        self._pool = pool
        self.sink = sink
        self.method = method
        self.raw = raw
        self.body_open = streamed
        self._replayable = replayable
        self._retried = False
        self._sent = data  # kept while it may have to be sent, or sent again
        self._sent_s = 0.0
        self._conn: UpstreamConnection | None = None
        self._paused = False
        self.ended = False

    def write(self, data: bytes) -> None:
        """Send more of the body (framed by the caller)."""
        if self._conn is not None:
            self._conn.write(data)
        elif not self.ended:
            self._sent.append(data)

    def end_body(self) -> None:
        """The last byte of the body has been given to ``write``."""
        self.body_open = False

    def pause(self) -> None:
        """Stop reading the answer until ``resume``."""
        self._paused = True
        if self._conn is not None:
            self._conn.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._conn is not None:
            self._conn.resume_reading()

    def cancel(self) -> None:
        """Give the answer up; the sink hears nothing more."""
        if not self.ended:
            self.ended = True
            self._sent.clear()
            if self._conn is not None:
                self._conn.abandon()
                self._conn = None

    def started(self, conn: UpstreamConnection) -> None:
        """A connection is there: send."""
        self._conn = conn
        self._sent_s = time.monotonic()
        conn.send(self, self._sent)
        if self._paused:
            conn.pause_reading()
        if not self._replayable or not conn.reused:
            self._sent = []

    def finished(self) -> None:
        """The answer is complete; the connection has gone back to the pool or closed."""
        self.ended = True
        self._conn = None
        self._sent = []

    def lost(self, error: Unreachable | Broken, *, untouched: bool) -> None:
        """The connection failed; ``untouched``: before any byte of an answer."""
        conn, self._conn = self._conn, None
        if self.ended:
            return
        if (
            untouched
            and self._replayable
            and not self._retried
            and conn is not None
            and conn.reused
            and time.monotonic() - self._sent_s <= RETRY_WITHIN_S
        ):
            self._retried = True
            self._pool.connect(self)
            return
        self.ended = True
        self._sent = []
        self.sink.on_lost(error)


class UpstreamConnection(asyncio.Protocol):
    """One connection: an exchange at a time, or idle in the pool."""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._received_bytes = 0  # of the answer's head
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_body = False
        self._until_eof = False
        self._complete = False
        self._keep_alive = False
        self.reused = False
        self.idle_since_s = 0.0

    # --- used by the exchange and the pool ------------------------------------------------------

    def send(self, exchange: Exchange, data: list[bytes]) -> None:
        """Start an exchange on this idle connection."""
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        self._received_bytes = 0
        self._reason = b""
        self._headers = []
        self._in_body = self._until_eof = self._complete = self._keep_alive = False
        if self._transport is not None:
            self._transport.writelines(data)

    def write(self, data: bytes) -> None:
        """Send more."""
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop reading."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abandon(self) -> None:
        """Close without another word to anybody."""
        self._exchange = None
        self.close()

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def usable(self, now_s: float) -> bool:
        """Tell whether an idle connection may carry another exchange."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and now_s - self.idle_since_s < IDLE_S
        )

    # --- called by the event loop ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # send at once, not at the loop's next turn

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, of a tunnel, or, on an idle connection, out of turn."""
        exchange = self._exchange
        if exchange is None or exchange.ended:
            self.close()
            return
        if exchange.raw:
            exchange.sink.on_tunnel(data)
            return
        if not self._in_body:
            self._received_bytes += len(data)
        else:
            self._received_bytes = 1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(exchange, data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self._fail(f"its answer is no HTTP: {error}")
                return
            self._keep_alive = False  # what followed a complete answer is nobody's
        if exchange.ended:
            return
        if self._complete:
            self._finish(exchange)
        elif not self._in_body and self._received_bytes > MAX_HEAD_BYTES:
            self._fail("the head of its answer is too large")

    def eof_received(self) -> bool:
        """The model server has ended its side."""
        exchange = self._exchange
        if exchange is not None and self._until_eof and not exchange.ended:
            self._complete = True
            self._keep_alive = False
            self._finish(exchange)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._pool.forget(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None or exchange.ended:
            return
        if self._until_eof and exc is None:
            exchange.finished()
            exchange.sink.on_end()
        else:
            untouched = self._received_bytes == 0
            where = "without an answer" if untouched else "in mid-answer"
            exchange.lost(Broken(f"it closed the connection {where}"), untouched=untouched)

    def pause_writing(self) -> None:
        """The model server reads too slowly."""
        if self._exchange is not None:
            self._exchange.sink.on_upstream_writable(writable=False)

    def resume_writing(self) -> None:
        """The model server reads again."""
        if self._exchange is not None:
            self._exchange.sink.on_upstream_writable(writable=True)

    # --- called by llhttp -----------------------------------------------------------------------

    def on_status(self, reason: bytes) -> None:
        """The reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is there; informational ones are passed over (RFC 9110 section 15.2)."""
        exchange = self._exchange
        if exchange is None or self._complete or self._in_body:
            self._keep_alive = False
            return
        status = self._parser.get_status_code()
        if status == 101:
            return
        if status < 200:
            self._headers = []
            self._reason = b""
            self._received_bytes = 1
            return
        self._in_body = True
        self._keep_alive = self._parser.should_keep_alive()
        lengths = {value for name, value in self._headers if name.lower() == b"content-length"}
        chunked = any(name.lower() == b"transfer-encoding" for name, _ in self._headers)
        bodiless = exchange.method == b"HEAD" or status in (204, 304)
        self._until_eof = not (bodiless or chunked or lengths)
        body_bytes = int(next(iter(lengths))) if len(lengths) == 1 and not chunked else None
        exchange.sink.on_head(ResponseHead(status, self._reason, self._headers), body_bytes)
        if bodiless:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        """A piece of body."""
        exchange = self._exchange
        if self._complete or exchange is None:
            self._keep_alive = False
        elif not exchange.ended:
            exchange.sink.on_body(data)

    def on_message_complete(self) -> None:
        """The answer has ended, if it was not an informational one."""
        if self._in_body:
            self._complete = True

    # --- ends -----------------------------------------------------------------------------------

    def _upgraded(self, exchange: Exchange, rest: bytes) -> None:
        """A 101: from here on bytes are just passed."""
        exchange.raw = True
        exchange.sink.on_head(ResponseHead(101, self._reason, self._headers), None)
        if rest and not exchange.ended:
            exchange.sink.on_tunnel(rest)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.finished()
        if self._keep_alive and not self._until_eof and not exchange.body_open:
            self._pool.put_back(self)
        else:
            self.close()
        exchange.sink.on_end()

    def _fail(self, detail: str) -> None:
        exchange, self._exchange = self._exchange, None
        self.close()
        if exchange is not None:
            exchange.lost(Broken(detail), untouched=False)


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

    def request(
        self, sink: Sink, method: bytes, data: list[bytes], *,
        replayable: bool = False, streamed: bool = False, raw: bool = False,
    ) -> Exchange:  # fmt: skip
        """Send a request (head and what there is of its body); the answer goes to ``sink``.

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
            exchange.lost(Unreachable(f"no connection in {CONNECT_TIMEOUT_S:g} s"), untouched=True)
            return
        except OSError as error:
            exchange.lost(Unreachable(error.strerror or "no connection"), untouched=True)
            return
        self._all.add(conn)
        if exchange.ended:
            conn.close()
        else:
            exchange.started(conn)

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
