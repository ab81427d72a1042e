"""What a fault of our own may do: fail the requests it is about, and none of the others."""

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.codecs.base import Body, Bypass, Content, Piece
from batcher_sidecar.codecs.v1 import V1Codec, V1Request
from batcher_sidecar.port import ClientRequest
from tests.sidecar.kit.answers import Gate, failing_if, never, says, with_fields
from tests.sidecar.kit.client import PREDICT, Response, body_of, predict, request
from tests.sidecar.kit.process import until
from tests.sidecar.kit.tcp import let_the_loop_turn
from tests.unit.sidecar.stand import Stand, standing

STUMBLE = b"stumble"


class Unusable:
    """A body that no answer can be made of."""

    def __len__(self) -> int:
        raise ZeroDivisionError("answer")


class Faulty(V1Codec):
    """Breaks down in one of its steps over rows that ask for it."""

    def __init__(self, step: str) -> None:
        super().__init__("shape")
        self._step = step

    def _pass(self, step: str, data: Body) -> None:
        if step == self._step and STUMBLE in data:
            raise ZeroDivisionError(step)

    def parse(self, body: Body, fields: Mapping[bytes, bytes]) -> V1Request:
        self._pass("parse", body)
        return super().parse(body, fields)

    def join(
        self, members: Sequence[V1Request], rows: tuple[int, int] | None
    ) -> tuple[bytes, list[Piece]]:
        lines, pieces = super().join(members, rows)
        self._pass("join", b"".join(pieces))
        return lines, pieces

    def split(
        self,
        content: Content,
        members: Sequence[V1Request],
        batch_id: bytes,
        rows: tuple[int, int] | None = None,
    ) -> tuple[list[Any], int]:
        self._pass("split", content.whole)
        parts, dropped = super().split(content, members, batch_id, rows)
        if self._step == "answer":
            parts = [(ln, Unusable() if STUMBLE in body else body) for ln, body in parts]
        return parts, dropped


def told() -> list[BaseException]:
    """Exceptions that the running loop is told of from now on."""
    errors: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    return errors


@pytest.mark.parametrize("step", ["parse", "join", "split"])
async def test_a_fault_of_our_own_is_answered_with_500_and_told(step: str) -> None:
    errors = told()
    async with standing(codec=Faulty(step)) as stand:
        client = await stand.connect()
        assert (await client.ask(predict(["stumble"]))).status == 500
        assert (await client.ask(predict(["walk"]))).predictions == ["walk"]
        assert stand.port.budget.used_bytes == 0
    assert [str(error) for error in errors] == [step]


async def test_a_fault_in_one_members_answer_harms_no_other_member() -> None:
    errors = told()
    settings = BatcherSettings(max_batch_size=2)
    async with standing(codec=Faulty("answer"), settings=settings) as stand:
        unlucky, other = await stand.connect(), await stand.connect()
        unlucky.send(predict(["stumble"]))
        await unlucky.drained()
        other.send(predict(["walk"]))
        assert (await other.response()).predictions == ["walk"]
        await unlucky.expect_end()
        assert stand.port.budget.used_bytes == 0
    assert [str(error) for error in errors] == ["answer"]


class Shallow(V1Codec):
    """Finds when it takes rows apart that they nest too deep."""

    def join(
        self, members: Sequence[V1Request], rows: tuple[int, int] | None
    ) -> tuple[bytes, list[Piece]]:
        if rows is not None:
            raise Bypass("nesting")
        return super().join(members, rows)


async def test_what_cannot_be_sent_in_pieces_is_forwarded_as_it_came() -> None:
    settings = BatcherSettings(max_batch_size=1, hard_max_batch_size=1, max_concurrency=1)
    async with standing(codec=Shallow("shape"), settings=settings) as stand:
        client = await stand.connect()
        whole = body_of([1, 2])
        client.send(predict([3]) + request("POST", PREDICT, body=whole) + predict([4]))
        answers = [await client.response() for _ in range(3)]
        assert [answer.predictions for answer in answers] == [[3], [1, 2], [4]]
        assert "batchId" not in answers[1].json()
        assert whole in [call.body for call in stand.model.calls]
        assert stand.port.budget.used_bytes == 0


async def ask_together(stand: Stand, *rows: object) -> list[Response]:
    """Ask for each row on a connection of its own, in that order."""
    clients = []
    for row in rows:
        clients.append(await stand.connect())
        clients[-1].send(predict([row]))
        await let_the_loop_turn()
    return [await client.response() for client in clients]


