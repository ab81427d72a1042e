"""What is remembered of models, for how long, and when it is asked for."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from batcher_sidecar.http1 import ResponseHead
from batcher_sidecar.models import (
    ANSWER_WITHIN_S,
    ASK_AGAIN_S,
    MAX_MODELS,
    RETRY_S,
    UNBATCHABLE_S,
    Model,
    Models,
)
from batcher_sidecar.upstream import Broken, Sink, UpstreamPool

PATH = b"/v2/models/m/infer"
GOOD = {"inputs": [{"name": "x", "shape": [-1, 4]}], "outputs": [{"name": "y", "shape": [-1]}]}
FIXED = {"inputs": [{"name": "x", "shape": [1, 4]}], "outputs": []}


class Asked:
    """A question on its way to the model server."""

    def __init__(self, sink: Sink, head: bytes) -> None:
        self.sink = sink
        self.head = head
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    @property
    def target(self) -> str:
        return self.head.split(b" ")[1].decode()

    def answer(self, status: int, content: object = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.sink.on_head(ResponseHead(status, b"OK", []), len(body))
        for start in range(0, len(body), 7):
            self.sink.on_body(body[start : start + 7])
        self.sink.on_end()

    def lose(self) -> None:
        self.sink.on_lost(Broken("gone"))


class Play:
    """Models, a clock, and a model server that answers as it is told."""

    host_header = b"model:8080"

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked: list[Asked] = []
        self.models = Models(cast("UpstreamPool", self), lambda: self.now_s)

    def request(
        self, sink: Sink, method: bytes, data: Sequence[bytes], *, replayable: bool
    ) -> Asked:
        assert (method, replayable, len(data)) == (b"GET", True, 1)
        self.asked.append(Asked(sink, data[0]))
        return self.asked[-1]

    def look(self, path: bytes = PATH) -> Model:
        return self.models.look(path, self.now_s)

    def served(self, *, divided: bool = False) -> None:
        self.models.served(PATH, self.now_s, divided=divided)

    def not_by_rows(self) -> None:
        self.models.not_by_rows(PATH, "output 'y' has shape [1] for 2 rows", self.now_s)

    def tell(self, metadata: object, config: object = None) -> None:
        """Answer the question that is on its way, and the one about the configuration."""
        self.asked[-1].answer(200 if metadata is not None else 404, metadata)
        if self.asked[-1].target.endswith("/config"):
            self.asked[-1].answer(200 if config is not None else 404, config)

    @property
    def batchable(self) -> bool:
        model = self.look()
        return model.trusted and not model.unbatchable(self.now_s)


@pytest.fixture
async def play() -> Play:
    return Play()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.INFO)
    yield lambda: [record.getMessage() for record in caplog.records]


async def test_metadata_is_asked_for_once_and_then_the_configuration(play: Play) -> None:
    model = play.look()
    assert not model.trusted
    assert play.look() is model
    [asked] = play.asked
    assert asked.head == (
        b"GET /v2/models/m HTTP/1.1\r\nHost: model:8080\r\nAccept: application/json\r\n"
        b"Accept-Encoding: identity\r\n\r\n"
    )
    asked.answer(200, GOOD)
    assert not model.trusted
    assert play.asked[1].target == "/v2/models/m/config"
    play.asked[1].answer(200, {"max_batch_size": 16})
    assert (model.max_rows, model.unbatchable(play.now_s)) == (16, False)
    play.look()
    assert len(play.asked) == 2


async def test_a_model_is_batched_after_one_answer_by_rows(play: Play) -> None:
    play.look()
    play.tell(GOOD)
    assert not play.batchable
    play.served()
    assert play.batchable


async def test_the_answer_may_come_before_the_metadata(play: Play) -> None:
    play.look()
    play.served()
    assert not play.batchable
    play.tell(GOOD)
    assert play.batchable


async def test_versions_are_models_of_their_own(play: Play) -> None:
    play.look(b"/v2/models/m/versions/3/infer")
    play.look()
    assert [asked.target for asked in play.asked] == ["/v2/models/m/versions/3", "/v2/models/m"]


async def test_it_is_asked_for_again_after_a_while(play: Play) -> None:
    play.look()
    play.served()
    play.tell(GOOD, {"max_batch_size": 16})
    play.now_s += ASK_AGAIN_S - 1
    play.look()
    assert len(play.asked) == 2
    play.now_s += 1
    model = play.look()
    assert (model.trusted, model.max_rows) == (True, 16)  # what was known holds meanwhile
    play.look()
    assert len(play.asked) == 3
    play.tell(GOOD, {"max_batch_size": 2})
    assert model.max_rows == 2


async def test_a_model_may_become_batchable_and_cease_to_be(
    play: Play, told: Callable[[], list[str]]
) -> None:
    why = "/v2/models/m is not batched: input 'x' has shape [1, 4], not [-1, ...]"
    heard = [why, "/v2/models/m is batched from now on", why]
    play.look()
    play.served()
    for metadata, batchable, lines in (
        (FIXED, False, 1), (FIXED, False, 1), (GOOD, True, 2), (GOOD, True, 2), (FIXED, False, 3),
    ):  # fmt: skip
        play.look()
        play.tell(metadata)
        assert play.batchable is batchable
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
    assert not play.look().trusted
    play.served()
    play.look()
    assert len(play.asked) == 2
    play.tell(content)
    assert play.batchable
    assert play.look().max_rows == 0
    play.served()
    play.look()
    assert len(play.asked) == 2


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


async def test_what_was_known_holds_when_nothing_is_said_any_more(play: Play) -> None:
    play.served()
    play.look()
    play.tell(GOOD, {"max_batch_size": 16})
    for _ in range(3):
        play.now_s += ASK_AGAIN_S
        play.look()
        play.tell(None)
        assert play.look().max_rows == 16
    play.now_s += ASK_AGAIN_S
    play.look()
    play.asked[-1].answer(200, GOOD)
    play.asked[-1].lose()
    assert play.look().max_rows == 16


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


async def test_who_cannot_divide_is_not_batched_for_a_minute_and_then_asked_alone(
    play: Play, told: Callable[[], list[str]]
) -> None:
    play.look()
    play.tell(GOOD)
    play.served()
    for _ in range(3):
        play.not_by_rows()
        play.served()  # one that was on its way
        assert not play.batchable
        assert play.models.count_unbatchable() == 1
        play.now_s += UNBATCHABLE_S
        assert not play.look().unbatchable(play.now_s)
        assert not play.batchable
    play.served()
    assert play.batchable
    assert told() == [
        "/v2/models/m is not batched: output 'y' has shape [1] for 2 rows; tried again every 60 s"
    ]
    play.served(divided=True)
    play.not_by_rows()
    assert len(told()) == 2


async def test_made_up_names_do_not_drive_out_models_that_serve(play: Play) -> None:
    play.look()
    play.served()
    for number in range(2 * MAX_MODELS):
        play.look(b"/v2/models/made-up-%d/infer" % number)
    assert play.look().served
    assert len(play.asked) <= 16


async def test_many_models_that_serve_drive_out_the_oldest(play: Play) -> None:
    for number in range(MAX_MODELS + 1):
        path = b"/v2/models/m%d/infer" % number
        play.look(path)
        play.models.served(path, play.now_s, divided=False)
    assert not play.look(b"/v2/models/m0/infer").served
    assert play.look(b"/v2/models/m2/infer").served


async def test_what_was_forgotten_meanwhile_is_not_missed(play: Play) -> None:
    play.served(divided=True)
    play.not_by_rows()
    assert not play.look().trusted
    for number in range(MAX_MODELS):
        play.look(b"/v2/models/made-up-%d/infer" % number)
    play.asked[0].answer(200, GOOD)
    assert play.models.count_unbatchable() == 0


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
