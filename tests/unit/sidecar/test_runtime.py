"""What a fault of our own may do: fail the requests it is about, and none of the others."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.codecs.base import Body, Bypass, Content, Piece
from batcher_sidecar.codecs.v1 import V1Codec, V1Request
from batcher_sidecar.port import ClientRequest
from tests.sidecar.kit.answers import never
from tests.sidecar.kit.client import PREDICT, body_of, predict, request
from tests.sidecar.kit.tcp import let_the_loop_turn
from tests.unit.sidecar.stand import standing

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
