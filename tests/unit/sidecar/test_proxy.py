"""Tunnels through a data port, on a clock that tests move."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.sidecar.kit.answers import echo_bytes
from tests.sidecar.kit.client import Client
from tests.sidecar.kit.tcp import let_the_loop_turn, movable_clock
from tests.sidecar.kit.wire import Wire
from tests.unit.sidecar.stand import Stand, standing

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
async def stand(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    async with standing(movable_clock(monkeypatch)) as stand:
        yield stand


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


async def half_closed(stand: Stand, go: asyncio.Event) -> Client:
    """A client that has ended its side of a tunnel, which the model server knows."""
    ended = asyncio.Event()

    async def late(wire: Wire) -> None:
        assert await wire.read_all() == PREFACE + b"x" * (8 << 20)
        ended.set()
        await go.wait()
        wire.send(b"late")
        wire.close()

    stand.model.tunnel = late
    client = await stand.send(PREFACE + b"x" * (8 << 20))
    client.half_close()
    await asyncio.wait_for(ended.wait(), 10)
    return client


async def test_who_has_ended_its_side_of_a_tunnel_gets_what_still_comes(stand: Stand) -> None:
    go = asyncio.Event()
    client = await half_closed(stand, go)
    await stand.pass_s(2000)
    go.set()
    assert await client.read_all() == b"late"


async def test_who_leaves_after_ending_its_side_of_a_tunnel_is_missed(stand: Stand) -> None:
    go = asyncio.Event()
    client = await half_closed(stand, go)
    client.reset()
    await let_the_loop_turn()
    await stand.pass_s(10)
    await stand.until(lambda: stand.connections == 0)
    go.set()
