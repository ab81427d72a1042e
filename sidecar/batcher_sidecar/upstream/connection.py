"""One connection to the model server: an exchange at a time, or idle in the pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import httptools

from batcher_sidecar.http1 import MAX_HEAD_BYTES, ResponseHead
from batcher_sidecar.upstream.exchange import Broken, Exchange, Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher_sidecar.upstream.pool import UpstreamPool

IDLE_S: Final = 4.0
"""An idle connection is not used beyond this: uvicorn-based servers close theirs after 5 s."""


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
        self._behind = False  # part of what was sent has not been taken yet
        self.reused = False
        self.idle_since_s = 0.0

    # --- used by the exchange and the pool ------------------------------------------------------

    def send(self, exchange: Exchange, data: Sequence[Piece]) -> None:
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

    def write_eof(self) -> None:
        """Send no more."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        """Stop reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
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
            exchange.finished().on_end()
        else:
            untouched = self._received_bytes == 0
            where = "without an answer" if untouched else "in mid-answer"
            exchange.lost(Broken(f"it closed the connection {where}"), untouched=untouched)

    def pause_writing(self) -> None:
        """The model server reads too slowly."""
        self._behind = True
        if self._exchange is not None:
            self._exchange.sink.on_upstream_writable(writable=False)

    def resume_writing(self) -> None:
        """The model server reads again."""
        self._behind = False
        if self._exchange is not None:
            self._exchange.sink.on_upstream_writable(writable=True)

    # --- called by llhttp -----------------------------------------------------------------------

    def on_status(self, reason: bytes) -> None:
        """The reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those after the body (trailers) are nobody's."""
        if not self._in_body:
            self._headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is there; informational ones are passed over (RFC 9110 section 15.2)."""
        exchange = self._exchange
        if exchange is None or self._complete or self._in_body:
            self._keep_alive = False
            return
        status = self._parser.get_status_code()
        if status < 100:
            self._fail(f"its status is {status:03}")
            return
        if status == 101:
            return
        if status < 200:
            self._headers = []
            self._reason = b""
            self._received_bytes = 1
            return
        codings = [value for name, value in self._headers if name.lower() == b"transfer-encoding"]
        chunked = bool(codings)
        if chunked and [coding.lower() for coding in codings] != [b"chunked"]:
            named = b", ".join(codings).decode(errors="replace")
            self._fail(f"its Transfer-Encoding is {named}, not just chunked")
            return
        self._in_body = True
        # uvicorn answers 500 for a handler that raised, and then closes without having said so.
        self._keep_alive = self._parser.should_keep_alive() and status != 500
        lengths = {value for name, value in self._headers if name.lower() == b"content-length"}
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
        sink = exchange.finished()
        sent = not exchange.body_open and not self._behind
        if self._keep_alive and not self._until_eof and sent:
            self._pool.put_back(self)
        else:
            self.close()
        sink.on_end()

    def _fail(self, detail: str) -> None:
        exchange, self._exchange = self._exchange, None
        self.close()
        if exchange is not None:
            exchange.lost(Broken(detail), untouched=False)
