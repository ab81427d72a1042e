"""The data port: one ``ClientConnection`` per client, HTTP/1.1 with keep-alive and pipelining.

A request's way: ``data_received`` → ``_read_head`` → router → ``_read_body`` → ``DataPort.submit``
(the runtime batches it) or ``Forward`` (streamed) → ``_flush``, which writes answers in the order
of their requests. ``flow.py`` holds what a connection waits for.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher_sidecar.codecs import Content
from batcher_sidecar.errors import Refusal, RefusedError, refusal, render_refusal
from batcher_sidecar.flow import Flow
from batcher_sidecar.http1 import RequestHead
from batcher_sidecar.port import ClientRequest, DataPort
from batcher_sidecar.proxy import Forward, RawTunnel
from batcher_sidecar.router import Batch, Probe
from batcher_sidecar.router import Forward as ForwardRoute

if TYPE_CHECKING:
    import asyncio

    from batcher_sidecar.router import Route

MAX_OUTSTANDING: Final = 16
_SMALL_BYTES: Final = 4096


class ClientConnection(Flow):
    """Reads requests strictly, and keeps them and their answers in order."""

    def __init__(self, port: DataPort, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(port, loop)
        self._known: tuple[RequestHead | None, Route | None] = (None, None)
        self._parsing = False

    def judge_anew(self) -> None:
        """Settings have changed: what is known of a head that comes again holds no more."""
        self._known = (self._known[0], None)

    # --- from the event loop --------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._tunnel is not None:
            self._tunnel.from_client(data)
        elif not self._deaf:
            reader = self._reader
            reader.buffer = reader.buffer + data if reader.buffer else data
            self._parse()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it all that was outstanding."""
        self._deaf = True
        self._port.closed(self)
        self._deadline.close()
        if self._tunnel is not None:
            self._tunnel.abandon()
        requests, self._requests = self._requests, deque()
        for request in requests:
            if request.forward is not None:
                request.forward.abandon()
            elif request.core is not None and request.answer is None:
                self._port.left(request)
            self._port.budget.release(request.reserved_bytes)
            request.forward = request.core = None  # as in _done
        self._current = self._tunnel = None
        self._release_unwritten()
        self._reader.take_rest()

    def _tell_writable(self, *, writable: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.client_writable(writable=writable)
        elif self._requests and (forward := self._requests[0].forward) is not None:
            forward.client_writable(writable=writable)

    # --- reading --------------------------------------------------------------------------------

    def _parse(self) -> None:
        """Take as many requests out of the buffer as may be outstanding."""
        if self._parsing:
            return
        self._parsing = True
        try:
            while self._reader.buffer and not (self._deaf or self._tunnel or self._write_paused):
                if self._current is not None:
                    self._read_body(self._current)
                elif (self._requests and self._blocked()) or not self._read_head():
                    break
        except RefusedError as error:
            self._refuse_unreadable(error.refusal)
        finally:
            self._parsing = False
        if self._reader.buffer or not self._settled:
            self._regulate()

    def _blocked(self) -> bool:
        """Tell whether the next request has to wait unparsed for those before it."""
        requests = self._requests
        return (
            len(requests) >= MAX_OUTSTANDING
            or not requests[-1].keep_alive
            or isinstance(requests[-1].route, ForwardRoute)
        )

    def _read_head(self) -> bool:
        """Take a head out of the buffer and enter its request; False if it is not complete."""
        known_head, route = self._known
        if known_head is None:
            preface = self._reader.read_preface()
            if preface is None:
                return False
            if preface:
                self._port.last_request_s = time.monotonic()
                self._port.count_bypassed("http2")
                self._deadline.off()
                self._tunnel = RawTunnel(self._port.pool, self, self._reader.take_rest())
                return True
        head = self._reader.read_head()
        if head is None:
            return False
        if route is None or head is not known_head:
            route = self._port.router.route(head)
            self._known = (head, route)
        request = ClientRequest(self, head, route)
        self._requests.append(request)
        if isinstance(route, Batch):
            self._accept_candidate(request)
        elif isinstance(route, ForwardRoute):
            self._port.last_request_s = time.monotonic()
            self._port.count_bypassed(route.reason)
            self._flush()
        elif isinstance(route, Probe):
            self._deaf = request.unread
            self._port.probe(request)
        else:
            self.refuse(request, route)
        return True

    def _accept_candidate(self, request: ClientRequest) -> None:
        """Gather the body of a predict request, if there is room for it."""
        now_s = time.monotonic()
        self._port.last_request_s = now_s
        body_bytes = request.head.body_bytes
        if body_bytes:
            if not self._port.budget.reserve(body_bytes):
                self._refuse_for_room(request)
                return
            request.reserved_bytes = body_bytes
        if body_bytes is not None:
            request.body = self._reader.take_whole(body_bytes)
            if request.body is not None:
                request.unread = False
                self._port.submit(request, now_s)
                return
        refused = self._port.queue_full()
        if refused is not None:
            self.refuse(request, refused)
            return
        self._start_body(request)
        if request.head.expects_continue:
            self._flush()

    def _start_body(self, request: ClientRequest) -> None:
        self._current = request
        self._settled = False
        self._body_ends_s = self._loop.time() + self._port.timeout_s
        self._reader.start_body(request.head)

    def _read_body(self, request: ClientRequest) -> None:
        """Take what is there of a body: gather it for a batch, or pass it on."""
        gather = request.forward is None
        pieces = self._reader.read_body()
        if not gather and len(pieces) > 1:
            pieces = [b"".join(pieces)]  # passing on many small ones would take long
        for piece in pieces:
            request.received_bytes += len(piece)
            if request.forward is not None:
                request.forward.body(piece)
            elif gather and not self._gather(request, piece):
                return
        if self._reader.in_body or self._current is not request:
            return
        request.unread = False
        self._current = None
        if request.forward is not None:
            request.forward.body_end()
        elif gather:
            gathered, request.pieces = request.pieces or [], None
            route = request.route
            if isinstance(route, Batch) and route.codec.takes_pieces and len(gathered) > 1:
                request.body = Content(gathered)
            else:
                request.body = b"".join(gathered)
            self._port.submit(request, time.monotonic())

    def _gather(self, request: ClientRequest, piece: bytes) -> bool:
        """Keep a piece of a candidate's body; False if it had to be refused."""
        if request.head.body_bytes is None:  # not declared, so not reserved yet
            limit_bytes = self._port.router.max_body_bytes
            if request.received_bytes > limit_bytes:
                self.refuse(request, refusal("body_too_large", limit_bytes=limit_bytes))
                return False
            if not self._port.budget.reserve(len(piece)):
                self._refuse_for_room(request)
                return False
            request.reserved_bytes += len(piece)
        if request.pieces is None:
            request.pieces = []
        if len(piece) >= _SMALL_BYTES:
            request.pieces.append(piece)
        elif request.pieces and isinstance(last := request.pieces[-1], bytearray):
            last += piece
        else:  # each small piece as an object would take many times its bytes
            request.pieces.append(bytearray(piece))
        return True

    def _refuse_for_room(self, request: ClientRequest) -> None:
        """Refuse a candidate whose body the byte budget has no room for."""
        self.refuse(request, refusal("queue_bytes", limit_bytes=self._port.budget.limit_bytes))

    def _refuse_unreadable(self, refused: Refusal) -> None:
        """Refuse bytes that are no request, or a body that cannot be read on."""
        request = self._current
        if request is None:
            request = ClientRequest(self, RequestHead(b"", b"", http11=True), refused)
            self._requests.append(request)
        elif request.forward is not None:
            request.forward.abandon()
            if request.started:
                self.abort()
                return
        request.unread = True
        self.refuse(request, refused)

    # --- answering ------------------------------------------------------------------------------

    def refuse(self, request: ClientRequest, refused: Refusal) -> None:
        """Answer with a refusal; where the request is not read to its end, hear no more."""
        self._port.count_refused(refused.reason)
        request.forward = None
        head, body = render_refusal(refused)
        self.respond(request, refused.status, head, body)

    def respond(self, request: ClientRequest, status: int, head: bytes, body: bytes) -> None:
        """Answer a request whole and count it; see ``give``."""
        if request in self._requests:
            self._port.count(request, status)
        self.give(request, head, b"" if request.head.method == b"HEAD" else body)

    def give(self, request: ClientRequest, head: bytes, body: bytes) -> None:
        """Write an answer that has been counted, now or when those before it are written.

        ``head`` is open: without its blank line, which ``_ending`` adds.
        """
        if request.unread:
            request.pieces = None
            self._hear_no_more(request)
        requests = self._requests
        if requests and requests[0] is request:
            self._write_answer(request, head, body)
            if requests:
                self._flush()
            elif self._reader.buffer or not self._settled:
                self._parse()
        elif request in requests:
            request.answer = (head, body)
            self._port.budget.add(len(body))
            request.reserved_bytes += len(body)

    def start_answer(self, request: ClientRequest, head: bytes, status: int) -> None:
        """Write the open head of a streamed answer."""
        request.started = True
        if request.unread:
            request.keep_alive = False
        self._port.count(request, status)
        self.write(head + self._ending(request))

    def end_answer(self, request: ClientRequest) -> None:
        """A streamed answer is complete."""
        request.forward = None
        if request.unread:
            self._hear_no_more(request)
        elif self._port.draining:
            request.keep_alive = False  # its head may have gone before the drain
        self._done(request)
        self._flush()

    def start_tunnel(self, tunnel: Forward, head: bytes) -> None:
        """Switch to passing bytes; ``head`` is the complete head of the 101 answer."""
        request = self._requests.popleft()
        request.forward = None
        self._port.count(request, 101)
        self._tunnel = tunnel
        self._transport.write(head)
        if self._reader.buffer:
            tunnel.from_client(self._reader.take_rest())
        self._regulate()

    def _ending(self, request: ClientRequest) -> bytes:
        """Return the end of a head: what becomes of the connection, and the blank line."""
        last = self._port.draining and len(self._requests) == 1  # those behind it are answered too
        if last or not request.keep_alive:
            request.keep_alive = False
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if request.head.http11 else b"Connection: keep-alive\r\n\r\n"

    def _flush(self) -> None:
        """Write what is ready, in order; attend to what is first in line then."""
        requests = self._requests
        while requests and not self._transport.is_closing():
            request = requests[0]
            if request.answer is None:
                self._attend(request)
                break
            self._write_answer(request, *request.answer)
        if self._reader.buffer or not self._settled:
            self._parse()

    def _write_answer(self, request: ClientRequest, head: bytes, body: bytes) -> None:
        """Write the answer of the request that is first in line, and forget it."""
        if len(body) < _SMALL_BYTES:  # to copy it costs less than to pass it on
            self._transport.write(b"".join((head, self._ending(request), body)))
        else:
            self._transport.writelines([head + self._ending(request), body])
        if self._write_paused:
            self._port.budget.add(len(body))
            self._unwritten_bytes += len(body)
            self._unsent_grew(len(head) + len(body))
        self._done(request)

    def _attend(self, request: ClientRequest) -> None:
        """Do what waits for a request's being first in line."""
        if (
            request.head.expects_continue
            and request.unread
            and not request.received_bytes
            and not self._reader.buffer
        ):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        route = request.route
        if isinstance(route, ForwardRoute) and request.forward is None:
            request.forward = Forward(self._port.pool, self, request, route)
            if self._write_paused:
                request.forward.client_writable(writable=False)
            if request.unread:
                self._start_body(request)

    def _done(self, request: ClientRequest) -> None:
        """Forget an answered request, and close after the last one."""
        self._requests.popleft()
        self._active_s = self._loop.time()
        request.core = None  # it refers back: bodies must not wait for the garbage collector
        if request.reserved_bytes:
            self._port.budget.release(request.reserved_bytes)
        if not request.keep_alive:
            self._finish(linger=request.unread or bool(self._reader.buffer))

    def forward_instead(self, request: ClientRequest, reason: str) -> None:
        """A gathered request turns out not to be for batching: forward it as it came."""
        self._port.count_bypassed(reason)
        repeatable = isinstance(request.route, Batch) and request.route.codec.repeatable
        request.route = ForwardRoute(reason, repeatable=repeatable)
        if self._requests and self._requests[0] is request:
            self._attend(request)

    def _hear_no_more(self, request: ClientRequest) -> None:
        """The rest of a request will not be read: its answer is the connection's last."""
        self._settled = False
        request.keep_alive = False
        self._deaf = True
        self._current = None
        self._reader.take_rest()
