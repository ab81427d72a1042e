"""Which models are batched: by what the model server says of them, and by what they answer."""

import asyncio

import pytest

from tests.sidecar.kit.answers import Gate, never, says
from tests.sidecar.kit.rig import LONG, PAIR, RigFactory
from tests.sidecar.kit.scripted import Exchange, Script
from tests.sidecar.kit.v2 import (
    FIXED,
    ROW,
    VARIABLE,
    V2Model,
    answer_tensors,
    answered,
    bypassed,
    metric,
    numbers,
    together,
)


async def sums(exchange: Exchange) -> None:
    """A model that makes one row of all."""
    output = {"name": "total", "shape": [1], "datatype": "FP32", "data": [10.5]}
    answer_tensors(exchange, [output])


@pytest.mark.parametrize(
    ("metadata", "config", "why"),
    [
        (FIXED, None, "input 'x' has shape [1, 4]"),
        ({**VARIABLE, "outputs": [{"name": "y", "shape": [4]}]}, None, "output 'y' has shape [4]"),
        (VARIABLE, {"max_batch_size": 0}, "max_batch_size is 0"),
    ],
)
async def test_a_model_that_does_not_batch_is_forwarded_to(
    make_rig: RigFactory, metadata: object, config: object, why: str
) -> None:
    rig = await make_rig(*PAIR)
    model = V2Model(rig, metadata, config)
    answered(await rig.ask(model.infer(numbers(ROW))))
    await rig.model.until(lambda: len(model.questions) == (1 if config is None else 2))
    await rig.model.until(lambda: rig.model.in_flight == 0)
    await rig.settle()
    responses = await together(rig, *[model.infer(numbers(ROW), id=str(n)) for n in range(3)])
    assert [answered(response).content["id"] for response in responses] == ["0", "1", "2"]
    assert [asked.content["id"] for asked in model.requests[1:]] == ["0", "1", "2"]
    assert all(not response.named("X-Batch-Id") for response in responses)
    assert await bypassed(rig, "unbatchable") == 3
    assert await metric(rig, "inference_batcher_unbatchable_models") == 1
    assert rig.sidecar.output.count("is not batched") == 1
    assert f"{model.target} is not batched: {why}" in rig.sidecar.output


async def test_never_more_rows_than_the_model_takes(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "100", "--max-latency", "200", shared=True)
    model = V2Model(rig, config={"max_batch_size": 4, "name": "m"})
    await model.known()
    responses = await together(rig, *[model.infer(numbers(ROW * 3)) for _ in range(3)])
    assert [asked.content["inputs"][0]["shape"][0] for asked in model.requests] == [3, 3, 3]
    assert {response.header("X-Batch-Size") for response in responses} == {"3"}
    full = await together(rig, *[model.infer(numbers(ROW * 2)) for _ in range(2)])
    assert {response.header("X-Batch-Size") for response in full} == {"4"}
    large = await rig.ask(model.infer(numbers(ROW * 9)))
    assert large.header("X-Batch-Size") == "9"


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "m", "versions": [], "platform": "", "inputs": [], "outputs": []},
        {"name": "m"},
        {"inputs": [{"name": "x", "shape": [], "datatype": "FP32"}], "outputs": None},
        {"inputs": [{"name": "x", "shape": [-1], "extra": 1}]},
        VARIABLE,
    ],
    ids=str,
)
async def test_a_model_of_which_nothing_else_is_said_is_batched(
    make_rig: RigFactory, metadata: object
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig, metadata)
    await model.known()
    responses = await together(rig, *[model.infer(numbers(ROW)) for _ in range(2)])
    assert {response.header("X-Batch-Size") for response in responses} == {"2"}


@pytest.mark.parametrize("metadata", [None, b"no JSON", b"[1]", b'{"inputs":{"x":1}}'], ids=str)
async def test_where_there_is_no_metadata_a_model_is_batched_once_it_has_answered(
    make_rig: RigFactory, metadata: object
) -> None:
    rig = await make_rig(*PAIR, shared=True)
    model = V2Model(rig, metadata)
    for count in (1, 2):
        response = await rig.ask(model.infer(numbers(ROW)))
        assert response.header("X-Batch-Size") == "1"
        await rig.model.until(lambda count=count: len(model.questions) == count)  # type: ignore[misc]
        await rig.model.until(lambda: rig.model.in_flight == 0)
        await rig.settle()
    responses = await together(rig, *[model.infer(numbers(ROW)) for _ in range(2)])
    assert {response.header("X-Batch-Size") for response in responses} == {"2"}
    assert len(model.questions) == 2


async def test_nobody_waits_for_metadata(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR)
    model = V2Model(rig, metadata=never)
    responses = await together(rig, *[model.infer(numbers(ROW)) for _ in range(3)])
    assert {response.header("X-Batch-Size") for response in responses} == {"1"}
    assert model.questions == [model.target]


