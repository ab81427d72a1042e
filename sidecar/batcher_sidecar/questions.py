"""Asks the model server about a model: for its metadata, then for its configuration."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batcher_sidecar.codecs.v2.metadata import obstacle, read_max_batch_size
from batcher_sidecar.upstream import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher_sidecar.http1 import ResponseHead
    from batcher_sidecar.upstream import Broken, Exchange, UpstreamPool

ANSWER_WITHIN_S: Final = 5.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_PASSING: Final = frozenset([408, 425, 429])
"""Statuses of requests that may be answered another time."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model server says of a model."""

    told: bool = False
    """It has metadata."""
    text: int = 0
    """Differs, like enough, where the text of the metadata does."""
    obstacle: str = ""
    """What forbids batching."""
    max_rows: int = 0
    """How many rows one call may carry; 0 where there is no limit, or none is told."""


class Question:
    """One question and its answer (``upstream.Sink``). It ends in exactly one call of ``done``."""

    def __init__(
        self, pool: UpstreamPool, target: bytes, done: Callable[[Question, Facts | None], None]
    ) -> None:
        """Ask; ``done`` gets the facts, or None where there was no answer to rely on."""
        self._pool = pool
        self._target = target
        self._done = done
        self._of_metadata = True
        self._text = 0
        self._status = 0
        self._answer = bytearray()
        self.failure = ""
        """What was asked and what came of it, where that is no answer to rely on.

        Empty where no connection could be made: that says nothing of the question.
        """
        self._timer = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, self._too_late)
        self._exchange = self._ask(target)

    def _ask(self, target: bytes) -> Exchange:
        head = (
            b"GET %b HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n"
            b"Accept-Encoding: identity\r\n\r\n" % (target, self._pool.host_header)
        )
        return self._pool.request(self, b"GET", [head], replayable=True)

    def give_up(self) -> None:
        """Forget it; ``done`` is not called."""
        self._timer.cancel()
        self._exchange.cancel()

    def _too_late(self) -> None:
        self._exchange.cancel()
        self._fail(f"is not answered within {ANSWER_WITHIN_S:g} s")

    def _fail(self, what: str) -> None:
        target = self._target if self._of_metadata else self._target + b"/config"
        self.failure = f"GET {target.decode(errors='replace')} {what}"
        self._end(None)

    def _end(self, facts: Facts | None) -> None:
        self._timer.cancel()
        self._done(self, facts)

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None:
        """The answer begins."""
        self._status = head.status

    def on_body(self, data: bytes) -> None:
        """More of the answer."""
        self._answer += data
        if len(self._answer) > _MAX_ANSWER_BYTES:
            self._exchange.cancel()
            self._answer.clear()  # whatever that is, it does not tell
            self.on_end()

    def on_end(self) -> None:
        """The answer is complete, or as much of it as is read."""
        answer = bytes(self._answer)
        if self._status != 200:
            if not _has_none(self._status):
                self._fail(f"is answered with status {self._status}")
                return
            answer = b""
        if self._of_metadata:
            self._on_metadata(answer)
        else:
            size = read_max_batch_size(answer)
            found = "max_batch_size is 0" if size == 0 else ""
            self._end(Facts(True, self._text, found, size or 0))

    def _on_metadata(self, answer: bytes) -> None:
        found = obstacle(answer)
        if found is None:
            self._end(Facts())
            return
        self._text = hash(answer)
        if found:
            self._end(Facts(True, self._text, found))
            return
        self._of_metadata = False
        self._answer.clear()
        self._exchange = self._ask(self._target + b"/config")

    def on_lost(self, error: Unreachable | Broken) -> None:
        """There will be no answer."""
        if isinstance(error, Unreachable):
            self._end(None)
        else:
            self._fail(f"is not answered ({error})")

    def on_tunnel(self, data: bytes) -> None:
        """Not asked for."""

    def on_upstream_writable(self, *, writable: bool) -> None:
        """The question is short."""


def _has_none(status: int) -> bool:
    """Tell whether a status says that there is no such thing, now and later."""
    return (400 <= status < 500 and status not in _PASSING) or status == 501
