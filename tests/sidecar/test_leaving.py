"""Clients that go away before their answer."""

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from tests.sidecar.kit.answers import Gate, never, streaming
from tests.sidecar.kit.client import Answer, Client, predict, request
from tests.sidecar.kit.rig import LONG, PAIR, RigFactory

SERIAL: Final = ("--max-batchsize", "1", "--max-concurrency", "1", *LONG)
GONE_S: Final = 5.0

LEAVINGS: Final = [
    pytest.param(Client.close, id="close"),
    pytest.param(Client.reset, id="reset"),
    pytest.param(Client.half_close, id="half-close"),
]


async def test_who_leaves_the_queue_is_never_inferred(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-concurrency", "1", *PAIR, shared=True)
    rig.model.otherwise = gate = Gate()
    busy = await rig.send(predict([0, 0]))
    await rig.model.wait_calls(1)
    leaver = await rig.send(predict([1]))
    await rig.settle()
    leaver.close()
    await rig.settle()
    stayers = [await rig.send(predict([row])) for row in (2, 3)]
    await rig.settle()
    gate.open()
    await rig.answers(busy, *stayers)
    assert [call.rows for call in rig.model.calls] == [[0, 0], [2, 3]]


@pytest.mark.parametrize("leave", LEAVINGS)
async def test_the_call_of_a_batch_that_all_left_is_cancelled(
    make_rig: RigFactory, leave: Callable[[Client], None]
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    rig.model.otherwise = never
    clients = [await rig.send(predict([row])) for row in (1, 2)]
    [call] = await rig.model.wait_calls(1)
    for client in clients:
        assert not call.gone.is_set()
        leave(client)
        await rig.settle()
    await asyncio.wait_for(call.gone.wait(), GONE_S)


async def test_a_batch_goes_on_for_who_stayed(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    rig.model.otherwise = gate = Gate()
    leaver = await rig.send(predict([1]))
    await rig.settle()
    stayer = await rig.send(predict([2]))
    [call] = await rig.model.wait_calls(1)
    leaver.close()
    await rig.settle()
    gate.open()
    assert (await stayer.response()).predictions == [2]
    assert call.rows == [1, 2]


async def test_the_slot_of_a_cancelled_call_is_free_again(make_rig: RigFactory) -> None:
    rig = await make_rig(*SERIAL, shared=True)
    rig.model.then.append(never)
    leaver = await rig.send(predict([1]))
    await rig.model.wait_calls(1)
    leaver.close()
    assert (await rig.ask(predict([2]))).predictions == [2]


async def test_leaving_is_seen_behind_a_pipelined_request(make_rig: RigFactory) -> None:
    rig = await make_rig(*SERIAL, shared=True)
    rig.model.then.append(never)
    leaver = await rig.send(predict([1]) + predict([2], k="other"))
    [call] = await rig.model.wait_calls(1)
    leaver.close()
    await asyncio.wait_for(call.gone.wait(), GONE_S)
    await rig.settle()
    assert (await rig.ask(predict([3]))).predictions == [3]
    assert [call.rows for call in rig.model.calls] == [[1], [3]]


async def test_leaving_in_the_middle_of_a_body_leaves_nothing_behind(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    leaver = await rig.send(predict([1])[:-2])
    await rig.settle()
    leaver.close()
    await rig.settle()
    clients = [await rig.send(predict([row])) for row in (2, 3)]
    await rig.answers(*clients)
    assert [call.rows for call in rig.model.calls] == [[2, 3]]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_no_part_passes_for_the_whole_where_a_client_ends_its_side(
    make_rig: RigFactory, version: str
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    rig.model.otherwise = streaming(pieces)
    client = await rig.send(request("GET", "/v2/stream", version=version))
    answer = Answer(client, "GET")
    await answer.head()
    pieces.put_nowait(b"first")
    assert await answer.piece() == b"first"
    client.half_close()
    await client.expect_lost()
    assert client.was_reset
    await asyncio.wait_for(rig.model.calls[0].gone.wait(), GONE_S)


@pytest.mark.parametrize("leave", LEAVINGS[:2])
async def test_a_forwarded_request_whose_client_left_is_cancelled(
    make_rig: RigFactory, leave: Callable[[Client], None]
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    rig.model.otherwise = never
    client = await rig.send(request("GET", "/v2/stream"))
    [call] = await rig.model.wait_calls(1)
    leave(client)
    await asyncio.wait_for(call.gone.wait(), GONE_S)
