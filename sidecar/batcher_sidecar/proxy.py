"""Everything that is not batched: streamed both ways, or tunnelled byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher_sidecar.codecs import Content
from batcher_sidecar.errors import refusal
from batcher_sidecar.http1.headers import downward_forward, forward_head
from batcher_sidecar.upstream import Broken, Exchange, Piece, Unreachable, UpstreamPool

if TYPE_CHECKING:
    from batcher_sidecar.http1 import ResponseHead
    from batcher_sidecar.port import ClientRequest
    from batcher_sidecar.router import Forward as ForwardRoute
    from batcher_sidecar.server import ClientConnection


class _Relay:
    """What a client's connection and an exchange with the model server pass to each other."""

    _conn: ClientConnection
    _exchange: Exchange

    def from_client(self, data: bytes) -> None:
        """Pass on what a client sends through its tunnel."""
        self._exchange.write(data)

    def from_client_end(self) -> None:
        """Pass on that the client sends no more through its tunnel."""
        self._exchange.write_eof()

    def client_writable(self, *, writable: bool) -> None:
        """The client reads too slowly, or reads again."""
        if writable:
            self._exchange.resume()
        else:
            self._exchange.pause()

    def abandon(self) -> None:
        """The client has gone."""
        self._exchange.cancel()

    def on_tunnel(self, data: bytes) -> None:
        """Pass on what the model server sends through the tunnel."""
        self._conn.write(data)

    def on_upstream_writable(self, *, writable: bool) -> None:
        """Let the client wait while the model server reads too slowly."""
        self._conn.allow_reading(allowed=writable)


class Forward(_Relay):
    """One forwarded request, from the moment it is first in line on its connection."""

    def __init__(
        self,
        pool: UpstreamPool,
        conn: ClientConnection,
        request: ClientRequest,
        route: ForwardRoute,
    ) -> None:
        self._conn = conn
        self._request = request
        self._upgrade = upgrade = route.upgrade
        self._answered = False  # its head has gone down
        self._chunk_up = request.head.body_bytes is None and request.body is None
        self._chunk_down = False
        self.tunnelling = False
        head = request.head
        streamed = head.has_body and request.body is None
        data: list[Piece] = [self._head(pool)]
        if isinstance(request.body, Content):
            data += request.body.pieces
        elif request.body:
            data.append(request.body)
        self._exchange = pool.request(
            self,
            head.method,
            data,
            replayable=route.repeatable
            or (head.method in (b"GET", b"HEAD") and not head.has_body and not upgrade),
            streamed=streamed,
        )

    def _head(self, pool: UpstreamPool) -> bytes:
        head, body = self._request.head, self._request.body
        if body is not None and head.body_bytes is None:
            return forward_head(head, pool.host_header, upgrade=False, body_bytes=len(body))
        return forward_head(head, pool.host_header, upgrade=self._upgrade)

    # --- from the client ------------------------------------------------------------------------

    def body(self, data: bytes) -> None:
        """Pass on a piece of the request's body."""
        self._exchange.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunk_up else data)

    def body_end(self) -> None:
        """The request's body is complete."""
        if self._chunk_up:
            self._exchange.write(b"0\r\n\r\n")
        self._exchange.end_body()

    # --- from the model server (upstream.Sink) --------------------------------------------------

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None:
        """Send the answer's head down, framed for this client."""
        request = self._request
        if head.status == 101:
            self._on_switch(head)
            return
        self._answered = True
        framing = b""
        if head.status == 204 or (body_bytes is None and head.status == 304):
            pass
        elif body_bytes is not None:
            framing = b"Content-Length: %d\r\n" % body_bytes
        elif request.head.method == b"HEAD":
            pass
        elif request.head.http11:
            framing = b"Transfer-Encoding: chunked\r\n"
            self._chunk_down = True
        else:
            request.keep_alive = False  # the end of the connection is the end of the body
        self._conn.start_answer(request, downward_forward(head, framing=framing), head.status)

    def _on_switch(self, head: ResponseHead) -> None:
        if not self._upgrade:
            self._exchange.cancel()
            self._fail(Broken("it switches protocols unasked"))
            return
        self._answered = True
        self.tunnelling = True
        self._conn.start_tunnel(
            self,
            downward_forward(
                head,
                framing=b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n"
                % self._request.head.fields[b"upgrade"],
            ),
        )

    def on_body(self, data: bytes) -> None:
        """Send a piece of body down."""
        self._conn.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunk_down else data)

    def on_end(self) -> None:
        """The answer is complete."""
        if self._chunk_down:
            self._conn.write(b"0\r\n\r\n")
        self._conn.allow_reading(allowed=True)  # what is left of the body holds nobody up now
        self._conn.end_answer(self._request)

    def on_lost(self, error: Unreachable | Broken) -> None:
        """Say so while it can be said; else break off, so that no part passes for the whole."""
        if self.tunnelling:
            self._conn.close()
        elif self._answered:
            self._conn.abort()
        else:
            self._fail(error)

    def _fail(self, error: Unreachable | Broken) -> None:
        self._conn.allow_reading(allowed=True)
        self._conn.refuse(self._request, refusal(error.reason, detail=str(error)))


class RawTunnel(_Relay):
    """A connection passed byte for byte from its first byte (HTTP/2 with prior knowledge)."""

    def __init__(self, pool: UpstreamPool, conn: ClientConnection, data: bytes) -> None:
        self._conn = conn
        self._exchange = pool.request(self, b"", [data], raw=True)

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None:
        """Not in a raw exchange."""

    def on_body(self, data: bytes) -> None:
        """Not in a raw exchange."""

    def on_end(self) -> None:
        """The model server has closed."""
        self._conn.close()

    def on_lost(self, error: Unreachable | Broken) -> None:
        """The model server has closed, or was never there."""
        self._conn.close()
