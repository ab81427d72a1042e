"""Going away without losing a request."""

import asyncio
import time
from typing import Final

import pytest

from batcher_contract.names import DRAIN_HEADER
from tests.sidecar.kit.answers import Gate, never
from tests.sidecar.kit.client import Response, connect, predict, request
from tests.sidecar.kit.process import until
from tests.sidecar.kit.rig import LONG, Rig, RigFactory

QUICK: Final = (*LONG, "--drain-quiet", "0.3", "--drain-timeout", "5")
UNHURRIED: Final = (*LONG, "--drain-quiet", "2", "--drain-timeout", "5")
PATIENT: Final = (*LONG, "--drain-quiet", "30", "--drain-timeout", "60")
HOOK: Final = [(DRAIN_HEADER, "true")]
GET: Final = request("GET", "/x")


def assert_last(response: Response) -> None:
    """The answer tells its client to go elsewhere."""
    assert response.status == 200
    assert response.header("Connection").lower() == "close"


async def listening(rig: Rig) -> bool:
    try:
        (await connect(rig.sidecar.port)).close()
    except ConnectionError:
        return False
    return True


async def until_not_listening(rig: Rig) -> None:
    async def reached() -> bool:
        return not await listening(rig)

    await until(reached, "the end of listening")


async def test_what_waits_is_answered_at_once_and_the_exit_is_clean(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK)
    clients = [await rig.send(predict([row])) for row in (1, 2)]
    await rig.settle()
    rig.sidecar.terminate()
    one, two = await rig.answers(*clients)
    assert_last(one)
    assert_last(two)
    assert (one.predictions, two.predictions) == ([1], [2])
    assert len(rig.model.calls) == 1
    for client in clients:
        await client.expect_end()
    assert await rig.sidecar.exit_code() == 0


async def test_readiness_fails_at_once_while_requests_are_still_served(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*UNHURRIED)
    await rig.until_ready()
    rig.sidecar.terminate()
    await rig.until_ready(False)
    assert await rig.sidecar.admin_status("/readyz") == 503
    assert await rig.sidecar.admin_status("/livez") == 200
    batched = await rig.ask(predict([1]))
    assert_last(batched)
    assert batched.predictions == [1]
    assert_last(await rig.ask(GET, "GET"))
    assert await rig.sidecar.exit_code() == 0


async def test_idle_connections_are_closed_once_it_is_quiet(make_rig: RigFactory) -> None:
    """Not before: a request may be on its way on any of them, and would be lost."""
    rig = await make_rig(*UNHURRIED)
    used, idle, unused = await rig.connect(), await rig.connect(), await rig.connect()
    for client in (used, idle):
        assert (await client.ask(GET, "GET")).status == 200
    rig.sidecar.terminate()
    await rig.until_ready(False)
    assert_last(await used.ask(GET, "GET"))
    for client in (used, idle, unused):
        await client.expect_end()


