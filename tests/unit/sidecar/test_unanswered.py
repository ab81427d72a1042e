"""What becomes of models of which the model server says nothing to rely on, for long."""

import asyncio
from collections.abc import Callable

import pytest

from batcher_sidecar.models import ASK_AGAIN_S, LASTING_S, RETRY_S
from tests.unit.sidecar.modelplay import FIXED, GOOD, Asked, Play


def busy(asked: Asked) -> None:
    asked.answer(503, {"error": "busy"})


FAILURES = (Asked.lose, busy)


def waited_s(play: Play) -> float:
    """How long the clock goes on until the next question; it is looked at every half second."""
    asked, since_s = len(play.asked), play.now_s
    while len(play.asked) == asked and play.now_s < since_s + 1000:
        play.now_s += 0.5
        play.look()
    return play.now_s - since_s


async def test_what_does_not_answer_is_asked_ever_more_seldom(play: Play) -> None:
    play.served()
    waits_s = []
    for fail in FAILURES * 4:
        fail(play.asked[-1])
        waits_s.append(waited_s(play))
    assert waits_s == [1, 2, 4, 8, 16, 32, ASK_AGAIN_S, ASK_AGAIN_S]
    play.tell(GOOD)
    assert waited_s(play) == ASK_AGAIN_S
    play.asked[-1].lose()
    assert waited_s(play) == RETRY_S


async def test_where_there_is_no_server_it_is_asked_as_soon_as_there_is(play: Play) -> None:
    """It may be another one then, and what it says of its models is needed at once."""
    play.proved()
    play.now_s += ASK_AGAIN_S
    play.look()
    for _ in range(4):
        busy(play.asked[-1])
        waited_s(play)
    busy(play.asked[-1])
    play.on_unreachable()
    assert waited_s(play) <= RETRY_S
    busy(play.asked[-1])
    assert waited_s(play) == RETRY_S
    for _ in range(8):
        play.asked[-1].refuse()
        assert waited_s(play) == RETRY_S
    busy(play.asked[-1])
    assert waited_s(play) == RETRY_S


async def test_a_model_that_begins_to_serve_is_asked_about_at_once(play: Play) -> None:
    play.look()
    for _ in range(8):
        busy(play.asked[-1])
        waited_s(play)
    busy(play.asked[-1])
    asked = len(play.asked)
    play.served()
    play.look()
    assert len(play.asked) == asked + 1
    busy(play.asked[-1])
    assert waited_s(play) == RETRY_S


def until_it_lasts(play: Play, fail: Callable[[Asked], None]) -> None:
    """Let questions fail until the next one is as far away as is told of, but the last."""
    delay_s = RETRY_S
    while delay_s < LASTING_S:
        fail(play.asked[-1])
        waited_s(play)
        delay_s *= 2


@pytest.mark.parametrize(
    ("fail", "what"),
    [
        (lambda asked: asked.answer(500), "GET /v2/models/m is answered with status 500"),
        (lambda asked: asked.answer(302), "GET /v2/models/m is answered with status 302"),
        (Asked.lose, "GET /v2/models/m is not answered (it is gone)"),
    ],
)
async def test_a_model_that_serves_and_never_says_what_it_takes_is_told_of_once(
    play: Play, told: Callable[[], list[str]], fail: Callable[[Asked], None], what: str
) -> None:
    play.served()
    until_it_lasts(play, fail)
    assert (told(), play.models.count_unbatchable()) == ([], 0)
    for _ in range(3):
        fail(play.asked[-1])
        [line] = told()
        assert line == (
            f"/v2/models/m is not batched, its requests are sent one by one: {what} each time; "
            "have the model server answer that, with 404 where it has nothing to say; asked again "
            "within 60 s"
        )
        assert (play.models.count_unbatchable(), play.forwarded()) == (1, False)
        waited_s(play)
    play.tell(None)
    assert (play.batchable, play.models.count_unbatchable()) == (True, 0)
    assert told()[1:] == ["/v2/models/m is batched from now on"]


async def test_it_is_told_which_of_the_two_questions_that_is(
    play: Play, told: Callable[[], list[str]]
) -> None:
    def fail(asked: Asked) -> None:
        asked.answer(200, GOOD)
        play.asked[-1].answer(503)

    play.served()
    until_it_lasts(play, fail)
    fail(play.asked[-1])
    assert "GET /v2/models/m/config is answered with status 503 each time" in told()[0]


async def test_what_it_says_at_last_may_forbid_batching(
    play: Play, told: Callable[[], list[str]]
) -> None:
    play.served()
    until_it_lasts(play, Asked.lose)
    play.asked[-1].lose()
    waited_s(play)
    play.tell(FIXED)
    assert play.models.count_unbatchable() == 1
    assert [line.partition(":")[0] for line in told()] == [
        "/v2/models/m is not batched, its requests are sent one by one",
        "/v2/models/m is not batched",
    ]


@pytest.mark.parametrize("served", [False, True])
async def test_nothing_is_told_of_what_has_not_answered_or_was_known(
    play: Play, told: Callable[[], list[str]], served: bool
) -> None:
    if served:
        play.proved()
        play.now_s += ASK_AGAIN_S
    play.look()
    for fail in FAILURES * 6:
        fail(play.asked[-1])
        waited_s(play)
    assert (told(), play.batchable) == ([], served)


async def test_nothing_is_told_where_there_is_no_server(
    play: Play, told: Callable[[], list[str]]
) -> None:
    play.served()
    for _ in range(100):
        play.asked[-1].refuse()
        waited_s(play)
    assert told() == []


async def test_a_question_that_always_takes_too_long_is_told_of(
    play: Play, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[Callable[[], None]] = []

    def call_later(_: float, run: Callable[[], None]) -> asyncio.Handle:
        timers.append(run)
        return asyncio.Handle(run, (), asyncio.get_running_loop())

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    play.served()
    until_it_lasts(play, lambda _: timers[-1]())
    timers[-1]()
    assert "GET /v2/models/m is not answered within 5 s each time" in told()[0]
