"""The transport side of a client's connection: when to read, when to wait, when to give up."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from batcher_sidecar.errors import refusal
from batcher_sidecar.http1 import RequestReader
from batcher_sidecar.timer import Deadline

if TYPE_CHECKING:
    from batcher_sidecar.errors import Refusal
    from batcher_sidecar.port import ClientRequest, DataPort
    from batcher_sidecar.proxy import Forward, RawTunnel

READ_AHEAD_BYTES: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 10.0
BODY_PAUSE_TIMEOUT_S: Final = 30.0
IDLE_TIMEOUT_S: Final = 620.0  # longer than the proxies in front keep theirs
WRITE_STALL_TIMEOUT_S: Final = 60.0
LINGER_S: Final = 2.0
HALF_CLOSED_PROBE_S: Final = 60
"""How often it is asked whether a client still listens that has ended its side of a tunnel."""
GONE_CHECK_S: Final = 5.0
"""How often a client is looked after whose bytes are not read for now."""


class Flow(asyncio.Protocol):
    """A client's connection as far as it waits, each wait with its bound; see ``server.py``."""

    def __init__(self, port: DataPort, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._loop = loop
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._reader = RequestReader()
        self._requests: deque[ClientRequest] = deque()
        self._current: ClientRequest | None = None  # whose body is being read
        self._tunnel: Forward | RawTunnel | None = None
        self._half_closed = False  # its client sends no more through its tunnel
        self._deaf = False  # nothing more is parsed; what comes is thrown away
        self._lingering = False
        self._reading = True
        self._unread_since_s = 0.0  # when reading was paused
        self._reading_allowed = True  # by the model server's side
        self._write_paused = False
        self._stalled_bytes = 0  # still unwritten when last looked at
        self._unwritten_bytes = 0  # of the budget, for answers that the client does not take
        self._body_ends_s = 0.0
        self._head_begun = False  # part of a head has come, and the deadline is its own
        self._active_s = loop.time()  # when the last answer was complete
        self._settled = True  # reading, nothing half read, and only the idle deadline running
        self._deadline = Deadline(loop, self._on_deadline)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._port.opened(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._deadline.set_in(IDLE_TIMEOUT_S)

    def eof_received(self) -> bool:
        """The client has ended its side, and with it, as far as can be known, its interest.

        In a tunnel that is for the two behind it to know: the end is passed on.
        """
        if self._tunnel is not None and not self._transport.is_closing():
            self._half_closed = True
            self._tunnel.from_client_end()
            self._watch_over_half()
            return True
        if self._requests and self._requests[0].started:
            self.abort()
        else:
            self.close()
        return False

    def pause_writing(self) -> None:
        """The client does not take its answers."""
        self._write_paused = True
        self._settled = self._head_begun = False
        self._watch_unsent()
        self._tell_writable(writable=False)

    def resume_writing(self) -> None:
        """The client has taken most of them."""
        self._write_paused = False
        self._release_unwritten()
        if self._lingering:
            self._deadline.set_in(LINGER_S)
        elif self._half_closed:
            self._deadline.set_in(GONE_CHECK_S)
        self._tell_writable(writable=True)
        self._parse()

    # --- for those who answer -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write a piece of a streamed answer or of a tunnel."""
        self._transport.write(data)
        if self._write_paused:
            self._unsent_grew(len(data))

    @property
    def outstanding(self) -> bool:
        """True while an answer is owed or not yet taken, a request half read, a tunnel up."""
        return self._busy or self._lingering or self._transport.get_write_buffer_size() > 0

    @property
    def _busy(self) -> bool:
        return bool(self._requests or self._reader.buffer) or self._tunnel is not None

    def close_if_idle(self) -> None:
        """Close where no answer is owed."""
        if not self._busy and not self._lingering:
            self.close()

    def allow_reading(self, *, allowed: bool) -> None:
        """Stop or go on reading on behalf of the model server's side."""
        if allowed is self._reading_allowed:
            return
        self._reading_allowed = allowed
        self._settled = False
        self._regulate()

    def close(self) -> None:
        """Close after what is written."""
        self._deaf = True
        self._transport.close()
        self._watch_unsent()

    def _watch_unsent(self) -> bool:
        """See to it that what is written is taken, or given up; tell whether any of it is left."""
        self._stalled_bytes = self._transport.get_write_buffer_size()
        if self._stalled_bytes:
            self._deadline.set_in(WRITE_STALL_TIMEOUT_S)
        return self._stalled_bytes > 0

    def _unsent_grew(self, size_bytes: int) -> None:
        """So much was added to what the client is slow to take: see whether it took any before."""
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes < self._stalled_bytes + size_bytes:
            self._deadline.set_in(WRITE_STALL_TIMEOUT_S)
        self._stalled_bytes = left_bytes

    def _watch_over_half(self) -> None:
        """See to it that a client is missed that takes nothing more after the end of its side."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:  # its machine answers with a reset, which `_look_after_client` sees
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, HALF_CLOSED_PROBE_S)
        if not self._write_paused:
            self._deadline.set_in(GONE_CHECK_S)

    def abort(self) -> None:
        """Break off with a reset, so that no part of an answer passes for the whole."""
        self._deaf = True
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _finish(self, *, linger: bool) -> None:
        """Close after an answer; linger where the client may still be sending (RFC 9112 9.6)."""
        self._deaf = True
        self._settled = False
        self._reader.take_rest()
        if not linger:
            self.close()
            return
        self._lingering = True
        if not self._transport.is_closing():
            self._transport.write_eof()
        if self._watch_unsent():
            self._transport.set_write_buffer_limits(high=0)  # so that we hear when it is taken
        else:
            self._deadline.set_in(LINGER_S)

    def _regulate(self) -> None:
        """Pause or resume reading, and set the deadline that the state asks for."""
        if self._transport.is_closing() or self._half_closed:
            return
        backlog = len(self._reader.buffer) > READ_AHEAD_BYTES
        reading = self._deaf or (self._reading_allowed and not backlog)
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
                self._unread_since_s = self._loop.time()
        self._settled = False
        if self._lingering or self._write_paused:
            return
        if not reading:
            self._deadline.set_in(GONE_CHECK_S)
            return
        if self._tunnel is not None:
            self._deadline.off()
            return
        head_begun, self._head_begun = self._head_begun, False
        if self._current is not None and self._reading_allowed:
            pause_s = BODY_PAUSE_TIMEOUT_S
            if self._current.forward is None:
                pause_s = min(pause_s, self._body_ends_s - self._loop.time())
            self._deadline.set_in(pause_s)
        elif self._reader.buffer and not self._requests:
            self._head_begun = True
            if not head_begun:  # else its time is running
                self._deadline.set_in(HEAD_TIMEOUT_S)
        else:
            self._deadline.set_in(IDLE_TIMEOUT_S)
            self._settled = self._reading and not self._reader.buffer

    def _on_deadline(self) -> None:
        left_bytes = self._transport.get_write_buffer_size()
        ending = self._lingering or self._transport.is_closing()
        if left_bytes and (self._write_paused or ending):
            if left_bytes < self._stalled_bytes:
                self._stalled_bytes = left_bytes
                self._deadline.set_in(WRITE_STALL_TIMEOUT_S)
            else:
                self.abort()
        elif ending:
            self.abort()
        elif not self._reading or self._half_closed:
            self._look_after_client()
        elif self._current is not None:
            self._refuse_unreadable(refusal("body_timeout", limit_s=BODY_PAUSE_TIMEOUT_S))
        elif self._reader.buffer and not self._requests:
            self._refuse_unreadable(refusal("head_timeout", limit_s=HEAD_TIMEOUT_S))
        elif self._requests:
            self._deadline.set_in(IDLE_TIMEOUT_S)  # the core watches over what waits
        else:
            idle_s = self._loop.time() - self._active_s
            if idle_s < IDLE_TIMEOUT_S - 1:
                self._deadline.set_in(IDLE_TIMEOUT_S - idle_s)
            else:
                self.close()

    def _look_after_client(self) -> None:
        """See whether a client has gone whose end is not read, for the bytes before it."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            poll = select.poll()
            # In a tunnel what lies before the end is still passed on.
            poll.register(sock.fileno(), 0 if self._tunnel is not None else select.POLLRDHUP)
            if poll.poll(0):
                if self._tunnel is not None:
                    self.abort()
                else:
                    self.eof_received()
                return
        # The end may be stuck behind more bytes than the kernel takes.
        waits = self._tunnel is None and not (self._requests and self._requests[0].started)
        if not waits or self._loop.time() - self._unread_since_s < IDLE_TIMEOUT_S:
            self._deadline.set_in(GONE_CHECK_S)
        elif self._current is not None:
            detail = f"it took nothing of the request's body for {IDLE_TIMEOUT_S:g} s"
            self._refuse_unreadable(refusal("bad_answer", detail=detail))
        else:
            self.close()

    def _release_unwritten(self) -> None:
        self._port.budget.release(self._unwritten_bytes)
        self._unwritten_bytes = 0

    # --- filled by the connection ---------------------------------------------------------------

    @abstractmethod
    def judge_anew(self) -> None:
        """Forget what was decided by settings that have changed."""

    @abstractmethod
    def _parse(self) -> None:
        """Take requests out of what has come."""

    @abstractmethod
    def _tell_writable(self, *, writable: bool) -> None:
        """Tell the source of a streamed answer whether the client takes it."""

    @abstractmethod
    def _refuse_unreadable(self, refused: Refusal) -> None:
        """Refuse what does not come in time."""
