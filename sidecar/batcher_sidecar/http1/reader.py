"""Requests out of a stream of bytes: heads and bodies in turn, no byte further than asked for."""

from __future__ import annotations

from typing import Final

from batcher_sidecar.errors import RefusedError, refusal
from batcher_sidecar.http1.chunked import ChunkedReader
from batcher_sidecar.http1.head import MAX_HEAD_BYTES, RequestHead, parse_request_head

H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class RequestReader:
    """The reading side of one connection."""

    __slots__ = ("_chunks", "_last_head", "_last_raw", "_missing", "buffer", "in_body")

    def __init__(self) -> None:
        self.buffer = b""
        """What has come that nobody has asked for yet; the connection appends to it."""
        self._missing = 0  # bytes of a body with a declared length
        self._chunks: ChunkedReader | None = None
        self._last_raw = b""
        self._last_head: RequestHead | None = None
        self.in_body = False
        """True between ``start_body`` and the body's last byte."""

    def take_rest(self) -> bytes:
        """Return what is buffered, and forget it."""
        data, self.buffer = self.buffer, b""
        return data

    def read_preface(self) -> bool | None:
        """Tell whether an HTTP/2 preface begins the connection; None while it may still be one.

        Raises:
            RefusedError: it began like one (400).
        """
        buffer = self.buffer
        if buffer.startswith(H2_PREFACE):
            return True
        if H2_PREFACE.startswith(buffer):
            return None
        if buffer.startswith(H2_PREFACE[:4]):
            raise RefusedError(refusal("framing", detail="the HTTP/2 preface is malformed"))
        return False

    def read_head(self) -> RequestHead | None:
        """Return the next request's head, or None if it is not complete.

        A head equal to the one before, as on most kept connections, is not read again: the same
        object is returned.

        Raises:
            RefusedError: it is malformed, or too large (431).
        """
        buffer = self.buffer
        if self._last_head is not None and buffer.startswith(self._last_raw):
            self.buffer = buffer[len(self._last_raw) :]
            return self._last_head
        if buffer[:1] in (b"\r", b"\n"):  # RFC 9112 section 2.2: empty lines before are passed over
            buffer = self.buffer = buffer.lstrip(b"\r\n")
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        if end < 4:
            if len(buffer) >= MAX_HEAD_BYTES:
                raise RefusedError(refusal("head_too_large", limit_bytes=MAX_HEAD_BYTES))
            return None
        self._last_raw = buffer[:end]
        self.buffer = buffer[end:]
        self._last_head = None
        self._last_head = parse_request_head(self._last_raw)
        return self._last_head

    def take_whole(self, size_bytes: int) -> bytes | None:
        """Return a body of that length if all of it is there already, instead of reading it."""
        buffer = self.buffer
        if len(buffer) == size_bytes:
            self.buffer = b""
            return buffer
        if len(buffer) < size_bytes:
            return None
        self.buffer = buffer[size_bytes:]
        return buffer[:size_bytes]

    def start_body(self, head: RequestHead) -> None:
        """Expect the body that a head announced."""
        self.in_body = True
        if head.body_bytes is None:
            self._chunks = ChunkedReader()
        else:
            self._missing = head.body_bytes

    def read_body(self) -> list[bytes]:
        """Return what is there of the body; afterwards ``in_body`` tells whether more is to come.

        Raises:
            RefusedError: its framing is malformed.
        """
        if not self.buffer:
            return []
        data, self.buffer = self.buffer, b""
        if self._chunks is not None:
            pieces = self._chunks.feed(data)
            if self._chunks.done:
                self.buffer = self._chunks.leftover
                self._chunks = None
                self.in_body = False
            return pieces
        if len(data) > self._missing:
            self.buffer = data[self._missing :]
            data = data[: self._missing]
        self._missing -= len(data)
        self.in_body = self._missing > 0
        return [data]
