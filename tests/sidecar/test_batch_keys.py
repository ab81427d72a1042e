"""Which requests are gathered, and which of them may share a batch."""

import json
from typing import Final

import pytest

from tests.sidecar.kit import answers
from tests.sidecar.kit.client import PREDICT, body_of, predict, request
from tests.sidecar.kit.rig import PAIR, RigFactory

SINGLES: Final = ("--max-batchsize", "1")


def raw(body: bytes, target: str = PREDICT) -> bytes:
    return request("POST", target, body=body)


def row(value: object) -> bytes:
    return predict([value])


async def assert_apart(make_rig: RigFactory, a: bytes, b: bytes, *flags: str) -> None:
    rig = await make_rig(*PAIR, *flags, shared=True)
    clients = [await rig.send(data) for data in (a, b, a, b)]
    ids = [answer.batch_id for answer in await rig.answers(*clients)]
    assert ids[0] == ids[2]
    assert ids[1] == ids[3]
    assert ids[0] != ids[1]
    assert len(rig.model.calls) == 2


async def assert_together(make_rig: RigFactory, a: bytes, b: bytes, *flags: str) -> None:
    rig = await make_rig(*PAIR, *flags, shared=True)
    first, second = await rig.answers(await rig.send(a), await rig.send(b))
    assert first.batch_id == second.batch_id
    assert len(rig.model.calls) == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(predict([1], "/a:predict"), predict([1], "/b:predict"), id="path"),
        pytest.param(
            predict([1], "/aa:predict"), predict([1], "/a%61:predict"), id="spelling of the path"
        ),
        pytest.param(predict([1], "/m:predict?v=1"), predict([1], "/m:predict?v=2"), id="query"),
        pytest.param(predict([1], "/m:predict"), predict([1], "/m:predict?v=1"), id="no query"),
        pytest.param(predict([1], parameters={"k": 1}), predict([1], parameters={"k": 2}), id="p"),
        pytest.param(predict([1]), predict([1], parameters={}), id="no parameters"),
        pytest.param(predict([1], signature_name="x"), predict([1], signature_name="y"), id="name"),
        pytest.param(predict([1], k=1), predict([1], k=1.0), id="spelling of a field"),
        pytest.param(row(1), row("1"), id="number, string"),
        pytest.param(row(1), row(True), id="number, bool"),
        pytest.param(row(1), row(None), id="number, null"),
        pytest.param(row("x"), row(False), id="string, bool"),
        pytest.param(row(1), row([1]), id="number, array"),
        pytest.param(row([1, 2]), row([1, 2, 3]), id="length"),
        pytest.param(row([]), row([1]), id="empty array"),
        pytest.param(row([1]), row([[1]]), id="depth"),
        pytest.param(row([[1, 2]]), row([[1, 2], [3, 4]]), id="outer length"),
        pytest.param(row([[1, 2]]), row([[1, 2, 3]]), id="inner length"),
        pytest.param(row([1]), row(["1"]), id="class of leaves"),
        pytest.param(row({"a": 1}), row({"b": 1}), id="keys"),
        pytest.param(row({"a": 1}), row({"a": 1, "b": 1}), id="more keys"),
        pytest.param(row({"a": 1}), row({"a": "1"}), id="class of a value"),
        pytest.param(row({"a": [1]}), row({"a": [1, 2]}), id="length of a value"),
        pytest.param(row({"a": {"b": 1}}), row({"a": {"c": 1}}), id="inner keys"),
    ],
)
async def test_requests_that_one_call_cannot_serve_never_mix(
    make_rig: RigFactory, a: bytes, b: bytes
) -> None:
    await assert_apart(make_rig, a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(row(1), row(-2.5e3), id="numbers"),
        pytest.param(row(True), row(False), id="bools"),
        pytest.param(row("x"), row("quite another text, \u00e9, 4"), id="contents of strings"),
        pytest.param(row({"a": 1, "b": "x"}), row({"b": "y", "a": 2}), id="order of keys"),
        pytest.param(row([[1, 2], [3, 4]]), row([[5, 6], [7, 8]]), id="same shape"),
        pytest.param(
            raw(b'{"signature_name":"s","instances":[1]}'),
            raw(b'{"instances":[2],"signature_name":"s"}'),
            id="place of the instances",
        ),
        pytest.param(
            raw(b'{"instances":[[1,2]]}'), raw(b' { "instances" : [ [ 1 ,\n2 ] ] } '), id="spaces"
        ),
        pytest.param(predict([1, 2]), predict([3]), id="number of instances"),
        pytest.param(
            predict([1], headers=[("Content-Type", "application/json")]),
            predict([1], headers=[("Content-Type", "text/plain"), ("X-Any", "1")]),
            id="headers that are no key",
        ),
    ],
)
async def test_requests_that_one_call_can_serve_mix(
    make_rig: RigFactory, a: bytes, b: bytes
) -> None:
    # The first may already hold as many instances as make a batch: size counts them.
    rig = await make_rig("--max-batchsize", "3", "--max-latency", "300", shared=True)
    first, second = await rig.answers(await rig.send(a), await rig.send(b))
    assert first.batch_id == second.batch_id
    assert len(rig.model.calls) == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(row([1, 2]), row([1, 2, 3]), id="length"),
        pytest.param(row([[1], [2]]), row([[1, 2]]), id="lengths"),
        pytest.param(row({"a": [1]}), row({"a": [1, 2]}), id="length of a value"),
    ],
)
async def test_row_signature_type_drops_the_lengths(
    make_rig: RigFactory, a: bytes, b: bytes
) -> None:
    await assert_together(make_rig, a, b, "--row-signature", "type")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(row([1]), row(["1"]), id="class of leaves"),
        pytest.param(row([1]), row([[1]]), id="depth"),
        pytest.param(row({"a": 1}), row({"b": 1}), id="keys"),
    ],
)
async def test_row_signature_type_keeps_all_else(make_rig: RigFactory, a: bytes, b: bytes) -> None:
    await assert_apart(make_rig, a, b, "--row-signature", "type")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([("X-Tenant", "a")], [("X-Tenant", "b")], id="values"),
        pytest.param([("X-Tenant", "a")], [], id="absence"),
        pytest.param([("X-Tenant", "a")], [("X-Tenant", "a"), ("X-Tenant", "b")], id="lists"),
    ],
)
async def test_key_headers_keep_requests_apart(
    make_rig: RigFactory, one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    a, b = predict([1], headers=one), predict([1], headers=other)
    await assert_apart(make_rig, a, b, "--batch-key-headers", "x-tenant,authorization")


async def test_equal_key_headers_mix_and_go_up(make_rig: RigFactory) -> None:
    a = predict([1], headers=[("X-Tenant", "a")])
    b = predict([2], headers=[("x-tenant", "a")])
    await assert_together(make_rig, a, b, "--batch-key-headers", "x-tenant,authorization")


async def test_a_request_whose_rows_differ_travels_alone(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "32", "--max-latency", "100", shared=True)
    uneven = predict([[1, 2], [1, 2, 3]])
    clients = [await rig.send(data) for data in (uneven, uneven, predict([[1, 2]]))]
    responses = await rig.answers(*clients)
    assert [response.status for response in responses] == [200, 200, 200]
    assert responses[0].predictions == [[1, 2], [1, 2, 3]]
    assert sorted(len(call.rows) for call in rig.model.calls) == [1, 2, 2]


CANDIDATES: Final = [
    "/v1/models/m:predict",
    "/any/prefix/at/all:predict",
    "/:predict",
    "/v1/models/a%20b:predict",
    "/v1/models/m%3Apredict",
    "/v1/models/m%3apredi%63t",
    "/m:predict?x=1&y=/",
]
OTHERS: Final = [
    "/v1/models/m:predict/",
    "/v1/models/m:explain",
    "/v1/models/m:Predict",
    "/v1/models/mpredict",
    "/v1/models/m?x=:predict",
    "/v1/models/m%253Apredict",
]


@pytest.mark.parametrize("target", CANDIDATES)
async def test_a_post_to_a_path_that_ends_in_predict_is_batched(
    make_rig: RigFactory, target: str
) -> None:
    rig = await make_rig(*SINGLES, shared=True)
    rig.model.otherwise = answers.says(200, b'{"predictions":[7]}')
    response = await rig.ask(predict([1], target))
    assert response.predictions == [7]
    assert response.batch_id
    assert rig.model.calls[0].target == target


@pytest.mark.parametrize("target", OTHERS)
async def test_a_post_to_any_other_path_is_not(make_rig: RigFactory, target: str) -> None:
    rig = await make_rig(*SINGLES, shared=True)
    rig.model.otherwise = answers.says(200, b'{"predictions":[7]}')
    response = await rig.ask(predict([1], target))
    assert response.body == b'{"predictions":[7]}'
    assert rig.model.calls[0].target == target


async def test_the_other_fields_go_up_as_they_were_spelt(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    body = (
        b'{"parameters":{"t":1.0,"n":9007199254740993},"instances":[1],"signature_name":"\\u00e9"}'
    )
    await rig.answers(await rig.send(raw(body)), await rig.send(raw(body)))
    [call] = rig.model.calls
    assert json.loads(call.body)["instances"] == [1, 1]
    assert b'{"t":1.0,"n":9007199254740993}' in call.body
    assert b'"\\u00e9"' in call.body


@pytest.mark.parametrize(
    "content_type", [None, "application/x-www-form-urlencoded", "text/plain; charset=utf-8"]
)
async def test_the_content_type_of_the_client_does_not_matter(
    make_rig: RigFactory, content_type: str | None
) -> None:
    rig = await make_rig(*SINGLES, shared=True)
    headers = [] if content_type is None else [("Content-Type", content_type)]
    response = await rig.ask(request("POST", PREDICT, headers, body_of([5])))
    assert response.predictions == [5]
    assert response.batch_id
