"""What the model server is asked about its models, how often, and what holds while it is not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from batcher_sidecar.http1 import ResponseHead
from batcher_sidecar.models import ASK_AGAIN_S, RETRY_S
from batcher_sidecar.questions import ANSWER_WITHIN_S
from tests.unit.sidecar.modelplay import FIXED, GOOD, Play


async def test_metadata_is_asked_for_once_and_then_the_configuration(play: Play) -> None:
    model = play.look()
    assert not model.known
    assert play.look() is model
    [asked] = play.asked
    assert asked.head == (
        b"GET /v2/models/m HTTP/1.1\r\nHost: model:8080\r\nAccept: application/json\r\n"
        b"Accept-Encoding: identity\r\n\r\n"
    )
    asked.answer(200, GOOD)
    assert not model.known
    assert play.asked[1].target == "/v2/models/m/config"
    play.asked[1].answer(200, {"max_batch_size": 16})
    assert model.known
    assert (play.max_rows, model.unbatchable(play.now_s)) == (16, False)
    play.look()
    assert len(play.asked) == 2


async def test_versions_are_models_of_their_own(play: Play) -> None:
    play.look(b"/v2/models/m/versions/3/infer")
    play.look()
    assert [asked.target for asked in play.asked] == ["/v2/models/m/versions/3", "/v2/models/m"]


async def test_it_is_asked_for_again_after_a_while(play: Play) -> None:
    play.look()
    play.tell(GOOD, {"max_batch_size": 16})
    play.served()
    play.now_s += ASK_AGAIN_S - 1
    play.look()
    assert len(play.asked) == 2
    play.now_s += 1
    assert (play.batchable, play.max_rows) == (True, 16)  # what was known holds meanwhile
    assert len(play.asked) == 3
    play.tell(GOOD, {"max_batch_size": 2})
    assert play.max_rows == 2


async def test_a_model_may_become_batchable_and_cease_to_be(
    play: Play, told: Callable[[], list[str]]
) -> None:
    why = "/v2/models/m is not batched: input 'x' has shape [1, 4], not [-1, ...]"
    heard = [why, "/v2/models/m is batched from now on", why]
    for metadata, batchable, lines in (
        (FIXED, False, 1), (FIXED, False, 1), (GOOD, True, 2), (GOOD, True, 2), (FIXED, False, 3),
    ):  # fmt: skip
        play.look()
        play.tell(metadata)
        assert play.forwarded() is not batchable
        assert play.models.count_unbatchable() == (not batchable)
        assert told() == heard[:lines]
        play.now_s += ASK_AGAIN_S


async def test_a_size_of_0_forbids_batching(play: Play) -> None:
    play.look()
    play.tell(GOOD, {"max_batch_size": 0})
    assert play.look().unbatchable(play.now_s)


@pytest.mark.parametrize("content", [None, b"", b"no JSON", []])
async def test_without_metadata_a_model_is_known_once_it_has_answered(
    play: Play, content: Any
) -> None:
    play.look()
    play.tell(content)
    assert not play.look().known
    play.served()
    assert not play.batchable
    assert len(play.asked) == 2
    play.tell(content)
    assert play.batchable
    assert play.max_rows == 0
    play.served()
    assert len(play.asked) == 2


async def test_what_has_answered_meanwhile_is_asked_again_at_once(play: Play) -> None:
    """The question may have been too early."""
    play.look()
    play.served()
    play.tell(None)
    assert not play.look().known
    assert len(play.asked) == 2
    play.tell(None)
    assert play.batchable


@pytest.mark.parametrize("status", [400, 401, 404, 405, 501])
async def test_a_status_may_say_that_there_is_none(play: Play, status: int) -> None:
    play.served()
    play.asked[-1].answer(status)
    play.look()
    play.asked[-1].answer(status)
    assert play.batchable
    play.now_s += ASK_AGAIN_S - 1
    play.look()
    assert len(play.asked) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 302])
async def test_any_other_status_says_nothing(play: Play, status: int) -> None:
    play.served()
    for count in range(1, 4):
        play.look()
        assert len(play.asked) == count
        play.asked[-1].answer(status, GOOD)
        assert not play.batchable
        play.now_s += RETRY_S * 2 ** (count - 1)


async def test_what_does_not_answer_is_asked_again_soon(play: Play) -> None:
    play.look()
    play.tell(None)
    play.now_s += RETRY_S / 2
    play.look()
    assert len(play.asked) == 1
    play.now_s += RETRY_S / 2
    play.look()
    assert len(play.asked) == 2
    play.asked[-1].lose()
    play.now_s += RETRY_S
    play.look()
    play.tell(GOOD)
    play.served()
    assert play.batchable


async def test_the_configuration_may_be_what_does_not_answer(play: Play) -> None:
    play.served()
    for count in range(2):
        play.look()
        play.asked[-1].answer(200, GOOD)
        play.asked[-1].lose()
        assert not play.batchable
        play.now_s += RETRY_S * 2**count
    play.look()
    play.tell(GOOD, {"max_batch_size": 4})
    assert (play.batchable, play.max_rows) == (True, 4)


async def lose(play: Play) -> None:
    play.asked[-1].lose()


async def busy(play: Play) -> None:
    play.asked[-1].answer(503, {"error": "busy"})


@pytest.mark.parametrize("fail", [lose, busy])
@pytest.mark.parametrize("of_config", [False, True])
@pytest.mark.parametrize("size", [16, 0])
async def test_what_was_known_holds_while_there_is_no_answer(
    play: Play, fail: Callable[[Play], Any], of_config: bool, size: int
) -> None:
    play.look()
    play.tell(GOOD, {"max_batch_size": size})
    play.served()
    before = (play.batchable, play.forwarded(), play.max_rows)
    assert before == (size > 0, size == 0, size)
    play.now_s += ASK_AGAIN_S
    for count in range(1, 4):
        play.look()
        if of_config:
            play.asked[-1].answer(200, GOOD)
        await fail(play)
        assert (play.batchable, play.forwarded(), play.max_rows) == before
        assert len(play.asked) == 2 + count * (1 + of_config)
        play.now_s += RETRY_S * 2 ** (count - 1)


async def test_what_was_known_holds_when_nothing_is_said_any_more(play: Play) -> None:
    play.look()
    play.tell(GOOD, {"max_batch_size": 16})
    for _ in range(3):
        play.now_s += ASK_AGAIN_S
        play.look()
        play.tell(None)
        assert play.max_rows == 16


async def test_a_question_ends_after_5_s(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[float, Callable[[], None]]] = []

    class Timer:
        def cancel(self) -> None:
            calls.clear()

    def call_later(delay_s: float, run: Callable[[], None]) -> Timer:
        calls.append((delay_s, run))
        return Timer()

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    play.look()
    [(delay_s, run)] = calls
    assert delay_s == ANSWER_WITHIN_S == 5
    run()
    assert play.asked[0].cancelled
    assert calls == []
    play.now_s += RETRY_S
    play.look()
    assert len(play.asked) == 2
    play.tell(GOOD)
    assert calls == []


async def test_an_endless_answer_is_given_up(play: Play) -> None:
    play.look()
    sink = play.asked[0].sink
    sink.on_head(ResponseHead(200, b"OK", []), None)
    for _ in range(17):
        if not play.asked[0].cancelled:
            sink.on_body(b" " * 65536)
    assert play.asked[0].cancelled
    play.served()
    assert not play.batchable


async def test_at_most_16_questions_are_on_their_way(play: Play) -> None:
    for number in range(30):
        play.look(b"/v2/models/m%d/infer" % number)
    assert len(play.asked) == 16
    play.asked[0].lose()
    play.look(b"/v2/models/m29/infer")
    assert len(play.asked) == 17


async def test_nothing_is_asked_after_the_end(play: Play) -> None:
    play.look()
    play.look(b"/v2/models/other/infer")
    play.models.close()
    assert all(asked.cancelled for asked in play.asked)


async def test_what_a_question_does_not_need_is_passed_over(play: Play) -> None:
    play.look()
    play.asked[0].sink.on_tunnel(b"x")
    play.asked[0].sink.on_upstream_writable(writable=False)
    play.tell(GOOD)
    play.served()
    assert play.batchable
