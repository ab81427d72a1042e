"""Connections without a network: the sidecar's end behaves as uvloop's, the other end as told."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Link", "Peer"]

_READ_BYTES: Final = 64 * 1024


class Peer(Protocol):
    """The other end of a connection."""

    def on_data(self, data: bytes) -> None:
        """Bytes from the sidecar."""

    def on_end(self, *, reset: bool) -> None:
        """The sidecar has ended its side, or has reset the connection."""


class Link(asyncio.Transport):
    """The sidecar's end of a connection.

    Strict where uvloop is: writing after the end of the own side, or after ``connection_lost``,
    raises. Like a socket that is just closed, it delivers what the kernel has taken, and resets
    where bytes have not been read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peer: Peer,
        *,
        window_bytes: int,
        high_water_bytes: int,
    ) -> None:
        super().__init__()
        self.closed = False
        """The sidecar's end is gone."""
        self._loop = loop
        self._peer = peer
        self._protocol: asyncio.Protocol | None = None
        self._window_bytes = window_bytes
        self._high_water_bytes = high_water_bytes
        self._incoming = bytearray()
        self._eof_came = False
        self._reset_came = False
        self._reading = False
        self._read_wanted = False
        self._outgoing = bytearray()  # the transport's own buffer
        self._kernel = bytearray()  # sent, not yet read by the other end
        self._paused = False
        self._eof_wanted = False
        self._fin: bool | None = None  # True: as a reset
        self._fin_told = False
        self._closing = False
        self._lost = False
        self._peer_reading = True
        self._peer_gone = False
        self._delivery_due = False
        self._lingers = True

    def open(self, protocol: asyncio.Protocol) -> None:
        """Start; ``connection_made`` comes soon."""
        self._protocol = protocol
        self._loop.call_soon(self._made)

    # --- for the other end ----------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the sidecar."""
        if not (self._peer_gone or self.closed):
            self._incoming += data
            self._want_read()

    def end(self) -> None:
        """End the other end's side only."""
        self._eof_came = True
        self._want_read()

    def leave(self, *, reset: bool) -> None:
        """Close the other end: nothing is read or sent any more."""
        self._peer_gone = True
        self._kernel.clear()
        if reset:
            self._incoming.clear()
            self._reset_came = True
        self._eof_came = True
        self._want_read()
        if self._outgoing:
            self._loop.call_soon(self._pump)

    def read_on(self, *, wanted: bool) -> None:
        """Let the other end stop reading, or go on."""
        self._peer_reading = wanted
        if wanted:
            self._want_delivery()

    def reset_at_close(self) -> None:
        """Close with a reset that overtakes what the other end has not read (linger of 0 s)."""
        self._lingers = False

    # --- the transport --------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name != "socket":
            return default
        if self.closed:
            raise RuntimeError("unable to perform operation; the handler is closed")
        return _Socket(self)

    def get_write_buffer_size(self) -> int:
        return len(self._outgoing)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is not None:
            self._high_water_bytes = high
            self._tell_if_full()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not (self._reading or self._closing):
            self._reading = True
            self._want_read()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines([data])

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if self.closed:
            raise RuntimeError("unable to perform operation; the handler is closed")
        if self._eof_wanted:
            raise RuntimeError("Cannot call write() after write_eof()")
        data = b"".join(list_of_data)
        if self._lost or not data:
            return
        self._outgoing += data
        self._pump()
        self._tell_if_full()

    def write_eof(self) -> None:
        if self.closed:
            raise RuntimeError("unable to perform operation; the handler is closed")
        self._eof_wanted = True
        self._pump()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._reading = False
            if not self._outgoing:
                self._lose(None)

    def abort(self) -> None:
        self._force_close(None)

    # --- inside ---------------------------------------------------------------------------------

    def _made(self) -> None:
        assert self._protocol is not None
        self._protocol.connection_made(self)
        if not self._closing:
            self._reading = True
            self._want_read()

    def _want_read(self) -> None:
        if not self._read_wanted:
            self._read_wanted = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Tell the protocol what has come, as far as it reads."""
        self._read_wanted = False
        if not self._reading or self._closing or self._protocol is None:
            return
        if self._reset_came:
            self._force_close(ConnectionResetError("connection reset by peer"))
        elif self._incoming:
            data = bytes(self._incoming[:_READ_BYTES])
            del self._incoming[: len(data)]
            try:
                self._protocol.data_received(data)
            except Exception as error:
                self._force_close(error)
                raise
            if self._incoming or self._eof_came:
                self._want_read()
        elif self._eof_came:
            self._reading = False
            if not self._protocol.eof_received():
                self.close()

    def _pump(self) -> None:
        """Hand to the kernel what it takes."""
        if self.closed or self._lost:
            return
        if self._reset_came and self._outgoing:
            self._force_close(BrokenPipeError("broken pipe"))
            return
        if self._peer_gone:
            if self._outgoing:  # the kernel takes it; the other end answers with a reset
                self._outgoing.clear()
                self._incoming.clear()
                self._reset_came = True
                self._want_read()
        else:
            room = self._window_bytes - len(self._kernel)
            if room > 0 and self._outgoing:
                self._kernel += self._outgoing[:room]
                del self._outgoing[:room]
                self._want_delivery()
        if self._paused and len(self._outgoing) <= self._high_water_bytes // 4:
            self._loop.call_soon(self._resume)
        if not self._outgoing:
            if self._closing:
                self._lose(None)
            elif self._eof_wanted and self._fin is None:
                self._fin = False
                self._want_delivery()

    def _tell_if_full(self) -> None:
        if len(self._outgoing) > self._high_water_bytes and not self._paused:
            self._paused = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def _resume(self) -> None:
        if self._paused and len(self._outgoing) <= self._high_water_bytes // 4:
            self._paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def _want_delivery(self) -> None:
        if not self._delivery_due:
            self._delivery_due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Give the other end what it reads."""
        self._delivery_due = False
        if self._peer_gone or not self._peer_reading:
            return
        if self._fin and not self._fin_told:
            self._fin_told = True
            self._peer.on_end(reset=True)
            return
        if self._kernel:
            data = bytes(self._kernel)
            self._kernel.clear()
            self._peer.on_data(data)
            self._pump()
            self._want_delivery()
        elif self._fin is False and not self._fin_told:
            self._fin_told = True
            self._peer.on_end(reset=False)

    def _force_close(self, error: Exception | None) -> None:
        if not (self._lost or self.closed):
            self._closing = True
            self._reading = False
            self._outgoing.clear()
            self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        self.closed = True
        reset = bool(self._incoming) or self._reset_came or not self._lingers
        if not self._lingers:
            self._kernel.clear()
        if self._fin is None or reset:
            self._fin = reset
            self._want_delivery()
        if protocol is not None:
            protocol.connection_lost(error)


# What stands in for a connected socket where the kernel is asked whether the other end has gone.
_CONNECTED: Final = os.pipe()


class _Socket:
    """As much of a link's socket as is asked for."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def fileno(self) -> int:
        return _CONNECTED[0]

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            assert value == struct.pack("ii", 1, 0)
            self._link.reset_at_close()
