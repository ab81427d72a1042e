"""What a client's connection waits for, and for how long, on a clock that tests move."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest

from batcher_sidecar.server import ClientConnection
from tests.sidecar.kit.answers import Gate, echo, echo_bytes, never
from tests.sidecar.kit.client import Client, body_of, predict, request
from tests.sidecar.kit.tcp import let_the_loop_turn, movable_clock
from tests.sidecar.kit.wire import Wire
from tests.unit.sidecar.stand import Stand, standing

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Stuck(asyncio.Transport):
    """A transport whose other end takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent_bytes = 0
        self.aborted = False
        self._closing = False

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

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


async def test_a_tunnel_that_was_slow_once_is_not_ended_for_it(stand: Stand) -> None:
    size = 32 << 20
    go = asyncio.Event()

    async def flood(wire: Wire) -> None:
        await wire.read_until(PREFACE)
        wire.send(b"x" * size)
        await wire.drained()
        await go.wait()
        await echo_bytes(wire)

    stand.model.tunnel = flood
    client = await stand.connect()
    client.pause_reading()
    client.send(PREFACE)
    await client.until_bytes_wait()
    await let_the_loop_turn()
    client.resume_reading()
    await client.read_exactly(size)
    go.set()
    await stand.pass_s(2000)
    client.send(b"still there")
    assert await client.read_exactly(11) == b"still there"


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
