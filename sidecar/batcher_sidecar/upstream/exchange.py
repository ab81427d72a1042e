"""One request to the model server and its answer, over whichever connection carries it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from batcher_sidecar.http1 import ResponseHead
    from batcher_sidecar.upstream.connection import UpstreamConnection
    from batcher_sidecar.upstream.pool import UpstreamPool

RETRY_WITHIN_S: Final = 0.1
"""A kept connection that fails later than this may have carried the request."""

Piece: TypeAlias = bytes | bytearray | memoryview
"""Part of what is sent."""


class Unreachable(Exception):
    """No connection could be made; nothing was sent (503)."""

    reason: Final = "unreachable"
    """The refusal that it comes to (``errors.py``)."""


class Broken(Exception):
    """The connection was lost, or what came over it is no HTTP answer (502)."""

    reason: Final = "bad_answer"
    """The refusal that it comes to (``errors.py``)."""


class Sink(Protocol):
    """Takes an answer as it comes: a head, pieces of body, the end; or its loss at any time."""

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


class _Nobody:
    """Stands where the sink of an exchange was that has ended."""

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, error: Unreachable | Broken) -> None: ...

    def on_tunnel(self, data: bytes) -> None: ...

    def on_upstream_writable(self, *, writable: bool) -> None: ...


_NOBODY: Final = _Nobody()


class Exchange:
    """One request to the model server and its answer. Made by ``UpstreamPool``."""

    __slots__ = (
        "_conn", "_eof", "_held", "_paused", "_pool", "_replayable", "_retried", "_sent", "_sent_s",
        "body_open", "ended", "method", "raw", "sink",
    )  # fmt: skip

    def __init__(
        self, pool: UpstreamPool, sink: Sink, method: bytes, data: list[Piece], *,
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
        self._held = False  # the rest of the body waits for the connection
        self._eof = False
        self.ended = False

    def write(self, data: bytes) -> None:
        """Send more of the body (framed by the caller)."""
        if self._conn is not None:
            self._conn.write(data)
        elif not self.ended:
            self._sent.append(data)
            if not self._held:
                self._held = True
                self.sink.on_upstream_writable(writable=False)

    def end_body(self) -> None:
        """The last byte of the body has been given to ``write``."""
        self.body_open = False

    def write_eof(self) -> None:
        """Nothing more is sent through this tunnel."""
        self._eof = True
        if self._conn is not None:
            self._conn.write_eof()

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
            conn = self._conn
            self._end()
            if conn is not None:
                conn.abandon()

    def started(self, conn: UpstreamConnection) -> None:
        """A connection is there: send."""
        self._conn = conn
        self._sent_s = time.monotonic()
        if self._held:
            self._held = False
            self.sink.on_upstream_writable(writable=True)
        conn.send(self, self._sent)
        if self._eof:
            conn.write_eof()
        if self._paused:
            conn.pause_reading()
        if not self._replayable or not conn.reused:
            self._sent = []

    def finished(self) -> Sink:
        """The answer is complete; the connection goes back to the pool or is closed.

        Returns whom to tell so.
        """
        if self._paused and self._conn is not None:
            self._conn.resume_reading()  # it may serve another
        return self._end()

    def _end(self) -> Sink:
        """Let go of everything; return the sink, which refers back."""
        self.ended = True
        self._conn = None
        self._sent = []
        sink, self.sink = self.sink, _NOBODY
        return sink

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
        self._end().on_lost(error)
