"""What KServe's own batcher gets wrong, one test for each: here it is right."""

import asyncio
import json
import time
from pathlib import Path
from typing import Final

import pytest

from tests.sidecar.kit.answers import Gate, echo, failing_if, never, says, with_fields, wrong_count
from tests.sidecar.kit.client import PREDICT, predict, request
from tests.sidecar.kit.rig import LONG, PAIR, RigFactory
from tests.sidecar.kit.scripted import Script

ONE: Final = ("--max-batchsize", "1", *LONG)


def used_cpu_s(pid: int) -> float:
    """CPU time of a process's main thread, precisely; the usual counters tick in 10 ms."""
    stat = Path(f"/proc/{pid}/schedstat")
    if not stat.exists():
        pytest.skip("the system does not tell CPU time precisely")
    return int(stat.read_text().split()[0]) / 1e9


async def test_batches_never_mix_models(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "100", shared=True)
    clients = [await rig.send(predict([model], f"/v1/models/{model}:predict")) for model in "ab"]
    for model, response in zip("ab", await rig.answers(*clients), strict=True):
        assert response.predictions == [model]
    served = {call.target: call.rows for call in rig.model.calls}
    assert served == {"/v1/models/a:predict": ["a"], "/v1/models/b:predict": ["b"]}


async def test_several_batches_are_in_flight_at_once(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = gate = Gate()
    clients = [await rig.send(predict([row])) for row in range(3)]
    await rig.model.wait_calls(3)
    gate.open()
    await rig.answers(*clients)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        pytest.param(says(500, b'{"error":"no"}'), 500, id="500"),
        pytest.param(says(404, b"no such model"), 404, id="404"),
        pytest.param(says(503, b""), 503, id="503"),
        pytest.param(says(200, b'{"predictions": [1'), 200, id="bad JSON"),
        pytest.param(wrong_count(+1), 200, id="size mismatch"),
    ],
)
async def test_a_failure_is_never_dressed_up_as_success(
    make_rig: RigFactory, failure: Script, status: int
) -> None:
    rig = await make_rig(*PAIR)
    rig.model.otherwise = failure
    clients = [await rig.send(predict([row])) for row in (1, 2)]
    for response in await rig.answers(*clients):
        # A 200 here is the model server's own, to the letter, and claims no batch.
        assert response.status == status
        assert b"batchId" not in response.body
        assert b"null" not in response.body


async def test_a_refused_connection_is_never_dressed_up_as_success(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True, model=False)
    clients = [await rig.send(predict([row])) for row in (1, 2)]
    assert [answer.status for answer in await rig.answers(*clients)] == [503, 503]


async def test_an_escaped_path_does_no_harm(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    target = "/v1/models/a%20b:predict"
    assert (await rig.ask(predict([1], target))).predictions == [1]
    assert rig.model.calls[0].target == target


async def test_headers_and_query_reach_the_model_server(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    await rig.ask(predict([1], PREDICT + "?version=2", [("X-Request-Id", "7")]))
    [call] = rig.model.calls
    assert call.target == PREDICT + "?version=2"
    assert call.header("X-Request-Id") == "7"
    assert call.header("Host") != "example.com"
    assert call.header("Content-Type") == "application/json"


async def test_response_headers_reach_the_client(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    headers = (("Content-Type", "application/json"), ("X-Model-Version", "2"))
    rig.model.otherwise = says(200, b'{"predictions":[1,2]}', headers)
    clients = [await rig.send(predict([row])) for row in (1, 2)]
    for response in await rig.answers(*clients):
        assert response.header("X-Model-Version") == "2"
        assert response.header("Content-Type") == "application/json"


async def test_other_fields_pass_up_and_down(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    rig.model.otherwise = with_fields(model_name="m")
    response = await rig.ask(predict([1], parameters={"top": 1}, signature_name="s"))
    assert response.json()["model_name"] == "m"
    assert json.loads(rig.model.calls[0].body) == {
        "parameters": {"top": 1},
        "signature_name": "s",
        "instances": [1],
    }


@pytest.mark.parametrize("number", [b"9007199254740993", b"1.0"])
async def test_numbers_keep_their_digits(make_rig: RigFactory, number: bytes) -> None:
    rig = await make_rig(*ONE, shared=True)
    response = await rig.ask(request("POST", PREDICT, body=b'{"instances":[' + number + b"]}"))
    assert rig.model.calls[0].raw_rows == [number]
    assert b'"predictions":[' + number + b"]" in response.body


async def test_a_poisoned_instance_fails_its_own_request_only(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "3", *LONG)
    rig.model.otherwise = failing_if(lambda row: row == "bad", says(400, b'{"error":"bad row"}'))
    clients = [await rig.send(predict([row])) for row in ("a", "bad", "c")]
    good, bad, also_good = await rig.answers(*clients)
    assert (good.predictions, also_good.predictions) == (["a"], ["c"])
    assert (bad.status, bad.body) == (400, b'{"error":"bad row"}')


async def test_a_client_that_left_is_not_inferred(make_rig: RigFactory) -> None:
    rig = await make_rig(*PAIR, shared=True)
    leaver = await rig.send(predict([1]))
    await rig.settle()
    leaver.close()
    await rig.settle()
    clients = [await rig.send(predict([row])) for row in (2, 3)]
    await rig.answers(*clients)
    assert sorted(rig.model.calls[0].rows) == [2, 3]
    assert len(rig.model.calls) == 1


async def test_there_is_a_deadline(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "10", "--timeout", "0.5", shared=True)
    rig.model.otherwise = never
    assert (await rig.ask(predict([1]))).status == 504


async def test_queue_and_bodies_have_limits(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, "--max-queue-size", "1", "--max-body-bytes", "2000", shared=True)
    assert (await rig.ask(predict(["x" * 2000]))).status == 413
    await rig.send(predict([1]))
    await rig.settle()
    assert (await rig.ask(predict([2]))).status == 429


async def test_the_latency_clock_starts_with_the_arrival(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-latency", "800", "--max-concurrency", "1", shared=True)
    rig.model.otherwise = gate = Gate()
    first = await rig.send(predict([1]))
    await rig.model.wait_calls(1)
    second = await rig.send(predict([2]))
    await asyncio.sleep(1.0)
    gate.open()
    free_s = time.monotonic()
    await rig.answers(first, second)
    assert rig.model.calls[1].head_at_s - free_s < 0.4


async def test_it_does_nothing_while_it_has_nothing_to_do(make_rig: RigFactory) -> None:
    rig = await make_rig()
    await rig.ask(request("GET", "/warm"), "GET")
    watched_s = 2.0
    before_s = used_cpu_s(rig.sidecar.pid)
    await asyncio.sleep(watched_s)
    assert (used_cpu_s(rig.sidecar.pid) - before_s) / watched_s < 0.005


@pytest.mark.parametrize(
    "probe", ['{"exec":{"command":["true"]}}', '{"grpc":{"port":PORT},"timeoutSeconds":1}']
)
async def test_any_kind_of_readiness_probe_lets_it_start(make_rig: RigFactory, probe: str) -> None:
    rig = await make_rig("--max-batchsize", "1", probe=probe)
    rig.model.otherwise = echo
    assert (await rig.ask(predict([1]))).predictions == [1]


async def test_it_is_not_ready_before_the_model_server_is(make_rig: RigFactory) -> None:
    rig = await make_rig(model=False)
    assert await rig.probe() == 503
    await rig.model.listen()
    await rig.until_ready()
