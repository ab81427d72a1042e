"""What a client's connection does with requests, seen from its client and from what is counted."""

import asyncio
import socket
from dataclasses import replace

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.server import ClientConnection
from tests.sidecar.kit.answers import Gate, chunk, echo_bytes, says
from tests.sidecar.kit.client import PREDICT, body_of, predict, request
from tests.sidecar.kit.scripted import Early, Exchange
from tests.unit.sidecar.stand import standing

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PAIRS = BatcherSettings(max_batch_size=2, max_latency_ms=60_000)


async def test_settings_that_change_reach_connections_whose_heads_come_again() -> None:
    async with standing(settings=PAIRS) as stand:
        one, two = await stand.connect(), await stand.connect()

        def ask(row: int) -> None:
            one.send(predict([row], headers=[("Authorization", "A")]))
            two.send(predict([row], headers=[("Authorization", "B")]))

        ask(1)
        assert [(await client.response()).predictions for client in (one, two)] == [[1], [1]]
        assert len(stand.model.calls) == 1
        changed = replace(PAIRS, batch_key_headers=("authorization",), max_latency_ms=1)
        stand.port.apply(changed)
        ask(2)
        assert [(await client.response()).predictions for client in (one, two)] == [[2], [2]]
        callers = [call.named("Authorization") for call in stand.model.calls[1:]]
        assert sorted(callers) == [["A"], ["B"]]
        stand.port.apply(replace(changed, max_body_bytes=10))
        ask(3)
        assert [(await client.response()).status for client in (one, two)] == [413, 413]


async def test_who_finds_no_place_to_wait_is_told_before_its_body_is_sent() -> None:
    async with standing(settings=replace(PAIRS, max_queue_size=1)) as stand:
        await stand.send(predict([1]))
        await stand.until(lambda: stand.port.queue_full() is not None)
        client = await stand.send(request("POST", PREDICT, [("Content-Length", "1000")]))
        response = await client.response()
        assert response.status == 429
        assert "--max-queue-size" in response.error
        await client.expect_end()


async def test_an_answer_that_waits_for_those_before_it_is_counted() -> None:
    async with standing() as stand:
        text = "x" * 100_000
        gate = Gate()
        stand.model.then += [gate, says(200, b'{"predictions":["%b"]}' % text.encode())]
        client = await stand.send(predict([1]) + predict([2]))
        await stand.model.wait_calls(2)
        await stand.until(lambda: stand.port.budget.used_bytes > len(text))
        gate.open()
        assert (await client.response()).predictions == [1]
        assert (await client.response()).predictions == [text]
        assert stand.port.budget.used_bytes == 0


@pytest.mark.parametrize(
    ("method", "target", "body"), [("POST", PREDICT, body_of([1])), ("GET", "/x", None)]
)
async def test_an_old_client_is_told_that_its_connection_is_kept(
    method: str, target: str, body: bytes | None
) -> None:
    async with standing() as stand:
        client = await stand.connect()
        kept = [("Connection", "keep-alive")]
        for _ in range(2):
            data = request(method, target, kept, body, version="1.0")
            response = await client.ask(data, method)
            assert response.status == 200
            assert response.header("Connection").lower() == "keep-alive"
        response = await client.ask(request(method, target, (), body, version="1.0"), method)
        assert response.header("Connection").lower() == "close"
        await client.expect_end()


class Accepted(asyncio.Transport):
    """A connection that was just accepted."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})

    def is_closing(self) -> bool:
        return False


async def test_the_kernel_looks_after_clients_that_vanish() -> None:
    async with standing() as stand:
        with socket.socket() as sock:
            connection = ClientConnection(stand.port, asyncio.get_running_loop())
            connection.connection_made(Accepted(sock))
            connection.connection_lost(None)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_connection_passed_byte_for_byte_counts_as_bypassed() -> None:
    async with standing() as stand:
        stand.model.tunnel = echo_bytes
        client = await stand.send(PREFACE)
        assert await client.read_exactly(len(PREFACE)) == PREFACE
        assert stand.counted('bypassed_requests_total{reason="http2"}') == 1


async def test_an_upload_in_tiny_chunks_is_passed_on_in_larger_ones() -> None:
    async with standing() as stand:
        pieces: list[bytes] = []

        async def counting(exchange: Exchange) -> None:
            while piece := await exchange.read_piece():
                pieces.append(piece)
            exchange.answer(200, exchange.call.body)

        stand.model.otherwise = Early(counting)
        count = 20_000
        data = request("POST", "/x", [("Transfer-Encoding", "chunked")]) + chunk(b"x") * count
        client = await stand.connect()
        response = await client.ask(data + b"0\r\n\r\n")
        assert response.body == b"x" * count
        assert len(pieces) < count / 100
