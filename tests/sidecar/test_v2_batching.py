"""Batches of the Open Inference Protocol, as callers and the model server see them."""

import json

import pytest

from tests.sidecar.kit.answers import says
from tests.sidecar.kit.rig import LONG, PAIR, RigFactory
from tests.sidecar.kit.scripted import Exchange
from tests.sidecar.kit.v2 import (
    OTHER,
    ROW,
    V2Model,
    answer_tensors,
    answered,
    echo_tensors,
    message_of,
    numbers,
    strings,
    together,
)


@pytest.mark.parametrize("binary", [False, True])
async def test_callers_share_a_call_and_get_their_own_back(
    make_rig: RigFactory, binary: bool
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known(*[model.infer(numbers(ROW, binary=True))] * binary)
    named, unnamed = await together(
        rig,
        model.infer(numbers(ROW, binary=binary), id="7"),
        model.infer(numbers(OTHER, binary=binary)),
    )
    [call] = model.calls
    [asked] = model.requests
    assert asked.content["inputs"][0]["shape"] == [2, 4]
    assert "id" not in asked.content
    assert call.header("Content-Type") == (
        "application/octet-stream" if binary else "application/json"
    )
    assert call.header("Content-Length") == str(len(call.body))
    assert call.header("Accept-Encoding") == "identity"
    one, other = answered(named), answered(unnamed)
    assert one.content["id"] == "7"
    assert "id" not in other.content
    assert one.batch_id == other.batch_id == named.header("X-Batch-Id")
    assert named.header("X-Batch-Size") == unnamed.header("X-Batch-Size") == "2"
    assert one.content["model_name"] == "m"
    for message, rows in ((one, ROW), (other, OTHER)):
        tensor, blob = numbers(rows, binary=binary)
        [output] = message.outputs
        assert output["shape"] == [1, 4]
        if binary:
            assert output["blob"] == blob
        else:
            assert output["data"] == tensor["data"]


@pytest.mark.parametrize("binary", [False, True])
async def test_large_tensors_come_back_whole(make_rig: RigFactory, binary: bool) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    images = [[float(n % 251) for n in range(first, first + 150_528)] for first in (0, 9)]
    asked = [numbers([image], binary=binary) for image in images]
    await model.known(model.infer(asked[0]))
    responses = await together(rig, *[model.infer(tensor) for tensor in asked])
    assert len(model.calls) == 1
    for response, (tensor, blob) in zip(responses, asked, strict=True):
        [output] = answered(response).outputs
        assert output.get("blob") == blob
        assert output.get("data") == tensor.get("data")


async def test_requests_are_counted_under_their_protocol_and_model(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "1")
    model = V2Model(rig)
    for _ in range(3):
        await rig.ask(model.infer(numbers(ROW), target=f"{model.target}/versions/1/infer"))
    name = model.target.rpartition("/")[2]
    counted = f'requests_total{{code="200",model="{name}",protocol="v2"}} 3.0'
    metrics = (await rig.admin("/metrics")).body.decode()
    assert counted in metrics


async def test_strings_are_cut_where_they_end(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "5", *LONG, shared=True)
    model = V2Model(rig)
    await model.known(model.infer(strings([b"x"])))
    responses = await together(
        rig,
        model.infer(strings([b"", b"\0\xff" * 50_000])),
        model.infer(strings([b"a", b"", b"\xfe"])),
    )
    assert len(model.calls) == 1
    blobs = [answered(response).outputs[0]["blob"] for response in responses]
    assert blobs == [strings([b"", b"\0\xff" * 50_000])[1], strings([b"a", b"", b"\xfe"])[1]]


async def test_json_and_binary_callers_are_served_apart(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known(model.infer(numbers(ROW, binary=True)))
    kinds = (False, True, False, True)
    responses = await together(rig, *[model.infer(numbers(ROW, binary=kind)) for kind in kinds])
    assert sorted(len(asked.blobs) for asked in model.requests) == [0, 1]
    for kind, response in zip(kinds, responses, strict=True):
        assert len(answered(response).blobs) == kind
        assert response.header("X-Batch-Size") == "2"


async def test_who_travels_alone_goes_as_it_came_and_learns_its_batch(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-latency", "1", shared=True)
    model = V2Model(rig)
    await model.known()
    inputs = [numbers(ROW, binary=True), strings([b"x"])]
    for data in (model.infer(numbers(ROW), id="a"), model.infer(*inputs, id="a")):
        response = await rig.ask(data)
        assert model.calls[-1].body == data.partition(b"\r\n\r\n")[2]
        message = answered(response)
        assert message.batch_id == response.header("X-Batch-Id")
        assert message.content["id"] == "a"
    assert message.blobs == [blob for _, blob in inputs]


async def test_a_length_that_covers_the_whole_body_is_not_passed_on(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known()
    body = model.infer(numbers(ROW)).partition(b"\r\n\r\n")[2]
    headers = [("Inference-Header-Content-Length", str(len(body)))]
    await together(rig, model.request(body, headers), model.infer(numbers(OTHER)))
    [call] = model.calls
    assert call.named("Inference-Header-Content-Length") == []
    assert call.header("Content-Type") == "application/json"


async def test_versions_and_paths_keep_apart(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "1", shared=True)
    model = V2Model(rig)
    base = model.target
    prefixes = [base, f"{base}/versions/2", f"/team{base}"]
    targets = [f"{prefix}/infer" for prefix in prefixes]
    targets[-1] += "?verbose=1"
    for target in targets:
        await rig.ask(model.infer(numbers(ROW), target=target))
    assert [call.target for call in model.calls] == targets
    await rig.model.until(lambda: len(model.questions) == 6)
    assert set(model.questions) == {
        f"{prefix}{about}" for prefix in prefixes for about in ("", "/config")
    }


async def test_a_request_beyond_the_hard_cap_is_sent_in_pieces(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "2", "--hard-max-batch-size", "2", *LONG, shared=True)
    model = V2Model(rig)
    await model.known(
        model.infer(numbers(ROW * 2)),
        *[model.infer(numbers(ROW * count, binary=True)) for count in (1, 2)],
    )
    rows = [[float(row), 0, 0, 1] for row in range(5)]
    for binary in (False, True):
        response = await rig.ask(model.infer(numbers(rows, binary=binary), id="i"))
        message = answered(response)
        tensor, blob = numbers(rows, binary=binary)
        assert message.content["id"] == "i"
        assert message.outputs[0]["shape"] == [5, 4]
        assert message.outputs[0].get("data", blob) == tensor.get("data", blob)
        assert message.blobs == ([blob] if binary else [])
        assert response.header("X-Batch-Size") == "5"
        assert message.batch_id == response.header("X-Batch-Id")
    shapes = [asked.content["inputs"][0]["shape"][0] for asked in model.requests]
    assert shapes == [2, 2, 1] * 2


async def test_answers_to_pieces_that_differ_are_a_502(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--hard-max-batch-size", "1", *LONG, shared=True)
    model = V2Model(rig, config={"max_batch_size": 8})
    await model.known()

    async def another(exchange: Exchange) -> None:
        answer_tensors(exchange, [{"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}])

    model.then += [echo_tensors, another]
    response = await rig.ask(model.infer(numbers([*ROW, *OTHER])))
    assert response.status == 502
    assert "pieces differ" in response.error


async def test_a_bad_request_fails_alone(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "3", "--max-concurrency", "1", *LONG, shared=True)

    async def picky(exchange: Exchange) -> None:
        lengths = exchange.call.named("Inference-Header-Content-Length")
        asked = message_of(exchange.call.body, lengths, "inputs")
        if any(-1 in row for row in asked.content["inputs"][0]["data"]):
            await says(400, b'{"error":"negative"}')(exchange)
        else:
            await echo_tensors(exchange)

    model = V2Model(rig, otherwise=picky)
    await model.known()
    bad = model.infer(numbers([[-1, 2, 3, 4]]))
    good, spoilt, fine = await together(
        rig, model.infer(numbers(ROW)), bad, model.infer(numbers(OTHER))
    )
    assert (spoilt.status, spoilt.body) == (400, b'{"error":"negative"}')
    assert answered(good).outputs[0]["data"] == ROW
    assert answered(fine).outputs[0]["data"] == OTHER


@pytest.mark.parametrize(
    "answer",
    [
        b"no JSON",
        b'{"model_name":"m"}',
        b'{"outputs":{}}',
        b'{"outputs":[{"name":"y","shape":[2,1],"datatype":"FP32","data":[1]}]}',
        b'{"outputs":[{"name":"y","shape":[2],"datatype":"FP32"}]}',
        b'{"outputs":[{"shape":[2],"datatype":"FP32","data":[1,2]}]}',
        b'{"outputs":[{"name":"y","shape":[2],"datatype":"BOOL","parameters":{"a":1}}]}',
    ],
)
async def test_an_answer_that_cannot_be_read_is_given_to_each_alone(
    make_rig: RigFactory, answer: bytes
) -> None:
    rig = await make_rig("--max-batchsize", "2", "--max-concurrency", "1", *LONG, shared=True)
    model = V2Model(rig)
    await model.known()
    model.otherwise = says(200, answer)
    responses = await together(rig, model.infer(numbers(ROW)), model.infer(numbers(OTHER)))
    assert len(model.calls) == 3
    for response in responses:
        assert response.status == 200
        if b'"outputs":[' not in answer:
            assert response.body == answer


async def test_members_that_would_make_up_for_each_other_never_meet(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "4", *LONG, shared=True)
    model = V2Model(rig)
    await model.known()
    tensor, _ = numbers(ROW)
    short, long = ({**tensor, "data": data} for data in ([], ROW[0] * 2))
    refused = {"error": "the model server's own words"}
    model.then += [says(400, json.dumps(refused).encode())] * 2
    hostile = [await rig.ask(model.infer((spoilt, None))) for spoilt in (short, long)]
    assert [(one.status, one.json()) for one in hostile] == [(400, refused)] * 2
    assert [asked.content["inputs"][0] for asked in model.requests] == [short, long]
    mates = await together(rig, *[model.infer(numbers(rows * 2)) for rows in (ROW, OTHER)])
    assert [answered(mate).outputs[0]["data"] for mate in mates] == [ROW * 2, OTHER * 2]


@pytest.mark.parametrize(
    ("declared", "words"), [("1000000", "but the body has"), ("all", "is no number")]
)
async def test_a_length_that_cannot_be_framed_is_refused(
    make_rig: RigFactory, declared: str, words: str
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig)
    await model.known()
    headers = [("Inference-Header-Content-Length", declared)]
    response = await rig.ask(model.request(b'{"inputs":[]}', headers))
    assert response.status == 400
    assert words in response.error
    assert not model.calls


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("parameters", [{}, {"timeout": 1}], ids=["alone", "forwarded"])
async def test_a_large_body_goes_up_as_it_came(
    make_rig: RigFactory, chunked: bool, parameters: dict[str, int]
) -> None:
    rig = await make_rig("--max-latency", "1", shared=True)
    model = V2Model(rig)
    await model.known()
    image = [float(number % 251) for number in range(150_528)]
    data = model.infer(numbers([image], binary=True), parameters=parameters)
    head, _, body = data.partition(b"\r\n\r\n")
    if chunked:
        head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
        parts = [body[start : start + 70_000] for start in range(0, len(body), 70_000)]
        sent = b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""]])
    else:
        sent = body
    response = await rig.ask(head + b"\r\n\r\n" + sent)
    assert response.status == 200
    assert (response.named("X-Batch-Id") == []) is bool(parameters)
    [call] = model.calls
    assert call.body == body
    assert call.header("Content-Length") == str(len(body))