async def test_nobody_who_comes_while_the_drain_begins_is_turned_away(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig("--max-batchsize", "1", "--drain-quiet", "2", "--drain-timeout", "9")
    over = asyncio.Event()
    answered = 0

    async def newcomers() -> None:
        nonlocal answered
        while not over.is_set():
            client = await rig.send(predict([1]))
            assert (await client.response()).status == 200
            client.close()
            answered += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(newcomers())
        await rig.model.wait_calls(100)
        rig.sidecar.terminate()
        await rig.until_ready(False)
        await rig.model.wait_calls(len(rig.model.calls) + 100)
        over.set()
    assert answered >= 200


async def test_a_connection_in_use_is_closed_after_its_answer(make_rig: RigFactory) -> None:
    rig = await make_rig(*UNHURRIED)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(GET)
    await rig.model.wait_calls(1)
    rig.sidecar.terminate()
    await rig.until_ready(False)
    gate.open()
    assert (await client.response("GET")).status == 200
    await client.expect_end()


async def test_a_request_on_its_way_is_let_in(make_rig: RigFactory) -> None:
    rig = await make_rig(*UNHURRIED)
    data = predict([1])
    client = await rig.send(data[:-1])
    await rig.settle()
    rig.sidecar.terminate()
    await rig.until_ready(False)
    client.send(data[-1:])
    assert_last(await client.response())


async def test_probes_do_not_put_off_the_end(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, "--drain-quiet", "0.5", "--drain-timeout", "20")
    rig.sidecar.terminate()
    start_s = time.monotonic()
    while await listening(rig):
        try:
            await rig.probe()
        except (ConnectionError, AssertionError):
            break
        assert time.monotonic() - start_s < 5
        await asyncio.sleep(0.05)
    assert await rig.sidecar.exit_code() == 0


async def test_requests_put_off_the_end(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, "--drain-quiet", "1", "--drain-timeout", "20")
    rig.sidecar.terminate()
    await rig.until_ready(False)
    start_s = time.monotonic()
    while time.monotonic() - start_s < 2:
        assert_last(await rig.ask(predict([1])))
        await asyncio.sleep(0.1)
    assert await rig.sidecar.exit_code() == 0


async def test_the_end_is_put_off_for_so_long_only(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, "--drain-quiet", "1", "--drain-timeout", "1.5")
    rig.sidecar.terminate()
    start_s = time.monotonic()
    while await listening(rig):
        client = await rig.connect()
        client.send(predict([1]))
        await asyncio.sleep(0.05)
        assert time.monotonic() - start_s < 4
    assert time.monotonic() - start_s > 1.4
    assert await rig.sidecar.exit_code() == 0


async def test_what_is_in_flight_is_answered_after_listening_has_ended(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*QUICK)
    rig.model.otherwise = gate = Gate()
    batched, forwarded = await rig.send(predict([1])), await rig.send(GET)
    await rig.model.wait_calls(1)
    rig.sidecar.terminate()
    await rig.model.wait_calls(2)
    await until_not_listening(rig)
    gate.open()
    assert (await batched.response()).predictions == [1]
    assert (await forwarded.response("GET")).status == 200
    assert await rig.sidecar.exit_code() == 0


async def test_a_second_sigterm_ends_at_once(make_rig: RigFactory) -> None:
    rig = await make_rig(*PATIENT)
    rig.model.otherwise = never
    await rig.send(GET)
    await rig.model.wait_calls(1)
    rig.sidecar.terminate()
    await rig.until_ready(False)
    rig.sidecar.terminate()
    await rig.sidecar.exit_code(within_s=3)


async def test_what_waits_for_a_model_server_that_is_gone_gets_503(make_rig: RigFactory) -> None:
    rig = await make_rig(*UNHURRIED)
    waiting = await rig.send(predict([1]))
    await rig.settle()
    await rig.model.refuse()
    rig.sidecar.terminate()
    for response in (await waiting.response(), await rig.ask(predict([2]))):
        assert response.status == 503
        assert int(response.header("Retry-After")) >= 1
        assert response.header("Connection").lower() == "close"
    assert await rig.sidecar.exit_code() == 0


async def test_an_idle_sidecar_ends_after_the_quiet_time(make_rig: RigFactory) -> None:
    rig = await make_rig(*LONG, "--drain-quiet", "0.5", "--drain-timeout", "5")
    rig.sidecar.terminate()
    start_s = time.monotonic()
    assert await rig.sidecar.exit_code() == 0
    assert 0.4 < time.monotonic() - start_s < 4


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_hook_without_its_header_drains_nothing(
    make_rig: RigFactory, method: str
) -> None:
    rig = await make_rig(*QUICK, shared=True)
    response = await rig.admin("/drain", method=method)
    assert 400 <= response.status < 500
    await rig.until_ready()


async def test_the_hook_drains_and_answers_when_nothing_is_left(make_rig: RigFactory) -> None:
    rig = await make_rig(*UNHURRIED)
    await rig.until_ready()
    waiting = await rig.send(predict([1]))
    await rig.settle()
    start_s = time.monotonic()
    hook = asyncio.create_task(rig.admin("/drain", HOOK))
    assert_last(await waiting.response())
    assert not hook.done()
    assert await rig.probe() == 503
    assert_last(await rig.ask(predict([2])))
    assert (await hook).status == 200
    assert time.monotonic() - start_s >= 2
    # What comes later is served too: the end is for SIGTERM to say.
    assert_last(await rig.ask(predict([3])))
    rig.sidecar.terminate()
    assert await rig.sidecar.exit_code() == 0


async def test_the_hook_waits_for_answers(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK)
    rig.model.otherwise = gate = Gate()
    client = await rig.send(GET)
    await rig.model.wait_calls(1)
    hook = asyncio.create_task(rig.admin("/drain", HOOK))
    await asyncio.wait([hook], timeout=1)
    assert not hook.done()
    gate.open()
    assert (await client.response("GET")).status == 200
    assert (await hook).status == 200


async def test_the_hook_answers_at_once_when_the_model_server_is_gone(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*PATIENT, model=False)
    start_s = time.monotonic()
    assert (await rig.admin("/drain", HOOK)).status == 200
    assert time.monotonic() - start_s < 3
    assert await rig.probe() == 503


async def test_a_drain_that_no_sigterm_follows_is_called_off(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--drain-quiet", "0.1", "--drain-timeout", "5")
    await rig.until_ready()
    assert (await rig.admin("/drain", HOOK)).status == 200
    assert await rig.probe() == 503

    async def ready() -> bool:
        return await rig.probe() == 200

    await until(ready, "the end of the drain", within_s=30)
    client = await rig.connect()
    for _ in range(2):
        response = await client.ask(predict([1]))
        assert response.predictions == [1]
        assert response.named("Connection") in ([], ["keep-alive"])
