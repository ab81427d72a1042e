"""Reading a chunked body (RFC 9112 section 7.1).

llhttp reads chunks too, but does not say where a body ends in what it was fed, nor count chunk
extensions and trailers; a proxy that pipelines and limits needs both.
"""

from __future__ import annotations

import re
from typing import Final

from batcher_sidecar.errors import RefusedError, refusal

MAX_OVERHEAD_BYTES: Final = 16 * 1024
"""Chunk extensions and trailers of one body together."""
_MAX_LINE_BYTES: Final = 4096
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")

_SIZE, _DATA, _DATA_END, _TRAILERS, _END = range(5)


class ChunkedReader:
    """Takes bytes as they come, gives the body's bytes; trailers are read and thrown away."""

    __slots__ = ("_missing", "_overhead", "_pending", "_state", "leftover")

    def __init__(self) -> None:
        self._state = _SIZE
        self._missing = 0  # bytes of the current chunk
        self._pending = b""  # an incomplete line
        self._overhead = 0
        self.leftover = b""
        """What followed the body, once ``done``."""

    @property
    def done(self) -> bool:
        """True when the body has ended."""
        return self._state == _END

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of body in ``data``.

        Raises:
            RefusedError: the framing is wrong (400) or the overhead too large (431).
        """
        pieces: list[bytes] = []
        if self._pending:
            data = self._pending + data
            self._pending = b""
        position, end = 0, len(data)
        while self._state != _END:
            if self._state == _DATA:
                piece = data[position : position + self._missing]
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._missing -= len(piece)
                if self._missing:
                    return pieces
                self._state = _DATA_END
            elif self._state == _DATA_END:
                if end - position < 2:
                    self._wait(data[position:], b"\r\n")
                    return pieces
                if data[position : position + 2] != b"\r\n":
                    raise _framing("a chunk is longer than its size says")
                position += 2
                self._state = _SIZE
            else:
                newline = data.find(b"\n", position, position + _MAX_LINE_BYTES)
                if newline < 0:
                    self._hold(data[position:])
                    return pieces
                self._line(data[position : newline + 1])
                position = newline + 1
        self.leftover = data[position:]
        return pieces

    def _line(self, line: bytes) -> None:
        """Take a complete chunk-size or trailer line."""
        if self._state == _SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise _framing("a chunk size is malformed")
            self._missing = int(match[1], 16)
            self._count(len(line) - len(match[1]) - 2)
            self._state = _DATA if self._missing else _TRAILERS
        elif line == b"\r\n":
            self._state = _END
        else:
            if _TRAILER_LINE.fullmatch(line) is None:
                raise _framing("a trailer is malformed")
            self._count(len(line))

    def _hold(self, line: bytes) -> None:
        """Keep an incomplete line, within the limit; its overhead counts once it is complete."""
        if len(line) >= _MAX_LINE_BYTES:
            raise _too_large()
        self._pending = line

    def _wait(self, rest: bytes, expected: bytes) -> None:
        if not expected.startswith(rest):
            raise _framing("a chunk is longer than its size says")
        self._pending = rest

    def _count(self, overhead: int) -> None:
        self._overhead += overhead
        if self._overhead > MAX_OVERHEAD_BYTES:
            raise _too_large()


def _framing(detail: str) -> RefusedError:
    return RefusedError(refusal("framing", detail=detail))


def _too_large() -> RefusedError:
    return RefusedError(refusal("trailers_too_large", limit_bytes=MAX_OVERHEAD_BYTES))