async def test_a_window_that_opens_while_commands_are_carried_out_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refusal makes room on its connection for a request that asks for an earlier wake-up."""
    real, passed_s = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed_s)
    settings = BatcherSettings(
        max_batch_size=2, max_latency_ms=1000, timeout_s=100, max_concurrency=1
    )
    async with standing(settings=settings) as stand:
        stand.model.otherwise = failing_if(lambda row: row == "hang", never)
        client, other = await stand.connect(), await stand.connect()
        hanging = predict(["hang"], "/v1/models/a:predict")
        client.send(hanging * 16 + predict(["walk"], "/v1/models/b:predict"))
        await stand.model.wait_calls(1)
        passed_s = 90
        other.send(predict(["hang", "hang"], "/v1/models/c:predict"))
        await stand.model.wait_calls(2)
        passed_s = 101  # to the deadline of the first 16, long before that of the other
        assert [(await client.response()).status for _ in range(16)] == [504] * 16
        passed_s = 103
        assert (await client.response()).predictions == ["walk"]
        assert not other.buffer


async def test_each_step_of_a_batch_is_counted() -> None:
    settings = BatcherSettings(max_batch_size=2, max_latency_ms=60_000)
    async with standing(settings=settings) as stand:

        async def waits() -> bool:
            return stand.counted("queued_requests") == 1

        stand.model.otherwise = gate = Gate(with_fields(odd={"a": 1}, model="m"))
        first = await stand.connect()
        first.send(predict([1]))
        await until(waits, "the first one waits")
        await asyncio.sleep(0.05)  # what is measured
        second = await stand.connect()
        second.send(predict([2]))
        await stand.model.wait_calls(1)
        assert stand.counted("batches_in_flight") == 1
        await asyncio.sleep(0.05)
        gate.open()
        assert [(await client.response()).status for client in (first, second)] == [200, 200]
        assert stand.counted('batches_total{trigger="size"}') == 1
        assert stand.counted("queue_seconds_count") == 2
        assert 0.05 <= stand.counted("queue_seconds_sum") < 5
        assert stand.counted("upstream_seconds_count") == 1
        assert 0.05 <= stand.counted("upstream_seconds_sum") < 5
        assert stand.counted("response_fields_dropped_total") == 1
        assert stand.counted("isolated_requests_total") == 0
        assert stand.counted('requests_total{code="200",model="m",protocol="v1"}') == 2


async def test_the_members_of_a_batch_that_is_isolated_are_counted_once() -> None:
    settings = BatcherSettings(max_batch_size=4, max_latency_ms=60_000)
    async with standing(settings=settings) as stand:
        stand.model.otherwise = failing_if(lambda row: row == -1, says(400))
        answers = await ask_together(stand, -1, 2, 3, 4)
        assert [answer.status for answer in answers] == [400, 200, 200, 200]
        assert stand.counted("isolated_requests_total") == 4
        assert stand.counted("upstream_seconds_count") == len(stand.model.calls) == 5
        assert stand.counted("queue_seconds_count") == 4
        assert stand.counted("requests_per_batch_count") == 1
        assert stand.counted("response_fields_dropped_total") == 0
        stand.port.apply(replace(settings, isolate_failures=False))
        await ask_together(stand, -1, 2, 3, 4)
        assert stand.counted("isolated_requests_total") == 4


@pytest.mark.parametrize("whole", [True, False])
async def test_who_leaves_is_not_held_until_the_garbage_collector_comes(whole: bool) -> None:
    """Bodies may be large, and their bytes are given back."""
    settings = BatcherSettings(max_batch_size=1 if whole else 2, max_latency_ms=30_000)
    requests: list[weakref.ref[ClientRequest]] = []
    gc.disable()
    try:
        async with standing(settings=settings) as stand:
            submit = stand.port.submit

            def submitting(client: ClientRequest, now_s: float) -> None:
                requests.append(weakref.ref(client))
                submit(client, now_s)

            stand.port.submit = submitting
            stand.model.otherwise = never
            for row in range(1 if whole else 2):
                (await stand.connect()).send(predict([row]))
            [call] = await stand.model.wait_calls(1)
            for client in stand.clients:
                client.abort()
            async with asyncio.timeout(5):
                await call.gone.wait()
            await let_the_loop_turn()
            assert [request() for request in requests] == [None] * len(requests)
            assert stand.port.budget.used_bytes == 0
    finally:
        gc.enable()


def test_rows_about_as_deep_as_the_parser_follows_are_read_or_forwarded() -> None:
    codec = V1Codec("shape")
    for depth in range(800, 1000):
        body = b'{"instances":[' + b'{"a":' * depth + b"1" + b"}" * depth + b"]}"
        with contextlib.suppress(Bypass):
            assert codec.parse(body, {}).instances == 1
