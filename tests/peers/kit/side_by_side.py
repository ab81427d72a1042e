"""A model server and the sidecar in front of it, asked the same."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import requests

from tests.peers.kit.messages import Answer, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ROWS", "TIMEOUT_S", "WINDOW_MS", "SideBySide"]

ROWS: Final = 12
"""The sidecar's maximum batch size: callers with so many rows together do not wait longer."""
WINDOW_MS: Final = 3000
TIMEOUT_S: Final = 30.0
_KNOWN_S: Final = 0.5
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class SideBySide:
    """Where both listen."""

    name: str
    model_port: int
    port: int
    admin_port: int
    _known: set[str] = field(default_factory=set)

    def direct(self, model: str, sent: Message) -> Answer:
        """What the model server itself answers."""
        return self._post(self.model_port, model, sent)

    def ask(self, model: str, sent: Message) -> Answer:
        """What it answers through the sidecar."""
        return self._post(self.port, model, sent)

    def ask_at_once(self, model: str, sent: Sequence[Message]) -> list[Answer]:
        """Ask through the sidecar, each from a thread and connection of its own."""
        start = threading.Barrier(len(sent))

        def ask(one: Message) -> Answer:
            start.wait(TIMEOUT_S)
            return self.ask(model, one)

        with ThreadPoolExecutor(len(sent)) as pool:
            return list(pool.map(ask, sent))

    def get_acquainted(self, model: str, full: Message) -> None:
        """Send what fills a batch by itself until it is batched, or for a moment.

        The sidecar batches a model once it has seen what the server tells about it.
        """
        if model in self._known:
            return
        end_s = time.monotonic() + _KNOWN_S
        while not self.ask(model, full).batch_rows and time.monotonic() < end_s:
            time.sleep(_POLL_S)
        self._known.add(model)

    def metric(self, line: str) -> float:
        """The value of a metric, named with its labels as it is written; 0 if it is not there."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        for found in requests.get(url, timeout=TIMEOUT_S).text.splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0

    @staticmethod
    def _post(port: int, model: str, sent: Message) -> Answer:
        response = requests.post(
            f"http://127.0.0.1:{port}/v2/models/{model}/{sent.path}",
            data=sent.body,
            headers=dict(sent.headers),
            timeout=TIMEOUT_S,
        )
        return Answer(response.status_code, response.headers, response.content)
