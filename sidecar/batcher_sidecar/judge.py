"""Decides what a call's answer means: parts for its members, or which failure to the core."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from batcher_sidecar.codecs import Bypass, NotByRows, Unsplittable
from batcher_sidecar.codecs.base import INFERENCE_HEADER_LENGTH
from batcher_sidecar.core import Answered, Event, Failed, Indivisible
from batcher_sidecar.errors import Refusal, refusal
from batcher_sidecar.http1.headers import downward_batch
from batcher_sidecar.models import Trust

if TYPE_CHECKING:
    from batcher_sidecar.batchcall import BatchCall, WholeAnswer
    from batcher_sidecar.codecs import Codec
    from batcher_sidecar.core import Call
    from batcher_sidecar.metrics import Metrics
    from batcher_sidecar.models import Models
    from batcher_sidecar.port import ClientRequest

_ISOLABLE: Final = frozenset([400, 401, 403, 413, 422, 500])
"""Statuses that one member's request may have caused (rule 9)."""


class Judge:
    """Turns answers into events of the core, and has models remembered for what they show."""

    def __init__(self, models: Models, metrics: Metrics, *, isolate: bool) -> None:
        self._models = models
        self._metrics = metrics
        self.isolate = isolate
        """Batches that fail are taken apart."""

    def judge(self, batch_call: BatchCall, answer: WholeAnswer, now_s: float) -> Event:
        """Divide an answer, or say what is wrong with it."""
        call, head = batch_call.call, answer.head
        members = call.members
        if head.status != 200:
            whole = len(members) == 1 and call.rows is None
            if not whole and not 400 <= head.status < 600:  # it may hold or lead to others' rows
                why = refusal("bad_answer", detail=f"status {head.status} cannot be divided")
                return self._failure(call, why, isolable=True)
            return self._failure(call, answer, isolable=head.status in _ISOLABLE)
        first: ClientRequest = members[0].payload
        route: Any = first.route
        codec: Codec = route.codec
        try:
            for lower, _, value in head.passing():
                if lower == b"content-encoding" and value.lower() != b"identity":
                    raise Unsplittable(f"its answer is encoded ({value.decode(errors='replace')})")
                if lower == INFERENCE_HEADER_LENGTH:
                    answer.content.json_bytes = value
            parts, dropped = codec.split(
                answer.content,
                [member.payload.parsed for member in members],
                batch_call.batch_id,
                call.rows,
            )
        except NotByRows as error:
            if (trust := _trust_of(call)) is not None:
                self._models.not_by_rows(trust, first.head.path, str(error), now_s)
            if call.rows is not None or error.answer is None:
                return self._undivided(call)
            parts, dropped = [error.answer], 0
        except Unsplittable as error:
            if len(members) > 1 or call.rows is not None:
                why = refusal("bad_answer", detail=str(error))
                return self._failure(call, why, isolable=True)
            if (trust := _trust_of(call)) is not None:
                self._models.unreadable(trust, first.head.path, str(error), now_s)
            return self._failure(call, answer, isolable=True)
        else:
            if not self._trusted(call, now_s):
                return self._undivided(call)
        if dropped:
            self._metrics.fields_dropped(dropped)
        batch_call.timing = b", model;dur=%.1f\r\n" % ((now_s - call.sent_s) * 1000)
        batch_call.answer_head = b"HTTP/1.1 200 OK\r\n%b%b" % (
            downward_batch(head, shared=len(members) > 1),
            answer.fields if call.rows is None else batch_call.fields(members[0].instances),
        )
        return Answered(call, parts)

    def lost(self, call: Call) -> None:
        """Note that a call's connection was lost."""
        if (trust := _trust_of(call)) is not None:
            self._models.lost(trust, time.monotonic())

    def _trusted(self, call: Call, now_s: float) -> bool:
        """Tell whether an answer that was divided by rows may be given to its members."""
        trust = _trust_of(call)
        if trust is None:
            return True
        return self._models.by_rows(
            trust,
            call.members[0].payload.head.path,
            call.instances,
            sent_s=call.sent_s,
            now_s=now_s,
            several=len(call.members) > 1,
            piece=call.rows is not None,
        )

    def _undivided(self, call: Call) -> Event:
        """Have the members asked for one by one, or whole: the answer is not surely by rows."""
        if call.rows is not None:
            return Failed(call, Bypass("unbatchable"), isolable=False)
        self._metrics.undivided()
        return Indivisible(call)

    def _failure(self, call: Call, failure: WholeAnswer | Refusal, *, isolable: bool) -> Failed:
        if isolable and self.isolate and len(call.members) > 1 and not call.isolating:
            self._metrics.isolated(len(call.members))
        return Failed(call, failure, isolable)


def _trust_of(call: Call) -> Trust | None:
    """Return what is known of a call's key, where it must be learnt what to do with it."""
    terms = call.members[0].terms
    return terms if isinstance(terms, Trust) else None
