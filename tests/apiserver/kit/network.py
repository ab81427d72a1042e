"""Services without kube-proxy: the API server's way to cluster IPs leads through here.

The API server calls webhooks by `clientConfig.service`, as in life: it looks up the Service, and
connects to its cluster IP. It is configured (EgressSelectorConfiguration) to ask a proxy for that
connection, which hands it on to one of the processes of the tests, in turn.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["ClusterNetwork"]

_CONFIGURATION: Final = """\
apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: %s}}
"""
_HEAD_S: Final = 5.0


class ClusterNetwork:
    """A proxy on a Unix socket for CONNECT, with the ends of Services."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "network.sock"
        self._configuration = folder / "egress.yaml"
        self._configuration.write_text(_CONFIGURATION % self._socket)
        self._ends: dict[str, list[int]] = {}
        self._turn = 0
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def flag(self) -> str:
        """For kube-apiserver."""
        return f"--egress-selector-config-file={self._configuration}"

    def lead(self, address: str, ports: list[int]) -> None:
        """Have connections to `address` (`IP:PORT`) end at these ports of 127.0.0.1, in turn."""
        self._ends[address] = ports

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve, in a thread of its own."""
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        started = threading.Event()

        async def serve() -> None:
            server = await asyncio.start_unix_server(self._accept, self._socket)
            started.set()
            await stop.wait()
            server.close()
            for relay in self._relays:
                relay.cancel()
            await asyncio.gather(*self._relays, return_exceptions=True)

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert started.wait(_HEAD_S)
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._relays.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        ends = self._ends.get(head.split()[1].decode(), [])
        for port in ends[self._turn % len(ends) :] + ends[: self._turn % len(ends)] if ends else ():
            self._turn += 1
            with contextlib.suppress(ConnectionError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
