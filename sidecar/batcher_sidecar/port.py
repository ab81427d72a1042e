"""What passes between a client's connection and the rest of the data port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from batcher_sidecar.codecs import Content
    from batcher_sidecar.core import ByteBudget, Request
    from batcher_sidecar.errors import Refusal
    from batcher_sidecar.flow import Flow
    from batcher_sidecar.http1 import RequestHead
    from batcher_sidecar.proxy import Forward
    from batcher_sidecar.router import Route, Router
    from batcher_sidecar.server import ClientConnection
    from batcher_sidecar.upstream import UpstreamPool


class ClientRequest:
    """One request of a connection and its place in the order of answers."""

    # Defaults stand on the class, so that making one on the hot path sets only what differs.
    pieces: list[bytes | bytearray] | None = None
    """The body as far as it has come, while it is gathered."""
    received_bytes: int = 0
    reserved_bytes: int = 0
    """Of the byte budget, until the answer is written."""
    body: bytes | Content | None = None
    """The whole body, where it was gathered; in pieces, where its codec takes them."""
    core: Request | None = None
    """What the core knows it as, once it waits."""
    parsed: Any = None
    """What the codec made of its body."""
    batch_id: bytes = b""
    """That its pieces share, where it is sent in pieces."""
    forward: Forward | None = None
    started: bool = False
    """The head of a streamed answer is written."""
    answer: tuple[bytes, bytes] | None = None
    """Open head and body of a whole answer."""

    def __init__(self, conn: ClientConnection, head: RequestHead, route: Route) -> None:
        self.conn = conn
        self.head = head
        self.route = route
        self.keep_alive = head.keep_alive
        self.unread = head.body_bytes != 0
        """Part of the body is still to come."""


class DataPort(Protocol):
    """What the connections share."""

    router: Router
    pool: UpstreamPool
    budget: ByteBudget
    draining: bool
    timeout_s: float
    last_request_s: float
    """When the last request other than a probe came, on the monotonic clock."""

    def opened(self, connection: Flow) -> None:
        """A client has connected."""

    def closed(self, connection: Flow) -> None:
        """A connection is gone."""

    def queue_full(self) -> Refusal | None:
        """Return the refusal for a predict request that would find no place to wait."""

    def submit(self, request: ClientRequest, now_s: float) -> None:
        """A batch candidate is complete since ``now_s``; answer by ``request.conn.respond``."""

    def left(self, request: ClientRequest) -> None:
        """The client of a submitted request has gone."""

    def probe(self, request: ClientRequest) -> None:
        """Answer a readiness probe."""

    def count(self, request: ClientRequest, status: int) -> None:
        """An answer has been given."""

    def count_bypassed(self, reason: str) -> None:
        """A request is forwarded instead of batched."""

    def count_refused(self, reason: str) -> None:
        """A request is refused by ourselves."""
