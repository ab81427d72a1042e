"""The last answers of a sidecar that goes away arrive whole, and it goes when they have."""

import asyncio
import time
from typing import Final

from batcher_contract.names import DRAIN_HEADER
from tests.sidecar.kit.answers import Gate, streaming
from tests.sidecar.kit.client import Answer, connect, predict, request
from tests.sidecar.kit.process import until
from tests.sidecar.kit.rig import LONG, Rig, RigFactory

QUICK: Final = (*LONG, "--drain-quiet", "0.3", "--drain-timeout", "5")
HOOK: Final = [(DRAIN_HEADER, "true")]


async def until_not_listening(rig: Rig) -> None:
    async def reached() -> bool:
        try:
            (await connect(rig.sidecar.port)).close()
        except ConnectionError:
            return True
        return False

    await until(reached, "the end of listening")


async def test_pipelined_requests_are_all_answered_in_a_drain(make_rig: RigFactory) -> None:
    rig = await make_rig(*QUICK)
    piped = await rig.send(b"".join(predict([row]) for row in range(3)) + b"POST /mo")
    other = await rig.send(predict([3]))
    await rig.settle()
    rig.sidecar.terminate()
    answers = [await piped.response() for _ in range(3)]
    assert [answer.predictions for answer in answers] == [[0], [1], [2]]
    assert [answer.named("Connection") for answer in answers] == [[], [], ["close"]]
    await piped.expect_end()
    assert (await other.response()).predictions == [3]
    assert await rig.sidecar.exit_code() == 0


async def test_a_stream_begun_before_the_drain_does_not_hold_up_its_end(
    make_rig: RigFactory,
) -> None:
    rig = await make_rig(*QUICK)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    rig.model.otherwise = streaming(pieces)
    client = await rig.send(request("GET", "/stream"))
    answer = Answer(client, "GET")
    assert (await answer.head()).status == 200
    rig.sidecar.terminate()
    await until_not_listening(rig)
    pieces.put_nowait(b"last")
    pieces.put_nowait(None)
    assert await answer.piece() == b"last"
    assert await answer.piece() == b""
    assert await rig.sidecar.exit_code(within_s=5) == 0


async def test_a_slow_reader_gets_its_answer_whole(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", *QUICK)
    text = "x" * (16 << 20)
    slow = await rig.connect()
    slow.pause_reading()
    slow.send(predict([text]))
    await slow.until_bytes_wait()
    rig.sidecar.terminate()
    await until_not_listening(rig)
    slow.resume_reading()
    assert (await slow.response()).predictions == [text]
    assert await rig.sidecar.exit_code() == 0


async def test_a_drain_by_two_hooks_is_not_called_off_after_sigterm(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--drain-quiet", "0.3", "--drain-timeout", "60")
    rig.model.otherwise = gate = Gate()
    held = await rig.send(predict([1]))
    await rig.model.wait_calls(1)
    hooks = [asyncio.ensure_future(rig.admin("/drain", HOOK)) for _ in range(2)]
    await rig.until_ready(False)
    gate.open()
    assert (await held.response()).predictions == [1]
    assert [hook.status for hook in await asyncio.gather(*hooks)] == [200, 200]
    rig.model.otherwise = gate = Gate()
    held = await rig.send(predict([2]))
    await rig.model.wait_calls(2)
    rig.sidecar.terminate()
    start_s = time.monotonic()
    while time.monotonic() - start_s < 11:
        assert (await rig.admin("/readyz")).status == 503
        await asyncio.sleep(0.25)
    gate.open()
    assert (await held.response()).header("Connection") == "close"
    assert await rig.sidecar.exit_code() == 0
