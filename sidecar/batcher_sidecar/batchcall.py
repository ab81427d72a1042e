"""One call to the model server on behalf of a batch, and the answer that it gathers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher_contract.names import BATCH_ID_HEADER, BATCH_SIZE_HEADER
from batcher_sidecar.codecs import Content
from batcher_sidecar.errors import refusal

if TYPE_CHECKING:
    from batcher_sidecar.core import Call
    from batcher_sidecar.http1 import ResponseHead
    from batcher_sidecar.runtime import Runtime
    from batcher_sidecar.upstream import Broken, Exchange, Unreachable

_BATCH_FIELDS: Final = f"{BATCH_ID_HEADER}: %b\r\n{BATCH_SIZE_HEADER}: %d\r\n".encode()


class WholeAnswer:
    """A call's whole answer as the model server gave it.

    ``fields`` names the call's batch; ``shared`` tells whether it is that of several members.
    """

    __slots__ = ("content", "fields", "head", "shared")

    def __init__(
        self, head: ResponseHead, content: Content, fields: bytes, *, shared: bool
    ) -> None:
        self.head = head
        self.content = content
        self.fields = fields
        self.shared = shared


class Gathering:
    """The answers that the calls sent under one ``max-queue-bytes`` gather at the same time.

    Where all together exceed the limit, the call with the longest is given up, so that no other
    fails because of it. An answer that comes in one piece is gone before another piece comes, and
    does not count.
    """

    __slots__ = ("_calls", "_gathered_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._calls: set[BatchCall] = set()
        self._gathered_bytes = 0

    def add(self, call: BatchCall, size_bytes: int) -> BatchCall | None:
        """Count more of a call's answer; return the call to give up, if it is too much."""
        self._calls.add(call)
        call.answer_bytes += size_bytes
        self._gathered_bytes += size_bytes
        if self._gathered_bytes <= self.limit_bytes:
            return None
        return max(self._calls, key=lambda other: other.answer_bytes)

    def end(self, call: BatchCall) -> None:
        """A call's answer is complete or given up."""
        self._calls.discard(call)
        self._gathered_bytes -= call.answer_bytes
        call.answer_bytes = 0


class BatchCall:
    """One call in flight; gathers its answer (``upstream.Sink``)."""

    __slots__ = (
        "_head", "_pieces", "_runtime", "answer_bytes", "answer_head", "batch_id", "call",
        "counted_bytes", "exchange", "gathering", "left_bytes", "timing",
    )  # fmt: skip

    def __init__(self, runtime: Runtime, call: Call, batch_id: bytes) -> None:
        self._runtime = runtime
        self.gathering = runtime.gathering  # whose limit holds to the call's end
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self.call = call
        self.batch_id = batch_id
        self.counted_bytes = 0
        self.answer_bytes = 0  # as far as `gathering` knows of them
        self.left_bytes = 0
        """Reserved for the bodies of members that have left."""
        self.exchange: Exchange | None = None
        self.answer_head = b""
        self.timing = b""

    def fields(self, size: int) -> bytes:
        """Return the header lines that name the batch."""
        return _BATCH_FIELDS % (self.batch_id, size)

    def count(self, size_bytes: int) -> None:
        """Count bytes that this call holds against the budget."""
        self.counted_bytes += size_bytes
        self._runtime.budget.add(size_bytes)

    def on_head(self, head: ResponseHead, body_bytes: int | None) -> None:
        """The answer begins."""
        if head.status == 101:
            self._break_off("it switches protocols unasked")
        self._head = head

    def on_body(self, data: bytes) -> None:
        """More of the answer, counted against the budget so that others wait outside."""
        pieces = self._pieces
        pieces.append(data)
        self.count(len(data))
        if len(pieces) > 1 or len(data) > self.gathering.limit_bytes:
            self._gather(len(data) if self.answer_bytes else sum([len(piece) for piece in pieces]))

    def _gather(self, size_bytes: int) -> None:
        excessive = self.gathering.add(self, size_bytes)
        if excessive is not None:
            excessive._break_off(
                f"its answer, alone or with others that came meanwhile, exceeds "
                f"{self.gathering.limit_bytes} bytes (--max-queue-bytes)"
            )

    def on_end(self) -> None:
        """The answer is complete."""
        if self._head is not None:
            content = Content(self._pieces)
            fields = self.fields(self.call.instances)
            shared = len(self.call.members) > 1
            self._runtime.answered(self, WholeAnswer(self._head, content, fields, shared=shared))

    def on_lost(self, error: Unreachable | Broken) -> None:
        """There is no usable answer."""
        self._runtime.failed(self, refusal(error.reason, detail=str(error)), lost=True)

    def _break_off(self, detail: str) -> None:
        if self.exchange is not None:
            self.exchange.cancel()
        self._runtime.failed(self, refusal("bad_answer", detail=detail))

    def on_tunnel(self, data: bytes) -> None:
        """Not asked for."""

    def on_upstream_writable(self, *, writable: bool) -> None:
        """The body has been handed over whole; the transport holds what is not yet sent."""
