"""What the sidecar knows of a protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from batcher_sidecar.codecs.signature import RowSignature


Body: TypeAlias = bytes | bytearray
"""A request's body as gathered. Never changed once it is complete."""
Piece: TypeAlias = bytes | bytearray | memoryview
"""Part of a body to send."""


class BadRequest(Exception):
    """The request is wrong in itself (400). The message is meant for its sender."""


class Bypass(Exception):
    """The request is not for batching and goes to the model server as it came.

    ``reason`` is a label of the metric ``bypassed``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unsplittable(Exception):
    """An answer that cannot be divided among the members of its batch. The message says why."""


class ParsedRequest(Protocol):
    """A request that may share a batch."""

    key: Hashable
    """What two requests must have in common in their bodies to be served by one call."""

    instances: int
    """How many instances it holds, at least one."""
    alone: bool
    """Its own rows differ, so it must not share a call."""


class Codec(Protocol):
    """One protocol. ``Any`` stands for the codec's own types of requests and of pieces' parts."""

    protocol: str
    """The name of the protocol in metrics."""
    content_type: bytes
    """Content-Type of joined bodies and of answers."""

    def parse(self, body: Body) -> Any:
        """Read a request's body.

        Raises:
            BadRequest: it is malformed.
            Bypass: it is well-formed or beyond us, and not for batching.
        """
        ...

    def apply(self, row_mode: RowSignature) -> None:
        """Sign the rows of requests that come from now on this way."""
        ...

    def join(self, members: Sequence[Any], rows: tuple[int, int] | None) -> list[Piece]:
        """Make one body of members with equal keys; with ``rows``, of that range of one member.

        It comes in pieces, so that what is large need not be copied.

        Raises:
            Bypass: one member's rows nest too deep to be taken apart.
        """
        ...

    def split(
        self, body: bytes, counts: Sequence[int], *, piece: bool = False
    ) -> tuple[Sequence[Any], int]:
        """Divide an answer's body into a part for each count of instances.

        ``piece``: it answers a piece of one request, and its only part is for ``reunite``.
        Returns the parts and how many of the answer's fields could not be given to anyone.

        Raises:
            Unsplittable: the answer does not hold the sum of ``counts`` predictions.
        """
        ...

    def reunite(self, pieces: Sequence[Any]) -> tuple[bytes, int]:
        """Make one part of those of a request's pieces, in order.

        Returns the part and how many fields of the answers could not be put together.
        """
        ...

    def opening(self, batch_id: bytes) -> bytes:
        """Return what every caller's body begins with; the rest is its part."""
        ...
