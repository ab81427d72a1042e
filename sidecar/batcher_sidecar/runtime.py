"""Joins the core to the event loop: events with a time go in, commands are carried out.

A predict request's way: ``submit`` (codec reads it, the core queues it) → ``Send`` (one call to
the model server) → ``BatchCall`` gathers the answer → ``Judge`` splits it → ``Answer`` to each.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from batcher_sidecar.batchcall import BatchCall, Gathering, WholeAnswer
from batcher_sidecar.codecs import BadRequest, Bypass, Unsplittable
from batcher_sidecar.core import (
    Answer,
    Batcher,
    Cancel,
    Command,
    Draining,
    Event,
    Fail,
    Failed,
    Left,
    Refuse,
    Request,
    Send,
    SettingsChanged,
    TermsChanged,
    Tick,
    WakeAt,
)
from batcher_sidecar.errors import Refusal, refusal
from batcher_sidecar.http1.headers import (
    batch_head,
    downward_failure,
    merge_upward,
    upward,
)
from batcher_sidecar.judge import Judge
from batcher_sidecar.models import Models

if TYPE_CHECKING:
    from batcher_contract import BatcherSettings
    from batcher_sidecar.codecs import Codec, Codecs
    from batcher_sidecar.core import ByteBudget, Call
    from batcher_sidecar.metrics import Metrics
    from batcher_sidecar.port import ClientRequest
    from batcher_sidecar.upstream import UpstreamPool

_TIMER_SLACK_MS: Final = 0.02
"""What a time may miss a whole millisecond by without being rounded up to the next."""


class Runtime:
    """Carries predict requests from the data port through the core to the model server and back."""

    def __init__(
        self,
        settings: BatcherSettings,
        codecs: Codecs,
        pool: UpstreamPool,
        budget: ByteBudget,
        metrics: Metrics,
    ) -> None:
        self.budget = budget
        self.gathering = Gathering(settings.max_queue_bytes)
        self._settings = settings
        self._codecs = codecs
        self._pool = pool
        self._metrics = metrics
        self._batcher = Batcher(settings)
        self._models = Models(pool, lambda: self._handle(TermsChanged()))
        self._judge = Judge(self._models, metrics, isolate=settings.isolate_failures)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        metrics.bind(
            queued_requests=lambda: self._batcher.waiting,
            queued_bytes=lambda: budget.used_bytes,
            batches_in_flight=lambda: self._batcher.in_flight,
            unbatchable_models=self._models.count_unbatchable,
        )

    # --- from the data port ---------------------------------------------------------------------

    def queue_full(self) -> Refusal | None:
        """Return the refusal for a request that would find no place to wait."""
        limit = self._settings.max_queue_size
        return refusal("queue_full", limit=limit) if self._batcher.waiting >= limit else None

    def submit(self, client: ClientRequest, now_s: float) -> None:
        """Take a complete predict request; its answer goes to its connection."""
        route: Any = client.route  # a BatchRoute: no other is submitted
        codec: Codec = route.codec
        try:
            if codec.describes_models:
                request = self._read_described(client, codec, now_s)
            else:
                head = client.head
                parsed = client.parsed = codec.parse(client.body or b"", head.fields)
                request = Request(
                    (route.key, parsed.key), head.path, parsed.instances, client, parsed.alone
                )  # fmt: skip
        except BadRequest as error:
            client.conn.refuse(client, refusal("invalid_body", detail=str(error)))
            return
        except Bypass as bypass:
            client.conn.forward_instead(client, bypass.reason)
            return
        except Exception as error:
            self._report(error)
            client.conn.refuse(client, refusal("internal"))
            return
        client.core = request
        commands = self._batcher.handle(request, now_s)
        if commands:
            self._carry_out(commands, now_s)

    def _read_described(self, client: ClientRequest, codec: Codec, now_s: float) -> Request:
        """Read a request to a model of which the model server tells whether it may be batched."""
        route: Any = client.route
        model = self._models.look(client.head.path, now_s)
        if model.unbatchable(now_s):
            raise Bypass("unbatchable")
        parsed = client.parsed = codec.parse(client.body or b"", client.head.fields)
        key = (route.key, parsed.key)
        trust = self._models.trust(model, key, now_s)
        if trust is None:
            raise Bypass("unbatchable")
        if trust.whole and 0 < self._settings.hard_max_batch_size < parsed.instances:
            raise Bypass("unbatchable")  # it would be sent in pieces
        return Request(key, client.head.path, parsed.instances, client, parsed.alone, trust)

    def left(self, client: ClientRequest) -> None:
        """Forget a request whose client has gone."""
        if client.core is not None:
            _leave_reservation(client.core)
            self._handle(Left(client.core))
            client.core = None  # as once it is answered

    def model_not_ready(self) -> None:
        """Note that the model server's own probe fails."""
        self._models.unreachable()

    def drain(self, *, active: bool) -> None:
        """End all windows at once, or open them again."""
        self._handle(Draining(active))

    def apply(self, settings: BatcherSettings) -> None:
        """Batch by these settings from now on; what waits is looked at again."""
        self._settings = settings
        if settings.max_queue_bytes != self.gathering.limit_bytes:
            self.gathering = Gathering(settings.max_queue_bytes)
        self._codecs.apply(settings.row_signature)
        self._judge.isolate = settings.isolate_failures
        self._handle(SettingsChanged(settings))

    def close(self) -> None:
        """Stop the timer, and ask about no more models."""
        self._models.close()
        if self._timer is not None:
            self._timer.cancel()

    # --- from the model server ------------------------------------------------------------------

    def answered(self, batch_call: BatchCall, answer: WholeAnswer) -> None:
        """A call has its answer: split it, or let the core decide what its failure means."""
        now_s = time.monotonic()
        call = batch_call.call
        self._metrics.upstream_seconds.observe(now_s - call.sent_s)
        try:
            event = self._judge.judge(batch_call, answer, now_s)
        except Exception as error:
            self._report(error)
            event = Failed(call, refusal("internal"), isolable=False)
        self._end(batch_call)
        self._handle(event, now_s)
        call.payload = None

    def failed(self, batch_call: BatchCall, why: Refusal, *, lost: bool = False) -> None:
        """A call has no answer, as its connection was ``lost`` or for the answer's own faults.

        That is nobody's fault among its members.
        """
        self._end(batch_call)
        call = batch_call.call
        if lost:
            self._judge.lost(call)
        self._handle(Failed(call, why, isolable=False))
        call.payload = None

    def _end(self, batch_call: BatchCall) -> None:
        if batch_call.answer_bytes:
            batch_call.gathering.end(batch_call)
        self.budget.release(batch_call.counted_bytes + batch_call.left_bytes)
        batch_call.counted_bytes = batch_call.left_bytes = 0
        batch_call.exchange = None

    # --- commands -------------------------------------------------------------------------------

    def _handle(self, event: Event, now_s: float | None = None) -> None:
        """Give the core an event and do what it says."""
        if now_s is None:
            now_s = time.monotonic()
        self._carry_out(self._batcher.handle(event, now_s), now_s)

    def _carry_out(self, commands: list[Command], now_s: float) -> None:
        for command in commands:
            try:
                match command:
                    case Answer():
                        self._answer(command)
                    case Send():
                        self._send(command.call, now_s)
                    case WakeAt():  # before any other, which may lead to another
                        self._wake_at(command.when_s, now_s)
                    case Fail():
                        self._fail(command)
                    case Refuse():
                        self._refuse(command)
                    case Cancel():
                        self._cancel(command.call)
            except Exception as error:
                self._contain(command, error)

    def _contain(self, command: Command, error: Exception) -> None:
        """Let an unexpected error harm those alone whom the command was about."""
        self._report(error)
        if isinstance(command, Send):
            if command.call.payload is not None:
                self._end(command.call.payload)
            self._handle(Failed(command.call, refusal("internal"), isolable=False))
            command.call.payload = None
        elif isinstance(command, Answer):
            for member in command.members:
                member.payload.conn.abort()
        elif isinstance(command, Fail | Refuse):
            command.request.payload.conn.abort()

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": "unexpected error in a predict request", "exception": error}
        )

    def _send(self, call: Call, now_s: float) -> None:
        clients: list[ClientRequest] = [member.payload for member in call.members]
        first = clients[0]
        whole = len(clients) == 1 and call.rows is None  # its body goes as it came
        try:
            own_lines, body = _codec_of(first).join(
                [client.parsed for client in clients], call.rows
            )
        except Bypass as bypass:
            self._handle(Failed(call, bypass, isolable=False), now_s)
            return
        if call.rows is None or call.rows[0] == 0:
            first.batch_id = str(uuid.uuid4()).encode()
            if not call.isolating:
                self._metrics.batch_sent(call.trigger, len(clients), call.instances)
                waits_s = [now_s - member.arrived_s for member in call.members]
                self._metrics.queue_seconds.observe_all(waits_s)
        body_bytes = sum([len(piece) for piece in body])
        head = batch_head(
            first.head.path + first.head.query,
            merge_upward([upward(client.head) for client in clients], whole=whole),
            self._pool.host_header,
            own_lines,
            body_bytes,
        )
        batch_call = call.payload = BatchCall(self, call, first.batch_id)
        if not whole:  # else it is the client's own, and counted
            batch_call.count(sum([len(piece) for piece in body if isinstance(piece, bytes)]))
        batch_call.exchange = self._pool.request(
            batch_call, b"POST", [head, *body], replayable=True
        )

    def _cancel(self, call: Call) -> None:
        batch_call: BatchCall = call.payload
        if batch_call.exchange is not None:
            batch_call.exchange.cancel()
        self._end(batch_call)
        call.payload = None

    def _wake_at(self, when_s: float, now_s: float) -> None:
        """Set the timer, rounded up to the millisecond that event loops count in."""
        if self._timer is not None:
            self._timer.cancel()
        delay_ms = math.ceil((when_s - now_s) * 1000 - _TIMER_SLACK_MS)
        self._timer = self._loop.call_later(max(0, delay_ms) / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._handle(Tick())

    def _answer(self, command: Answer) -> None:
        call, members, parts = command.call, command.members, command.parts
        batch_call: BatchCall = call.payload
        first: ClientRequest = members[0].payload
        codec = _codec_of(first)
        if call.rows is not None:
            try:
                message, dropped = codec.reunite(parts[0], first.parsed, batch_call.batch_id)
            except Unsplittable as error:
                first.conn.refuse(first, refusal("bad_answer", detail=str(error)))
                return
            parts = [message]
            self._metrics.fields_dropped(dropped)
        route: Any = first.route  # all have the same path, and so the same model
        self._metrics.request_done(codec.protocol, route.model, 200, len(members))
        before, after, sent_s = batch_call.answer_head, batch_call.timing, call.sent_s
        for member, (own_lines, body) in zip(members, parts, strict=True):
            client: ClientRequest = member.payload
            try:
                queue_ms = (sent_s - member.arrived_s) * 1000
                head = b"%b%bServer-Timing: queue;dur=%.1f%bContent-Length: %d\r\n" % (
                    before, own_lines, queue_ms, after, len(body),
                )  # fmt: skip
                client.conn.give(client, head, body)
            except Exception as error:
                self._report(error)
                client.conn.abort()

    def _fail(self, command: Fail) -> None:
        client, failure = command.request.payload, command.failure
        if isinstance(failure, Refusal):
            client.conn.refuse(client, failure)
        elif isinstance(failure, Bypass):
            client.conn.forward_instead(client, failure.reason)
        elif isinstance(failure, WholeAnswer):
            head, body = failure.head, failure.content.whole
            lines = b"HTTP/1.1 %d %b\r\n%b%b" % (
                head.status,
                head.reason,
                downward_failure(head, shared=failure.shared),
                failure.fields,
            )
            if head.status not in (204, 304):  # RFC 9110 section 8.6
                lines += b"Content-Length: %d\r\n" % len(body)
            client.conn.respond(client, head.status, lines, body)

    def _refuse(self, command: Refuse) -> None:
        client = command.request.payload
        _leave_reservation(command.request)
        if command.reason == "deadline":
            refused = refusal("deadline", limit_s=self._settings.timeout_s)
        else:
            refused = refusal("queue_full", limit=self._settings.max_queue_size)
        client.conn.refuse(client, refused)


def _leave_reservation(request: Request) -> None:
    """Let a call in flight hold the bytes of a member that leaves: it refers to them to its end."""
    call = request.call
    if call is not None and not call.ended and call.payload is not None:
        client: ClientRequest = request.payload
        call.payload.left_bytes += client.reserved_bytes
        client.reserved_bytes = 0


def _codec_of(client: ClientRequest) -> Codec:
    """Return the protocol of a batch candidate."""
    route: Any = client.route
    codec: Codec = route.codec
    return codec
