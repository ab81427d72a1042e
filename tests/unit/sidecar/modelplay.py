"""Models, a clock, and a model server that answers as it is told."""

import json
from collections.abc import Callable, Sequence
from typing import cast

from batcher_sidecar.http1 import ResponseHead
from batcher_sidecar.models import Model, Models, Trust
from batcher_sidecar.upstream import Broken, Sink, Unreachable, UpstreamPool

__all__ = ["FIXED", "GOOD", "PATH", "Asked", "Play"]

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
        self.sink.on_lost(Broken("it is gone"))

    def refuse(self) -> None:
        """No connection can be made."""
        self.sink.on_lost(Unreachable("refused"))


class Play:
    """Models, a clock, and a model server that answers as it is told."""

    host_header = b"model:8080"

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked: list[Asked] = []
        self.changes = 0
        self.on_unreachable: Callable[[], None] = lambda: None
        self.models = Models(cast("UpstreamPool", self), self._changed, lambda: self.now_s)

    def _changed(self) -> None:
        self.changes += 1

    def request(
        self, sink: Sink, method: bytes, data: Sequence[bytes], *, replayable: bool
    ) -> Asked:
        assert (method, replayable, len(data)) == (b"GET", True, 1)
        self.asked.append(Asked(sink, data[0]))
        return self.asked[-1]

    def look(self, path: bytes = PATH) -> Model:
        return self.models.look(path, self.now_s)

    def trust(self, key: str = "key", path: bytes = PATH) -> Trust:
        trust = self.models.trust(self.look(path), (path, key), self.now_s)
        assert trust is not None
        return trust

    def served(
        self,
        rows: int = 1,
        *,
        key: str = "key",
        path: bytes = PATH,
        several: bool = False,
        piece: bool = False,
        sent_s: float | None = None,
    ) -> bool:
        """An answer with as many rows as were asked for; whether it may be used so."""
        return self.models.by_rows(
            self.trust(key, path), path, rows,
            sent_s=self.now_s if sent_s is None else sent_s, now_s=self.now_s,
            several=several, piece=piece,
        )  # fmt: skip

    def not_by_rows(self, key: str = "key") -> None:
        what = "output 'y' has shape [1] for 2 rows"
        self.models.not_by_rows(self.trust(key), PATH, what, self.now_s)

    def unreadable(self, key: str = "key") -> None:
        self.models.unreadable(self.trust(key), PATH, "NaN", self.now_s)

    def forwarded(self, key: str = "key") -> bool:
        model = self.look()
        trust = self.models.trust(model, (PATH, key), self.now_s)
        return model.unbatchable(self.now_s) or trust is None

    def tell(self, metadata: object, config: object = None) -> None:
        """Answer the question that is on its way, and the one about the configuration."""
        self.asked[-1].answer(200 if metadata is not None else 404, metadata)
        if self.asked[-1].target.endswith("/config"):
            self.asked[-1].answer(200 if config is not None else 404, config)

    def proved(self, *, rows: int = 1, key: str = "key") -> None:
        """Have the model known and a key proved."""
        self.look()
        self.tell(GOOD)
        assert self.served(rows, key=key)

    @property
    def batchable(self) -> bool:
        return not self.forwarded() and not self.trust().single

    @property
    def max_rows(self) -> int:
        return self.trust().max_rows
