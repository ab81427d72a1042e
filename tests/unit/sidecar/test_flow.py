"""What a client's connection waits for, and for how long, on a clock that tests move."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.server import ClientConnection
from tests.sidecar.kit.answers import Gate, echo, never, says
from tests.sidecar.kit.client import Client, body_of, predict, request
from tests.sidecar.kit.scripted import Early, Exchange
from tests.sidecar.kit.tcp import let_the_loop_turn, movable_clock
from tests.unit.sidecar.stand import Stand, standing


class Stuck(asyncio.Transport):
    """A transport whose other end takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent_bytes = 0
        self.high_bytes: int | None = None
        self.aborted = False
        self._closing = False

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unsent_bytes += len(data)

    def write_eof(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_bytes = high

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = self.aborted = True


@pytest.fixture
async def stand(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    async with standing(movable_clock(monkeypatch)) as stand:
        yield stand


async def test_an_idle_connection_is_kept_for_620_s_after_its_last_answer(stand: Stand) -> None:
    stand.model.otherwise = gate = Gate()
    client = await stand.connect()
    client.send(predict([1]))
    await stand.model.wait_calls(1)
    await stand.pass_s(300)
    gate.open()
    assert (await client.response()).predictions == [1]
    await stand.pass_s(600)
    assert (await client.ask(predict([2]))).predictions == [2]
    await stand.pass_s(630)
    await client.expect_end()


async def flooding(stand: Stand) -> Client:
    """A client whose forwarded request hangs, and who has sent more than is read behind it."""
    stand.model.otherwise = never
    client = await stand.connect()
    client.send(request("GET", "/x") + b"".join([predict([1])] * 1000))
    await client.drained()
    await stand.model.wait_calls(1)
    await let_the_loop_turn()
    return client


@pytest.mark.parametrize("leave", [Client.close, Client.reset, Client.half_close])
async def test_leaving_is_seen_behind_more_than_is_read(
    stand: Stand, leave: Callable[[Client], None]
) -> None:
    client = await flooding(stand)
    leave(client)
    await let_the_loop_turn()
    await stand.pass_s(10)
    await asyncio.wait_for(stand.model.calls[0].gone.wait(), 5)


async def test_who_sends_more_than_is_read_is_answered_all_the_same(stand: Stand) -> None:
    gate = Gate()
    client = await flooding(stand)
    stand.model.then.append(gate)
    other = await stand.connect()
    other.send(request("GET", "/x") + b"".join([predict([1])] * 1000))
    await other.drained()
    await stand.model.wait_calls(2)
    await stand.pass_s(600)
    assert not client.ended
    assert not other.ended
    stand.model.otherwise = echo
    gate.open()
    assert (await other.response("GET")).status == 200
    for _ in range(1000):
        assert (await other.response()).predictions == [1]


async def test_who_sends_more_than_is_read_is_not_kept_for_good(stand: Stand) -> None:
    client = await flooding(stand)
    await stand.pass_s(640)
    await client.expect_end()
    await asyncio.wait_for(stand.model.calls[0].gone.wait(), 5)


async def test_a_head_begun_as_the_idle_time_ends_has_its_own_time(stand: Stand) -> None:
    client = await stand.connect()
    await stand.pass_s(615)
    whole = predict([1])
    client.send(whole[:40])
    await client.drained(1)
    await let_the_loop_turn()
    await stand.pass_s(8)
    client.send(whole[40:])
    assert (await client.response()).predictions == [1]


async def test_who_closes_its_side_and_takes_nothing_is_given_up(stand: Stand) -> None:
    transport = Stuck()
    connection = ClientConnection(stand.port, asyncio.get_running_loop())
    connection.connection_made(transport)
    transport.unsent_bytes = 1000  # too little for the transport to call the writing paused
    connection.eof_received()
    await stand.pass_s(50)
    transport.unsent_bytes = 500
    await stand.pass_s(20)
    assert transport.is_closing()
    assert not transport.aborted
    await stand.pass_s(60)
    assert transport.aborted
    connection.connection_lost(None)


async def test_a_body_in_tiny_chunks_takes_little_more_room_than_its_bytes(
    stand: Stand,
) -> None:
    size = (1 << 17) + 1
    body = body_of(["x" * size])
    chunks = b"".join([b"2\r\n" + body[at : at + 2] + b"\r\n" for at in range(0, len(body), 2)])
    assert len(body) % 2 == 0
    data = request("POST", "/m:predict", [("Transfer-Encoding", "chunked")]) + chunks
    client = await stand.connect()
    tracemalloc.start()
    try:
        client.send(data)
        await client.drained()
        while stand.port.budget.used_bytes < len(body):  # noqa: ASYNC110
            await asyncio.sleep(0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    client.send(b"0\r\n\r\n")
    assert (await client.response()).predictions == ["x" * size]
    assert held < 10 * len(body)


async def begun(stand: Stand, target: str, size: int = 1000) -> Client:
    """A client of whose request's body one byte has come."""
    stand.model.otherwise = Early(never)
    client = await stand.send(request("POST", target, [("Content-Length", str(size))]) + b" ")
    await let_the_loop_turn()
    return client


@pytest.mark.parametrize("target", ["/m:predict", "/x"])
async def test_a_body_that_stands_still_for_30_s_gets_408(stand: Stand, target: str) -> None:
    client = await begun(stand, target)
    await stand.pass_s(28)
    client.send(b" ")
    await let_the_loop_turn()
    await stand.pass_s(28)
    assert not client.buffer
    await stand.pass_s(4)
    response = await client.response(within_s=2)
    assert response.status == 408
    assert response.error
    await client.expect_end()


async def outlast(stand: Stand, seconds: int, *clients: Client) -> None:
    """Send a byte every 5 s for so long."""
    for _ in range(seconds // 5):
        await stand.pass_s(5)
        for client in clients:
            client.send(b" ")
        await let_the_loop_turn()


async def test_a_body_that_takes_longer_than_the_timeout_in_force_gets_408(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = BatcherSettings(max_batch_size=1, max_latency_ms=10, timeout_s=100)
    async with standing(movable_clock(monkeypatch), settings=settings) as stand:
        client, upload = await begun(stand, "/m:predict"), await begun(stand, "/x")
        await outlast(stand, 95, client, upload)
        assert not client.buffer
        await stand.pass_s(6)
        assert (await client.response()).status == 408
        stand.port.apply(replace(settings, timeout_s=40))
        client = await begun(stand, "/m:predict")
        await outlast(stand, 35, client, upload)
        assert not client.buffer
        await stand.pass_s(6)
        assert (await client.response()).status == 408
        assert not upload.ended  # streamed: only its pauses count


@asynccontextmanager
async def held_up(stand: Stand) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A client whose upload the model server does not take, until the event is set."""
    go = asyncio.Event()
    size = 32 << 20

    async def reluctant(exchange: Exchange) -> None:
        exchange.wire.pause_reading()
        await go.wait()
        exchange.wire.resume_reading()
        exchange.answer(200, str(len(await exchange.read_body())).encode())

    stand.model.otherwise = Early(reluctant)
    client = await stand.send(request("POST", "/x", body=b"x" * size))
    await stand.model.wait_heads(1)
    while await client.drained(0.5):
        client.send(b"x")
    try:
        yield client, go
    finally:
        go.set()


async def test_who_leaves_an_upload_that_is_held_up_is_missed(stand: Stand) -> None:
    async with held_up(stand) as (client, _):
        client.reset()
        await let_the_loop_turn()
        await stand.pass_s(10)
        await stand.until(lambda: stand.connections == 0)


async def test_an_upload_may_be_held_up_for_as_long_as_the_model_server_takes(
    stand: Stand,
) -> None:
    async with held_up(stand) as (client, go):
        await stand.pass_s(600)
        go.set()
        assert (await client.response()).body == str(32 << 20).encode()


async def test_an_upload_that_the_model_server_never_takes_gets_502(stand: Stand) -> None:
    async with held_up(stand) as (client, _):
        await stand.pass_s(640)
        response = await client.response()
        assert response.status == 502
        assert "model server" in response.error
        await client.expect_end()


async def test_who_takes_nothing_for_60_s_is_given_up(stand: Stand) -> None:
    size = 16 << 20
    stand.model.otherwise = says(200, b"x" * size)
    stuck, slow = await stand.connect(), await stand.connect()
    for client in (stuck, slow):
        client.pause_reading()
        client.send(request("GET", "/x"))
        await client.until_bytes_wait()
    await stand.pass_s(50)
    slow.resume_reading()
    await slow.until(lambda: len(slow.buffer) > size // 2)
    slow.pause_reading()
    await let_the_loop_turn()
    assert stand.connections == 2
    await stand.pass_s(20)
    await stand.until(lambda: stand.connections == 1)
    slow.resume_reading()
    assert len((await slow.response("GET")).body) == size


async def test_who_takes_a_little_is_kept_while_more_is_added(stand: Stand) -> None:
    transport = Stuck()
    connection = ClientConnection(stand.port, asyncio.get_running_loop())
    connection.connection_made(transport)
    connection.write(b"x" * 1_000_000)
    connection.pause_writing()
    for _ in range(6):
        await stand.pass_s(40)
        transport.unsent_bytes -= 1000
        connection.write(b"x" * 100_000)
        assert not transport.aborted
    for _ in range(3):
        await stand.pass_s(25)
        connection.write(b"x" * 100_000)
    assert transport.aborted
    connection.connection_lost(None)


async def test_lingering_begins_when_the_refusal_is_taken(stand: Stand) -> None:
    size = 16 << 20
    stand.model.otherwise = gate = Gate(says(200, b"x" * size))
    client = await stand.connect()
    client.pause_reading()
    client.send(predict([1]) + b"UNKNOWN / HTTP/1.1\r\n\r\n")
    await stand.model.wait_calls(1)
    await let_the_loop_turn()
    gate.open()
    await client.until_bytes_wait()
    await stand.pass_s(30)
    assert stand.connections == 1
    client.resume_reading()
    assert len((await client.response()).body) == size
    assert (await client.response()).status == 501
    await client.expect_end()
    await stand.pass_s(1)
    assert stand.connections == 1
    await stand.pass_s(1.5)
    await stand.until(lambda: stand.connections == 0)


async def test_lingering_waits_for_the_last_byte_of_the_refusal(stand: Stand) -> None:
    transport = Stuck()
    connection = ClientConnection(stand.port, asyncio.get_running_loop())
    connection.connection_made(transport)
    connection.data_received(b"UNKNOWN / HTTP/1.1\r\n\r\n")
    assert transport.high_bytes == 0  # so the transport tells of the last byte
    connection.pause_writing()
    await stand.pass_s(30)
    transport.unsent_bytes = 0
    connection.resume_writing()
    await stand.pass_s(1)
    assert not transport.aborted
    await stand.pass_s(1.5)
    assert transport.aborted
    connection.connection_lost(None)
