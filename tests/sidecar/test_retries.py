"""What is asked a second time, and what never is."""

import asyncio
from typing import Final

import pytest

from tests.sidecar.kit.answers import after, closes, gone_in_head, resets, says
from tests.sidecar.kit.client import PREDICT, predict, request
from tests.sidecar.kit.rig import Rig, RigFactory
from tests.sidecar.kit.scripted import Script

ONE: Final = ("--max-batchsize", "1")

RETRIED: Final = [
    pytest.param(predict([1]), "POST", id="batch"),
    pytest.param(request("GET", "/v2/models"), "GET", id="GET"),
    pytest.param(request("HEAD", "/v2/models"), "HEAD", id="HEAD"),
]
NOT_RETRIED: Final = [
    pytest.param(request("POST", "/v2/x", body=b"1"), "POST", id="POST"),
    pytest.param(request("POST", "/v2/x"), "POST", id="POST without a body"),
    pytest.param(
        request("POST", PREDICT, [("X-Batch-Bypass", "true")], b'{"instances":[1]}'),
        "POST",
        id="bypass",
    ),
    pytest.param(request("PUT", "/v2/x", body=b"1"), "PUT", id="PUT"),
    pytest.param(request("DELETE", "/v2/x"), "DELETE", id="DELETE"),
    pytest.param(request("GET", "/v2/x", body=b"1"), "GET", id="GET with a body"),
]
ENDINGS: Final = [pytest.param(closes, id="closed"), pytest.param(resets, id="reset")]


async def with_a_used_connection(make_rig: RigFactory, *then: Script) -> Rig:
    """The next call goes over a connection that has served one before."""
    rig = await make_rig(*ONE, shared=True)
    assert (await rig.ask(request("GET", "/first"), "GET")).status == 200
    rig.model.then.extend(then)
    return rig


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("data", "method"), RETRIED)
async def test_a_stale_connection_is_tried_once_more_with_a_new_one(
    make_rig: RigFactory, data: bytes, method: str, ending: Script
) -> None:
    rig = await with_a_used_connection(make_rig, ending)
    assert (await rig.ask(data, method)).status == 200
    assert [call.connection for call in rig.model.calls] == [0, 0, 1]


@pytest.mark.parametrize(("data", "method"), RETRIED)
async def test_it_is_tried_only_once_more(make_rig: RigFactory, data: bytes, method: str) -> None:
    rig = await with_a_used_connection(make_rig, closes, closes, closes)
    assert (await rig.ask(data, method)).status == 502
    assert len(rig.model.calls) == 3


@pytest.mark.parametrize(("data", "method"), RETRIED)
async def test_a_new_connection_that_fails_is_not_tried_again(
    make_rig: RigFactory, data: bytes, method: str
) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.then.append(closes)
    assert (await rig.ask(data, method)).status == 502
    assert len(rig.model.calls) == 1


@pytest.mark.parametrize(("data", "method"), RETRIED)
async def test_a_connection_that_failed_late_is_not_tried_again(
    make_rig: RigFactory, data: bytes, method: str
) -> None:
    rig = await with_a_used_connection(make_rig, after(0.3, closes))
    assert (await rig.ask(data, method)).status == 502
    assert len(rig.model.calls) == 2


@pytest.mark.parametrize(("data", "method"), RETRIED)
async def test_a_connection_that_failed_after_a_byte_is_not_tried_again(
    make_rig: RigFactory, data: bytes, method: str
) -> None:
    rig = await with_a_used_connection(make_rig, gone_in_head)
    assert (await rig.ask(data, method)).status == 502
    assert len(rig.model.calls) == 2


@pytest.mark.parametrize(("data", "method"), NOT_RETRIED)
async def test_what_may_have_had_an_effect_is_never_repeated(
    make_rig: RigFactory, data: bytes, method: str
) -> None:
    rig = await with_a_used_connection(make_rig, closes)
    assert (await rig.ask(data, method)).status == 502
    assert [call.connection for call in rig.model.calls] == [0, 0]


async def test_a_retried_batch_is_answered_like_any_other(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "2", "--max-latency", "30000", shared=True)
    assert (await rig.ask(request("GET", "/first"), "GET")).status == 200
    rig.model.then.append(closes)
    one, two = await rig.answers(await rig.send(predict([1])), await rig.send(predict([2])))
    assert {tuple(one.predictions), tuple(two.predictions)} == {(1,), (2,)}
    assert [len(call.rows) for call in rig.model.calls[1:]] == [2, 2]


async def test_a_candidate_that_is_forwarded_is_tried_once_more(make_rig: RigFactory) -> None:
    rig = await with_a_used_connection(make_rig, closes, says(200, b"done"))
    columnar = request("POST", PREDICT, body=b'{"inputs":[1]}')
    assert (await rig.ask(columnar)).body == b"done"
    assert [call.connection for call in rig.model.calls] == [0, 0, 1]
    assert rig.model.calls[1].body == rig.model.calls[2].body == b'{"inputs":[1]}'


async def test_a_connection_is_not_kept_after_an_answer_of_500(make_rig: RigFactory) -> None:
    rig = await with_a_used_connection(make_rig, says(500, b"raised"))
    post = request("POST", "/v2/x", body=b"1")
    assert (await rig.ask(post)).status == 500
    assert (await rig.ask(post)).status == 200
    assert [call.connection for call in rig.model.calls] == [0, 0, 1]


async def test_a_client_that_left_is_not_tried_for_again(make_rig: RigFactory) -> None:
    rig = await with_a_used_connection(make_rig, after(0.02, closes))
    client = await rig.send(predict([1]))
    [_, call] = await rig.model.wait_calls(2)
    client.close()
    await asyncio.wait_for(call.gone.wait(), 5)
    await rig.settle()
    assert len(rig.model.calls) == 2
