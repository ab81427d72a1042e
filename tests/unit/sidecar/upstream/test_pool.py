"""Which connections are kept, for how long, and what waits for one."""

import asyncio
import time

import pytest

from batcher_sidecar.upstream import UpstreamPool
from batcher_sidecar.upstream.connection import UpstreamConnection
from tests.sidecar.kit.client import request
from tests.unit.sidecar.stand import standing

GET = request("GET", "/x")


async def test_an_idle_connection_is_used_and_kept_for_less_than_5_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, offset_s = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real() + offset_s)
    async with standing() as stand:
        client = await stand.connect()
        for passed_s in (0, 3.5, 4.5):
            offset_s += passed_s
            assert (await client.ask(GET, "GET")).status == 200
        assert [call.connection for call in stand.model.calls] == [0, 0, 1]
        offset_s += 4.5
        await stand.model.until(lambda: not stand.model.wires)


class Ended(asyncio.Transport):
    """A transport that tells whether it was aborted."""

    aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def test_only_so_many_idle_connections_are_kept() -> None:
    pool = UpstreamPool("127.0.0.1", 1)
    transports = [Ended() for _ in range(300)]
    for transport in transports:
        connection = UpstreamConnection(pool)
        connection.connection_made(transport)
        pool.put_back(connection)
    assert [transport.aborted for transport in transports] == [True] * 44 + [False] * 256
    await pool.close()


class Waiting:
    """A sink that only waits."""

    def on_head(self, head: object, body_bytes: int | None) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_lost(self, error: Exception) -> None: ...

    def on_tunnel(self, data: bytes) -> None: ...

    def on_upstream_writable(self, *, writable: bool) -> None: ...


async def test_many_pieces_wait_for_a_connection_at_little_cost() -> None:
    pool = UpstreamPool("127.0.0.1", 1)
    exchange = pool.request(Waiting(), b"POST", [b"head"], streamed=True)
    start_s = time.process_time()
    for _ in range(100_000):
        exchange.write(b"1\r\na\r\n")
    assert time.process_time() - start_s < 3
    exchange.cancel()
    await pool.close()
