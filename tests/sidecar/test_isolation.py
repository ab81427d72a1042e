"""Batches that fail: who gets the failure, and at what price."""

import asyncio
import json
from typing import Final

import pytest

from tests.sidecar.kit.answers import after, echo, failing_if, never, resets, says, wrong_count
from tests.sidecar.kit.client import PREDICT, Response, predict
from tests.sidecar.kit.rig import LONG, PAIR, Rig, RigFactory
from tests.sidecar.kit.scripted import Exchange, Script

FAILURE: Final = b'{"error": "bad row", "code": 7}'
POISON: Final = -1


def is_poison(row: object) -> bool:
    return row == POISON


async def ask_together(rig: Rig, rows: list[int], target: str = PREDICT) -> list[Response]:
    """One request per row, in order, in one batch if their number is the batch size."""
    clients = []
    for row in rows:
        clients.append(await rig.send(predict([row], target)))
        await rig.settle()
    return await rig.answers(*clients)


def only_alone(then: Script) -> Script:
    """`echo` for one row, `then` for more."""

    async def script(exchange: Exchange) -> None:
        await (echo if len(exchange.call.rows) == 1 else then)(exchange)

    return script


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422, 500])
async def test_the_member_at_fault_fails_alone(make_rig: RigFactory, status: int) -> None:
    rig = await make_rig("--max-batchsize", "4", *LONG)
    rig.model.otherwise = failing_if(is_poison, says(status, FAILURE, (("X-Why", "row"),)))
    responses = await ask_together(rig, [1, 2, POISON, 4])
    assert [response.status for response in responses] == [200, 200, status, 200]
    assert [responses[at].predictions for at in (0, 1, 3)] == [[1], [2], [4]]
    assert responses[2].body == FAILURE
    assert responses[2].header("X-Why") == "row"
    assert [call.rows for call in rig.model.calls] == [
        [1, 2, POISON, 4],
        [1, 2],
        [POISON, 4],
        [POISON],
        [4],
    ]


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(wrong_count(+1), id="too many"),
        pytest.param(wrong_count(-1), id="too few"),
        pytest.param(says(200, b'{"outputs": [1, 2]}'), id="no predictions"),
        pytest.param(says(200, b'{"predictions": {"a": 1}}'), id="no list"),
        pytest.param(says(200, b'{"predictions": [1, NaN]}'), id="NaN"),
        pytest.param(says(200, b'{"predictions": [1, -Infinity]}'), id="infinity"),
        pytest.param(says(200, b"<html>overloaded</html>"), id="error page"),
        pytest.param(says(200, b'{"predictions": [1, 2'), id="cut JSON"),
        pytest.param(says(200, b""), id="empty"),
        pytest.param(
            says(200, b'{"predictions": [1, 2]}', (("Content-Encoding", "gzip"),)), id="encoding"
        ),
    ],
)
async def test_an_answer_that_cannot_be_split_is_isolated(
    make_rig: RigFactory, failure: Script
) -> None:
    rig = await make_rig(*PAIR)
    rig.model.otherwise = only_alone(failure)
    one, two = await ask_together(rig, [1, 2])
    assert (one.predictions, two.predictions) == ([1], [2])
    assert [len(call.rows) for call in rig.model.calls] == [2, 1, 1]


def echo_with(status: int) -> Script:
    """`echo` in every way but the status."""

    async def script(exchange: Exchange) -> None:
        exchange.answer(status, json.dumps({"predictions": exchange.call.rows}).encode())

    return script


@pytest.mark.parametrize("status", [201, 202, 203, 206, 299, 300, 303, 307])
async def test_no_status_but_200_gives_a_member_the_rows_of_all(
    make_rig: RigFactory, status: int
) -> None:
    rig = await make_rig(*PAIR)
    rig.model.otherwise = echo_with(status)
    responses = await ask_together(rig, [1, 2])
    assert [response.status for response in responses] == [status, status]
    assert [response.json() for response in responses] == [
        {"predictions": [1]},
        {"predictions": [2]},
    ]
    assert [call.rows for call in rig.model.calls] == [[1, 2], [1], [2]]


@pytest.mark.parametrize("status", [201, 303])
async def test_a_status_that_cannot_be_divided_is_502_when_isolation_is_off(
    make_rig: RigFactory, status: int
) -> None:
    rig = await make_rig(*PAIR, "--isolate-failures=false", shared=True)
    rig.model.otherwise = echo_with(status)
    for response in await ask_together(rig, [1, 2]):
        assert response.status == 502
        assert str(status) in response.error
    assert len(rig.model.calls) == 1


