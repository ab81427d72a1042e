"""What a call counts against the budget, and how much of an answer it takes."""

import asyncio
import json
from dataclasses import replace

import pytest

from batcher_contract import BatcherSettings
from tests.sidecar.kit.answers import Gate, says, streaming
from tests.sidecar.kit.client import PREDICT, Client, body_of, predict, request
from tests.sidecar.kit.process import until
from tests.unit.sidecar.stand import Stand, standing

LIMIT = 64 * 1024
SETTINGS = BatcherSettings(
    max_batch_size=2, max_latency_ms=60_000, max_queue_bytes=LIMIT, max_body_bytes=LIMIT
)
OTHER = "/v1/models/other:predict"


async def asking(stand: Stand, *rows: object, target: str = PREDICT) -> list[Client]:
    """A client for each row; they share a batch."""
    clients = []
    for row in rows:
        clients.append(await stand.connect())
        clients[-1].send(predict([row], target))
    return clients


async def in_use(stand: Stand, size_bytes: int) -> None:
    """Wait until so much of the budget, or more, is taken."""

    async def reached() -> bool:
        return stand.port.budget.used_bytes >= size_bytes

    await until(reached, f"{size_bytes} bytes are counted")


async def test_a_joined_body_counts_until_its_call_has_ended() -> None:
    rows = ["x" * 5000, "y" * 5000]
    own_bytes = sum(len(body_of([row])) for row in rows)
    async with standing(settings=SETTINGS) as stand:
        stand.model.otherwise = gate = Gate()
        clients = await asking(stand, *rows)
        await stand.model.wait_calls(1)
        assert stand.port.budget.used_bytes > own_bytes
        gate.open()
        for client, row in zip(clients, rows, strict=True):
            assert (await client.response()).predictions == [row]
        assert stand.port.budget.used_bytes == 0


async def test_an_answer_counts_as_it_comes() -> None:
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    async with standing(settings=SETTINGS) as stand:
        stand.model.otherwise = streaming(pieces)
        clients = await asking(stand, 1, 2)
        await stand.model.wait_calls(1)
        before_bytes = stand.port.budget.used_bytes
        for number in range(1, 4):
            pieces.put_nowait(b" " * 10_000)
            await in_use(stand, before_bytes + number * 10_000)
        pieces.put_nowait(b'{"predictions":[1,2]}')
        pieces.put_nowait(None)
        assert [(await client.response()).predictions for client in clients] == [[1], [2]]
        assert stand.port.budget.used_bytes == 0


@pytest.mark.parametrize("size", [LIMIT + 1, 10 * LIMIT])
async def test_an_answer_longer_than_the_limit_is_502(size: int) -> None:
    answer = b'{"predictions":[1,2]}'
    async with standing(settings=SETTINGS) as stand:
        stand.model.then.append(says(200, answer + b" " * (size - len(answer))))
        for client in await asking(stand, 1, 2):
            response = await client.response()
            assert response.status == 502
            assert f"exceeds {LIMIT} bytes (--max-queue-bytes)" in response.error
        assert stand.port.budget.used_bytes == 0
        stand.model.then.append(says(200, answer + b" " * (LIMIT - len(answer))))
        for client in await asking(stand, 1, 2):
            assert (await client.response()).status == 200


async def test_an_answer_is_measured_without_the_bodies_that_it_answers() -> None:
    rows = ["x" * (LIMIT // 2 - 1000), "y" * (LIMIT // 2 - 1000)]
    async with standing(settings=SETTINGS) as stand:
        for client, row in zip(await asking(stand, *rows), rows, strict=True):
            assert (await client.response()).predictions == [row]


async def test_a_call_in_flight_keeps_the_limit_that_it_was_sent_under() -> None:
    rows = ["x" * 5000, "y" * 5000]
    async with standing(settings=SETTINGS) as stand:
        stand.model.otherwise = gate = Gate()
        clients = await asking(stand, *rows)
        await stand.model.wait_calls(1)
        stand.port.apply(replace(SETTINGS, max_queue_bytes=4096, max_body_bytes=4096))
        gate.open()
        for client, row in zip(clients, rows, strict=True):
            assert (await client.response()).predictions == [row]
        stand.model.otherwise = says(200, json.dumps({"predictions": rows}).encode())
        for client in await asking(stand, 1, 2):
            assert (await client.response()).status == 502


async def test_another_limit_holds_for_what_comes() -> None:
    body = body_of(["x" * 3000])
    async with standing(settings=SETTINGS) as stand:
        stand.port.apply(replace(SETTINGS, max_queue_bytes=4096, max_body_bytes=4096))
        first, second = await stand.connect(), await stand.connect()
        first.send(request("POST", PREDICT, body=body))
        await in_use(stand, len(body))
        assert (await second.ask(request("POST", PREDICT, body=body))).status == 429
        stand.port.apply(SETTINGS)
        third = await stand.connect()
        assert (await third.ask(request("POST", PREDICT, body=body))).status == 200
        assert (await first.response()).status == 200


async def test_of_answers_that_are_too_much_together_the_longest_is_given_up() -> None:
    long: asyncio.Queue[bytes | None] = asyncio.Queue()
    short: asyncio.Queue[bytes | None] = asyncio.Queue()
    async with standing(settings=SETTINGS) as stand:
        stand.model.then.extend([streaming(long), streaming(short)])
        losers = await asking(stand, 1, 2)
        await stand.model.wait_calls(1)
        winners = await asking(stand, 3, 4, target=OTHER)
        await stand.model.wait_calls(2)
        for pieces, count in ((long, 4), (short, 3)):  # 70,000 bytes
            for _ in range(count):
                pieces.put_nowait(b" " * 10_000)
        for client in losers:
            assert (await client.response()).status == 502
        short.put_nowait(b'{"predictions":[3,4]}')
        short.put_nowait(None)
        assert [(await client.response()).predictions for client in winners] == [[3], [4]]
        assert stand.port.budget.used_bytes == 0
        long.put_nowait(None)
