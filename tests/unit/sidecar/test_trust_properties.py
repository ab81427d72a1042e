"""Whatever a model answers and whoever asks when: nobody gets a value that it would not get alone.

Models have outputs by rows and outputs with a first dimension that only looks like it at times. The
runtime is the real one, with calls answered in any order by the test.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from batcher_contract import BatcherSettings
from batcher_sidecar.codecs import Codecs
from batcher_sidecar.core import ByteBudget
from batcher_sidecar.errors import Refusal
from batcher_sidecar.http1 import RequestHead, ResponseHead
from batcher_sidecar.metrics import Metrics
from batcher_sidecar.port import ClientRequest
from batcher_sidecar.router import Batch
from batcher_sidecar.runtime import Runtime
from batcher_sidecar.upstream import Broken, Sink, UpstreamPool

Rows = list[list[int]]
Output = tuple[list[int], list[Any]]
"""Shape and data."""

Models = dict[str, dict[str, str]]
"""For each model, what each of its outputs is."""

KINDS = ("by rows", "by rows", "turned", "reduced", "fixed 2", "fixed 4")


def output_of(kind: str, rows: Rows) -> Output:
    """One output of a model."""
    if kind == "by rows":
        return [len(rows), 1], [[7 * sum(row)] for row in rows]
    if kind == "turned":
        turned = [list(column) for column in zip(*rows, strict=True)]
        return [len(turned), len(rows)], turned
    if kind == "reduced":
        return [1], [sum(map(sum, rows))]
    length = int(kind.partition(" ")[2])
    return [length], [f"label {number}" for number in range(length)]


class Client:
    """Takes the answer to one request (`server.ClientConnection`)."""

    def __init__(self, model: str, rows: Rows, outputs: Sequence[str]) -> None:
        self.model = model
        self.rows = rows
        self.outputs = outputs
        self.answer: dict[str, Output] | None = None
        self.forwarded = self.refused = False

    def give(self, request: ClientRequest, head: bytes, body: bytes) -> None:
        assert not self.ended
        found = json.loads(body)["outputs"]
        self.answer = {output["name"]: (output["shape"], output["data"]) for output in found}

    def respond(self, request: ClientRequest, status: int, head: bytes, body: bytes) -> None:
        raise AssertionError(f"{status}: {body!r}")

    def forward_instead(self, request: ClientRequest, reason: str) -> None:
        assert not self.ended
        self.forwarded = True

    def refuse(self, request: ClientRequest, refused: Refusal) -> None:
        assert not self.ended
        self.refused = True

    @property
    def ended(self) -> bool:
        return self.answer is not None or self.forwarded or self.refused

    @property
    def body(self) -> bytes:
        tensor = {"name": "x", "shape": [len(self.rows), len(self.rows[0])], "datatype": "INT64"}
        names = [{"name": name} for name in self.outputs]
        return json.dumps({"inputs": [{**tensor, "data": self.rows}], "outputs": names}).encode()


@dataclass
class Call:
    """A request to the model server that it has not answered yet."""

    sink: Sink
    method: bytes
    data: bytes
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class World:
    """A runtime between clients and models (`upstream.UpstreamPool`)."""

    models: Models
    limits: dict[str, Any]
    host_header: bytes = b"model"
    on_unreachable: Callable[[], None] = lambda: None
    calls: list[Call] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._codecs = Codecs.of("shape")
        of = BatcherSettings(**self.limits, max_latency_ms=1)
        budget = ByteBudget(1 << 30)
        pool = cast("UpstreamPool", self)
        self.runtime = Runtime(of, self._codecs, pool, budget, Metrics())
        self.runtime.drain(active=True)  # windows end at once: batches are what waits for a slot

    def request(
        self, sink: Sink, method: bytes, data: Sequence[bytes], **_: object
    ) -> Call:
        self.calls.append(Call(sink, method, b"".join(data)))
        return self.calls[-1]

    def ask(self, model: str, rows: Rows, outputs: Sequence[str]) -> None:
        client = Client(model, rows, outputs)
        self.clients.append(client)
        path = f"/v2/models/{model}/infer".encode()
        route = Batch((path,), model, self._codecs.v2)
        conn = cast("Any", client)
        request = ClientRequest(conn, RequestHead(b"POST", path, http11=True), route)
        request.body = client.body
        self.runtime.submit(request, time.monotonic())
        self._tell()

    def serve(self, which: int) -> None:
        """Answer one of the calls."""
        self.calls = [call for call in self.calls if not call.cancelled]
        if not self.calls:
            return
        call = self.calls.pop(which % len(self.calls))
        call.sink.on_head(ResponseHead(200, b"OK", []), None)
        call.sink.on_body(self._infer(call.data))
        call.sink.on_end()

    def _tell(self) -> None:
        """Answer what is asked about models: they are there, but nobody knows their shapes."""
        while asked := [call for call in self.calls if call.method == b"GET"]:
            for call in asked:
                self.calls.remove(call)
                told = b"{}" if b"/config" not in call.data else b""
                call.sink.on_head(ResponseHead(200 if told else 404, b"", []), len(told))
                call.sink.on_body(told)
                call.sink.on_end()

    def _infer(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        kinds = self.models[head.split(b"/")[3].decode()]
        asked = json.loads(body)
        [tensor] = asked["inputs"]
        assert tensor["shape"] == [len(tensor["data"]), len(tensor["data"][0])]
        outputs = []
        for wanted in asked["outputs"]:
            shape, data = output_of(kinds[wanted["name"]], tensor["data"])
            kind = "BYTES" if isinstance(data[0], str) else "INT64"
            outputs.append({**wanted, "shape": shape, "datatype": kind, "data": data})
        return json.dumps({"model_name": "m", "outputs": outputs}).encode()

    def restart(self, models: Models) -> None:
        """The models are others from now on; who waits for the old ones is told so."""
        self.check()
        lost, self.calls = self.calls, []
        self.models = models
        self.on_unreachable()
        for call in lost:
            if not call.cancelled:
                call.sink.on_lost(Broken("gone"))
        self.clients = [client for client in self.clients if not client.ended]

    def check(self) -> None:
        for client in self.clients:
            if client.answer is not None:
                for name in client.outputs:
                    alone = output_of(self.models[client.model][name], client.rows)
                    assert client.answer[name] == alone

    def finish(self) -> None:
        for _ in range(10_000):
            if not self.calls:
                break
            self.serve(0)
        assert all(client.ended for client in self.clients)
        self.check()
        assert self.runtime.budget.used_bytes == 0
        self.runtime.close()


MODELS = st.fixed_dictionaries(
    {name: st.fixed_dictionaries({out: st.sampled_from(KINDS) for out in "pq"}) for name in "abcd"}
)
GROUP = st.tuples(
    st.sampled_from("abcd"),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([("p",), ("q",), ("p", "q")]),
    st.lists(st.sampled_from([1, 1, 2, 3, 4]), min_size=4, max_size=8),
)
"""Callers of a model: how wide their rows are, which outputs they want, how many rows each has."""
STEPS = st.lists(
    st.one_of([GROUP] * 6 + [st.lists(st.integers(0, 9), min_size=4, max_size=12)] * 3 + [MODELS]),
    min_size=8,
    max_size=20,
)
LIMITS = st.fixed_dictionaries(
    {
        "max_batch_size": st.sampled_from([2, 4, 4, 32]),
        "hard_max_batch_size": st.sampled_from([0, 0, 32]),
        "max_concurrency": st.sampled_from([1, 1, 2]),
    }
).map(lambda found: found if found["max_batch_size"] > 2 else {**found, "hard_max_batch_size": 2})


async def play(models: Models, limits: dict[str, Any], steps: Sequence[Any]) -> None:
    world = World(models, limits)
    number = 0
    for step in steps:
        if isinstance(step, list):
            for which in step:
                world.serve(which)
        elif isinstance(step, dict):
            world.restart(step)
        else:
            model, width, wanted, counts = step
            for count in counts:
                rows = [[10 * row + column for column in range(width)] for row in range(count)]
                number += 1
                world.ask(model, [[100 * number + n for n in row] for row in rows], wanted)
    world.finish()


@settings(max_examples=300)
@given(MODELS, LIMITS, STEPS)
def test_nobody_gets_what_it_would_not_get_alone(
    models: Models, limits: dict[str, Any], steps: Sequence[Any]
) -> None:
    asyncio.run(play(models, limits, steps))