async def test_a_piece_is_not_answered_for_the_whole(make_rig: RigFactory) -> None:
    flags = ("--max-batchsize", "2", "--hard-max-batch-size", "2")
    rig = await make_rig(*flags, *LONG, shared=True)
    rig.model.otherwise = echo_with(201)
    response = await rig.ask(predict([1, 2, 3, 4]))
    assert response.status == 502
    assert "201" in response.error


async def test_the_batch_id_is_that_of_the_call_that_answered(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", *LONG)
    rig.model.otherwise = failing_if(is_poison, says(400))
    one, two, _, four = await ask_together(rig, [1, 2, POISON, 4])
    assert one.batch_id == two.batch_id != four.batch_id
    assert one.header("X-Batch-Size") == "2"
    assert four.header("X-Batch-Size") == "1"


@pytest.mark.parametrize("status", [404, 408, 409, 429, 501, 502, 503, 504])
async def test_any_other_failure_goes_to_every_member_and_is_not_amplified(
    make_rig: RigFactory, status: int
) -> None:
    rig = await make_rig("--max-batchsize", "3", *LONG, shared=True)
    rig.model.otherwise = says(status, b"busy", (("Retry-After", "7"), ("X-Why", "load")))
    for response in await ask_together(rig, [1, 2, 3]):
        assert (response.status, response.body) == (status, b"busy")
        assert response.header("Retry-After") == "7"
        assert response.header("X-Why") == "load"
    assert len(rig.model.calls) == 1


async def test_a_connection_lost_in_mid_answer_is_not_amplified(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "3", *LONG, shared=True)
    rig.model.otherwise = resets
    for response in await ask_together(rig, [1, 2, 3]):
        assert response.status == 502
        assert response.error
    assert len(rig.model.calls) == 1


@pytest.mark.parametrize("spelling", ["--isolate-failures=false"])
async def test_isolation_can_be_turned_off(make_rig: RigFactory, spelling: str) -> None:
    rig = await make_rig("--max-batchsize", "3", *LONG, spelling, shared=True)
    rig.model.otherwise = failing_if(is_poison, says(400, FAILURE))
    for response in await ask_together(rig, [1, POISON, 3]):
        assert (response.status, response.body) == (400, FAILURE)
    assert len(rig.model.calls) == 1


async def test_an_answer_that_cannot_be_split_is_no_success_when_isolation_is_off(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*PAIR, "--isolate-failures=false", shared=True)
    rig.model.otherwise = wrong_count(+1)
    for response in await ask_together(rig, [1, 2]):
        assert response.status == 502
        assert response.error
    assert len(rig.model.calls) == 1


async def test_isolation_costs_at_most_two_calls_per_member(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "8", *LONG)
    rig.model.otherwise = says(500, FAILURE)
    responses = await ask_together(rig, list(range(8)))
    assert [(answer.status, answer.body) for answer in responses] == [(500, FAILURE)] * 8
    assert len(rig.model.calls) == 1 + 2 * 8 - 2


async def test_halves_run_one_after_the_other(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "8", "--max-concurrency", "4", *LONG)
    rig.model.otherwise = after(0.01, says(500, FAILURE))
    await ask_together(rig, list(range(8)))
    assert rig.model.peak_in_flight == 1


async def test_isolation_keeps_within_its_budget(make_rig: RigFactory) -> None:
    members, burst = 64, 64
    rig = await make_rig("--max-batchsize", str(members), *LONG)
    rig.model.otherwise = says(500, FAILURE)
    clients = [await rig.send(predict([row])) for row in range(members)]
    responses = await rig.answers(*clients)
    assert [(answer.status, answer.body) for answer in responses] == [(500, FAILURE)] * members
    calls = len(rig.model.calls)
    # The burst, and what the first call and the extra ones themselves may have refilled.
    assert burst <= calls <= 1 + burst + (1 + burst) / 4 + 1


async def test_a_fifth_of_all_calls_refills_the_budget(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "64", *LONG)
    rig.model.otherwise = says(500, FAILURE)
    await rig.answers(*[await rig.send(predict([row])) for row in range(64)])

    async def extra_calls(target: str) -> int:
        before = len(rig.model.calls)
        await rig.answers(*[await rig.send(predict([7] * 32, target)) for _ in range(2)])
        return len(rig.model.calls) - before - 1

    # Less than one call was left, and the failing call itself adds a fifth.
    assert await extra_calls("/spent:predict") <= 1
    rig.model.otherwise = echo
    client = await rig.connect()
    for _ in range(15):
        assert (await client.ask(predict([7] * 64, "/other:predict"))).status == 200
    rig.model.otherwise = says(500, FAILURE)
    assert await extra_calls("/refilled:predict") == 2


async def test_what_several_share_holds_no_cookie_when_the_budget_is_spent(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "64", *LONG)
    rig.model.otherwise = says(500, FAILURE, (("Set-Cookie", "session=1"), ("X-Why", "row")))
    await rig.answers(*[await rig.send(predict([row])) for row in range(64)])
    before = len(rig.model.calls)
    while True:
        clients = [await rig.send(predict([7] * 32, "/spent:predict")) for _ in range(2)]
        responses = await rig.answers(*clients)
        if len(rig.model.calls) == before + 1:
            break
        before = len(rig.model.calls)
    for response in responses:
        assert response.header("X-Why") == "row"
        assert response.named("Set-Cookie") == []


async def test_halves_keep_their_members_deadlines(make_rig: RigFactory) -> None:
    flags = ("--timeout", "1", "--max-latency", "900")
    rig = await make_rig("--max-batchsize", "4", *flags)
    rig.model.then.extend([says(500), echo, never])
    one, two, three, four = await ask_together(rig, [1, 2, 3, 4])
    assert (one.predictions, two.predictions) == ([1], [2])
    assert (three.status, four.status) == (504, 504)
    await asyncio.wait_for(rig.model.calls[2].gone.wait(), 5)


async def test_members_that_left_are_not_isolated(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR)
    go = asyncio.Event()

    async def failing_later(exchange: Exchange) -> None:
        await go.wait()
        exchange.answer(500)

    rig.model.then.append(failing_later)
    leaver = await rig.send(predict([1]))
    await rig.settle()
    stayer = await rig.send(predict([2]))
    await rig.model.wait_calls(1)
    leaver.close()
    await rig.settle()
    go.set()
    assert (await stayer.response()).predictions == [2]
    assert [call.rows for call in rig.model.calls] == [[1, 2], [2]]


async def test_a_key_that_cannot_be_batched_travels_unbatched(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR)
    rig.model.otherwise = only_alone(wrong_count(+1))
    for _ in range(2):
        await ask_together(rig, [1, 2])
    before = len(rig.model.calls)
    assert before == 6
    # Alone, and without waiting for company that does not come.
    assert (await rig.ask(predict([3]))).predictions == [3]
    one, two = await ask_together(rig, [4, 5])
    assert (one.predictions, two.predictions) == ([4], [5])
    assert [call.rows for call in rig.model.calls[before:]] == [[3], [4], [5]]
    # Another key is not held liable.
    rig.model.otherwise = echo
    three, four = await ask_together(rig, [6, 7], f"{PREDICT}?another=key")
    assert three.batch_id == four.batch_id


async def test_single_culprits_do_not_stop_a_key_from_being_batched(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR)
    rig.model.otherwise = failing_if(is_poison, says(400, FAILURE))
    for _ in range(3):
        good, bad = await ask_together(rig, [1, POISON])
        assert (good.status, bad.status) == (200, 400)
    one, two = await ask_together(rig, [1, 2])
    assert one.batch_id == two.batch_id


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, (("Content-Type", "text/html"),), b"<html>"),
        (201, (("Location", "/x"),), b'{"predictions":[1]}'),
        (302, (("Location", "http://elsewhere/"),), b"moved"),
        (400, (("Content-Type", "text/plain"), ("X-Why", "a"), ("X-Why", "b")), b"no \xff\x00"),
        (404, (("Content-Type", "application/json"),), b'{"error":"no model"}'),
        (204, (), b""),
        (418, (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("ETag", '"e"')), b""),
        (429, (("Retry-After", "11"),), b"slow down"),
        (500, (("Content-Encoding", "gzip"),), b"\x1f\x8bnot really"),
        (503, (("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),), b"loading"),
        (599, (), b"?"),
    ],
)
async def test_a_batch_of_one_is_transparent(
    make_rig: RigFactory, status: int, headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    rig.model.otherwise = says(status, body, headers)
    response = await rig.ask(predict([1]))
    assert (response.status, response.body) == (status, body)
    assert response.named("Content-Length") == ([] if status == 204 else [str(len(body))])
    for name, _ in headers:
        assert response.named(name) == [value for key, value in headers if key == name]
    assert len(rig.model.calls) == 1


async def test_an_encoded_answer_to_one_passes_as_it_is(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    body = json.dumps({"predictions": [1]}).encode()
    rig.model.otherwise = says(200, body, (("Content-Encoding", "x-any"),))
    response = await rig.ask(predict([1]))
    assert response.body == body
    assert response.header("Content-Encoding") == "x-any"
