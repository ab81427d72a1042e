"""Which models may be batched: what the model server says of them, and what their answers showed.

Only the Open Inference Protocol has such metadata: each tensor's shape, and at Triton a model's
``max_batch_size``. It is asked for once a model, on the connections that requests take, and again
after a while. Nobody waits for it: until it is known, and until a lone request was answered with as
many rows as it has, requests travel alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from batcher_sidecar.codecs.v2.metadata import obstacle, read_max_batch_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher_sidecar.http1 import ResponseHead
    from batcher_sidecar.upstream import Broken, Exchange, Unreachable, UpstreamPool

MAX_MODELS: Final = 256
"""How many models are remembered; those that never answered are forgotten first."""
ASK_AGAIN_S: Final = 60.0
"""How long metadata is taken to hold."""
UNBATCHABLE_S: Final = 60.0
"""How long a model is not batched after an answer that could not be divided by rows."""
RETRY_S: Final = 1.0
"""When to ask again where there was no answer to rely on."""
ANSWER_WITHIN_S: Final = 5.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_ASKING: Final = 16

_log = logging.getLogger(__name__)


class Model:
    """What is known of one model, or of one version of it."""

    __slots__ = (
        "ask_at_s", "asking", "known", "max_rows", "obstacle", "path", "proved", "served", "told",
        "trusted", "unbatchable_until_s",
    )  # fmt: skip

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.trusted = False
        """False while requests have to travel alone."""
        self.known = False
        """What the model server says of it, or that it says nothing, is known."""
        self.proved = False
        """Its last answer had as many rows as it was asked for."""
        self.max_rows = 0
        """How many rows one call may carry; 0 where there is no limit."""
        self.obstacle = ""
        """What in its metadata forbids batching."""
        self.unbatchable_until_s = 0.0
        """For what an answer showed."""
        self.ask_at_s = 0.0
        self.asking = False
        self.served = False  # it has answered a request: it is there, so its metadata should be
        self.told = False  # the log has its name

    def unbatchable(self, now_s: float) -> bool:
        """Tell whether its requests are forwarded one by one."""
        return bool(self.obstacle) or now_s < self.unbatchable_until_s

    def learn(self, found: str, max_rows: int) -> None:
        """Take what the model server has said."""
        if found and found != self.obstacle:
            _log.warning("%s is not batched: %s", _name(self.path), found)
        elif self.obstacle and not found:
            _log.info("%s is batched from now on", _name(self.path))
        self.known = True
        self.trusted = self.proved
        self.obstacle = found
        self.max_rows = max_rows


class Models:
    """Remembers a bounded number of models."""

    def __init__(self, pool: UpstreamPool, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock_s = clock_s
        self._loop = asyncio.get_running_loop()
        self._models: dict[bytes, Model] = {}
        self._asking: set[_Question] = set()

    def look(self, path: bytes, now_s: float) -> Model:
        """Return what is known of the model whose ``…/infer`` this is; ask if it is time to."""
        model = self._models.get(path)
        if model is None:
            if len(self._models) >= MAX_MODELS:
                self._forget_one()
            model = self._models[path] = Model(path)
        if now_s >= model.ask_at_s and not model.asking and len(self._asking) < _MAX_ASKING:
            self._asking.add(_Question(self, model))
        return model

    def _forget_one(self) -> None:
        """Forget the oldest of those that never answered, or else the oldest."""
        names = iter(self._models)
        idle = next((name for name in names if not self._models[name].served), None)
        del self._models[next(iter(self._models)) if idle is None else idle]

    def served(self, path: bytes, now_s: float, *, divided: bool) -> None:
        """Note an answer with as many rows as were asked for; ``divided`` among several."""
        model = self._models.get(path)
        if model is None:
            return
        if divided:
            model.told = False
        elif now_s >= model.unbatchable_until_s:
            model.proved = True
            model.trusted = model.known
        self._is_there(model, now_s)

    def _is_there(self, model: Model, now_s: float) -> None:
        if not model.served:
            model.served = True
            if not model.known:
                model.ask_at_s = now_s

    def not_by_rows(self, path: bytes, what: str, now_s: float) -> None:
        """Note an answer with other rows than the model was asked for."""
        model = self._models.get(path)
        if model is None:
            return
        self._is_there(model, now_s)
        model.proved = model.trusted = False
        model.unbatchable_until_s = now_s + UNBATCHABLE_S
        if not model.told:
            model.told = True
            _log.warning(
                "%s is not batched: %s; tried again every %g s", _name(path), what, UNBATCHABLE_S
            )

    def count_unbatchable(self) -> int:
        """Return how many models are not batched at present."""
        now_s = self._clock_s()
        return sum([model.unbatchable(now_s) for model in self._models.values()])

    def close(self) -> None:
        """Ask no more."""
        for question in list(self._asking):
            question.give_up()

    # --- for the questions ----------------------------------------------------------------------

    def ask(self, question: _Question, target: bytes) -> Exchange:
        """Send a question."""
        head = (
            b"GET %b HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n"
            b"Accept-Encoding: identity\r\n\r\n" % (target, self._pool.host_header)
        )
        return self._pool.request(question, b"GET", [head], replayable=True)

    def later(self, question: _Question) -> asyncio.TimerHandle:
        """See to it that a question has an end."""
        return self._loop.call_later(ANSWER_WITHIN_S, question.too_late)

    def done(self, question: _Question) -> None:
        """A question has its answer, or will have none."""
        self._asking.discard(question)
        model = question.model
        model.asking = False
        model.ask_at_s = self._clock_s() + ASK_AGAIN_S
        if not model.known:
            if question.of_one_that_serves:
                model.learn("", 0)  # it does not tell; its answers will
            else:
                model.ask_at_s = self._clock_s() + RETRY_S


class _Question:
    """Asks for a model's metadata, then for its configuration (``upstream.Sink``)."""

    def __init__(self, models: Models, model: Model) -> None:
        model.asking = True
        self.model = model
        self.of_one_that_serves = model.served
        self._models = models
        self._obstacle: str | None = None
        self._status = 0
        self._answer = bytearray()
        self._timer = models.later(self)
        self._path = model.path.rpartition(b"/")[0]
        self._exchange = models.ask(self, self._path)

    def give_up(self) -> None:
        """Forget it."""
        self._timer.cancel()
        self._exchange.cancel()

    def too_late(self) -> None:
        """There is no answer within the time."""
        self._exchange.cancel()
        self._end()

    def _end(self) -> None:
        self._timer.cancel()
        self._models.done(self)

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None:
        """The answer begins."""
        self._status = head.status

    def on_body(self, data: bytes) -> None:
        """More of the answer."""
        self._answer += data
        if len(self._answer) > _MAX_ANSWER_BYTES:
            self.too_late()

    def on_end(self) -> None:
        """The answer is complete."""
        answer = bytes(self._answer) if self._status == 200 else b""
        if self._obstacle is None:
            self._obstacle = obstacle(answer)
            if self._obstacle is None:
                self._end()
            elif self._obstacle:
                self.model.learn(self._obstacle, 0)
                self._end()
            else:
                self._answer.clear()
                self._status = 0
                self._exchange = self._models.ask(self, self._path + b"/config")
            return
        size = read_max_batch_size(answer)
        found = "max_batch_size is 0" if size == 0 else ""
        self.model.learn(found, size or 0)
        self._end()

    def on_lost(self, error: Unreachable | Broken) -> None:
        """There will be no answer."""
        self._end()

    def on_tunnel(self, data: bytes) -> None:
        """Not asked for."""

    def on_upstream_writable(self, *, writable: bool) -> None:
        """The question is short."""


def _name(path: bytes) -> str:
    """Return a path as it is written in the log."""
    return path.rpartition(b"/")[0].decode(errors="replace")
