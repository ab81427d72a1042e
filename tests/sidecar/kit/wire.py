"""One end of a TCP connection, seen byte by byte.

Streams hide what these tests are about: whether the other end closed, half-closed or reset,
and when writing had to pause. Every wait has a bound and fails with what had arrived by then.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

__all__ = ["BOUND_S", "Truncated", "Wire"]

BOUND_S: Final = 10.0
"""How long any wait of these tests lasts at most, unless it says otherwise."""


class Truncated(AssertionError):
    """The connection ended before what was awaited had arrived."""


class Wire(asyncio.Protocol):
    """A connection whose arriving bytes are kept until they are asked for."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False
        """The other end will send nothing more: it half-closed, closed or reset."""
        self.lost = asyncio.Event()
        """The connection is gone, whoever ended it."""
        self.error: Exception | None = None
        self.received_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.received_bytes += len(data)
        self._changed.set()

    def eof_received(self) -> bool:
        self.ended = True
        self._changed.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.error = exc
        self.lost.set()
        self._may_write.set()
        self._changed.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None, "not connected"
        return self._transport

    @property
    def was_reset(self) -> bool:
        return isinstance(self.error, ConnectionError)

    async def until(self, arrived: Callable[[], bool], within_s: float = BOUND_S) -> None:
        """Wait until `arrived`, looked at whenever bytes or an end come in.

        Raises:
            Truncated: the connection ended first.
            AssertionError: it took longer than `within_s`.
        """
        try:
            async with asyncio.timeout(within_s):
                while not arrived():
                    if self.ended:
                        raise Truncated(f"connection ended after {bytes(self.buffer[:500])!r}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            got = bytes(self.buffer[:500])
            raise AssertionError(f"nothing more within {within_s} s after {got!r}") from None

    async def read_until(self, end: bytes, within_s: float = BOUND_S) -> bytes:
        """Read up to and including `end`."""
        await self.until(lambda: end in self.buffer, within_s)
        return self._take(self.buffer.index(end) + len(end))

    async def read_exactly(self, size: int, within_s: float = BOUND_S) -> bytes:
        await self.until(lambda: len(self.buffer) >= size, within_s)
        return self._take(size)

    async def read_some(self, within_s: float = BOUND_S) -> bytes:
        """What has arrived, at least one byte; empty if the other end sends no more."""
        try:
            await self.until(lambda: bool(self.buffer), within_s)
        except Truncated:
            return b""
        return self._take(len(self.buffer))

    async def read_all(self, within_s: float = BOUND_S) -> bytes:
        """Everything up to the other end's close."""
        await self.until(lambda: self.ended, within_s)
        return self._take(len(self.buffer))

    def _take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def send(self, data: bytes) -> None:
        """Hand bytes to the kernel without waiting for anyone to read them."""
        self.transport.write(data)

    async def drained(self, within_s: float = BOUND_S) -> bool:
        """Whether everything sent was taken off our hands within the bound."""
        try:
            async with asyncio.timeout(within_s):
                await self._may_write.wait()
        except TimeoutError:
            return False
        return True

    def pause_reading(self) -> None:
        """Let the other end's bytes pile up in the kernel."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    async def until_bytes_wait(self, within_s: float = BOUND_S) -> None:
        """Wait, while reading is paused, until something has arrived in the kernel."""
        sock = self.transport.get_extra_info("socket")
        assert sock is not None
        duplicate = socket.fromfd(sock.fileno(), sock.family, sock.type)
        try:
            async with asyncio.timeout(within_s):
                while not _has_bytes(duplicate):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            duplicate.close()

    def half_close(self) -> None:
        self.transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End with a TCP reset instead of a close."""
        sock = self.transport.get_extra_info("socket")
        assert sock is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        """End without waiting for what was sent to be taken."""
        if self._transport is not None:
            self._transport.abort()

    async def expect_end(self, within_s: float = BOUND_S) -> None:
        """The other end sends not one byte more and closes, half-closes or resets."""
        rest = await self.read_all(within_s)
        assert rest == b"", f"unexpected bytes before the end: {rest[:500]!r}"

    async def expect_lost(self, within_s: float = BOUND_S) -> None:
        """The connection goes away altogether (half-closing is not enough)."""
        try:
            async with asyncio.timeout(within_s):
                await self.lost.wait()
        except TimeoutError:
            raise AssertionError(f"connection still there after {within_s} s") from None


def _has_bytes(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False