async def test_until_it_is_known_no_request_is_sent_in_pieces(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "2", "--hard-max-batch-size", "2", *LONG)
    model = V2Model(rig, metadata=never)
    answered(await rig.ask(model.infer(numbers(ROW * 3))))
    assert [asked.content["inputs"][0]["shape"][0] for asked in model.requests] == [3]
    assert await bypassed(rig, "unbatchable") == 1


@pytest.mark.parametrize("metadata", [None, VARIABLE], ids=["unknown", "known"])
async def test_what_cannot_be_divided_is_asked_for_one_by_one(
    make_rig: RigFactory, metadata: object
) -> None:
    rig = await make_rig("--max-batchsize", "3", "--max-concurrency", "1", *LONG)
    model = V2Model(rig, metadata)
    await model.known()
    model.otherwise = sums
    asked = [model.infer(numbers(ROW), id=str(number)) for number in range(3)]
    responses = await together(rig, *asked)
    assert [answered(response).outputs[0]["data"] for response in responses] == [[10.5]] * 3
    assert {response.header("X-Batch-Size") for response in responses} == {"1"}
    rows = [request.content["inputs"][0]["shape"][0] for request in model.requests]
    assert rows == [3, 1, 1, 1]
    assert await metric(rig, "inference_batcher_undivided_batches_total") == 1
    assert await metric(rig, "inference_batcher_unbatchable_models") == 1
    assert await metric(rig, "inference_batcher_isolated_requests_total") == 0
    assert f"{model.target} is not batched: output 'total' has shape [1] for 3 rows" in (
        rig.sidecar.output
    )

    forwarded = await together(rig, *asked)
    assert [answered(response).outputs[0]["data"] for response in forwarded] == [[10.5]] * 3
    assert all(not response.named("X-Batch-Id") for response in forwarded)
    assert await bypassed(rig, "unbatchable") == 3
    assert rig.sidecar.output.count("is not batched") == 1


async def test_a_model_shows_in_its_first_answer_that_it_does_not_batch(
    make_rig: RigFactory,
) -> None:
    """A batch of four rows might be divided by chance where it has a fixed dimension of four."""
    rig = await make_rig(*PAIR)

    async def turned(exchange: Exchange) -> None:
        output = {"name": "turned", "shape": [4, 1], "datatype": "FP32", "data": [1, 2, 3, 4]}
        answer_tensors(exchange, [output])

    model = V2Model(rig, otherwise=turned)
    await model.known()
    responses = await together(rig, *[model.infer(numbers(ROW * 2)) for _ in range(2)])
    assert all(not response.named("X-Batch-Id") for response in responses)
    assert [answered(response).outputs[0]["shape"] for response in responses] == [[4, 1]] * 2
    assert await metric(rig, "inference_batcher_undivided_batches_total") == 0
    assert await bypassed(rig, "unbatchable") == 2
    assert "output 'turned' has shape [4, 1] for 1 rows" in rig.sidecar.output


async def test_a_model_that_has_not_answered_yet_is_asked_alone(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR)
    model = V2Model(rig, otherwise=says(400, b'{"error":"no"}'))
    for _ in range(3):
        response = await rig.ask(model.infer(numbers(ROW)))
        assert (response.status, response.header("X-Batch-Size")) == (400, "1")


async def test_what_waits_meanwhile_is_not_held_up_by_a_model_that_does_not_batch(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "2", "--max-concurrency", "2", *LONG)
    model = V2Model(rig)
    await model.known()
    model.otherwise = gate = Gate(sums)
    clients = []
    for _ in range(3):
        clients.append(await rig.send(model.infer(numbers(ROW))))
        await rig.settle()
    gate.open()
    async with asyncio.timeout(5):
        responses = await rig.answers(*clients)
    assert {response.header("X-Batch-Size") for response in responses} == {"1"}


async def test_pieces_of_a_model_that_does_not_batch_are_sent_whole_after_all(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "2", "--hard-max-batch-size", "2", *LONG)
    model = V2Model(rig)
    await model.known(model.infer(numbers(ROW * 2)))
    model.otherwise = sums
    response = await rig.ask(model.infer(numbers(ROW * 5)))
    assert answered(response).outputs[0]["data"] == [10.5]
    rows = [request.content["inputs"][0]["shape"][0] for request in model.requests]
    assert rows == [2, 5]


@pytest.mark.parametrize("failure", [says(503), says(404, b"no such model")])
async def test_a_model_that_is_not_there_says_nothing_of_itself(
    make_rig: RigFactory, failure: Script
) -> None:
    rig = await make_rig(*PAIR)
    model = V2Model(rig, metadata=failure, otherwise=failure)
    for _ in range(3):
        assert (await rig.ask(model.infer(numbers(ROW)))).status in (404, 503)
    assert model.questions == [model.target]
    model.metadata = FIXED
    assert await metric(rig, "inference_batcher_unbatchable_models") == 0
