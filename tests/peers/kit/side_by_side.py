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

__all__ = ["HASTY_MS", "ROWS", "TIMEOUT_S", "WINDOW_MS", "SideBySide"]

ROWS: Final = 12
"""The sidecar's maximum batch size: callers with so many rows together do not wait longer."""
WINDOW_MS: Final = 3000
HASTY_MS: Final = 100
"""For callers who do not fill a batch."""
TIMEOUT_S: Final = 30.0
_KNOWN_S: Final = 5.0
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class SideBySide:
    """Where both listen."""

    name: str
    model_port: int
    port: int
    admin_port: int
    _other: SideBySide | None = None
    _known: set[tuple[str, str, bytes]] = field(default_factory=set)

    @property
    def hasty(self) -> SideBySide:
        """The same server behind a sidecar of a short window."""
        assert self._other is not None
        return self._other

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

    def get_acquainted(self, model: str, half: Message) -> None:
        """Send what is half a batch twice at once until both share one, or for some seconds.

        Requests travel alone until the sidecar has seen what the server tells about a model, and
        one that is alike, but for its numbers and texts, has been answered.
        """
        known = (model, half.path, half.body)
        if known in self._known:
            return
        end_s = time.monotonic() + _KNOWN_S
        while time.monotonic() < end_s:
            answers = self.ask_at_once(model, [half] * 2)
            if all(answer.batch_rows > half.rows for answer in answers):
                break
            time.sleep(_POLL_S)
        self._known.add(known)

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
