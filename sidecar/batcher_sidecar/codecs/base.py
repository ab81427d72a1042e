"""What the sidecar knows of a protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from batcher_sidecar.codecs.signature import RowSignature


Body: TypeAlias = bytes | bytearray
"""A request's body as gathered. Never changed once it is complete."""
Piece: TypeAlias = bytes | bytearray | memoryview
"""Part of a body to send."""
Message: TypeAlias = tuple[bytes, bytes]
"""An answer to one caller: the header lines that are the codec's, and the body."""

INFERENCE_HEADER_LENGTH: Final = b"inference-header-content-length"
"""Header (lower case) that says how many bytes of a v2 body are JSON; binary tensors follow."""


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


class NotByRows(Unsplittable):
    """One of its outputs does not have the batch as its first dimension: the model does not batch.

    The members are asked for one by one, and the model is not batched for a while. ``answer`` is
    that of a lone member, which it gets all the same.
    """

    def __init__(self, what: str, answer: Message | None = None) -> None:
        super().__init__(what)
        self.answer = answer


class Content:
    """A body in the pieces in which it came."""

    __slots__ = ("json_bytes", "pieces")

    def __init__(
        self, pieces: Sequence[bytes | bytearray], json_bytes: bytes | None = None
    ) -> None:
        self.pieces = pieces
        self.json_bytes = json_bytes
        """The value of ``Inference-Header-Content-Length``, if it is an answer that has one."""

    def __len__(self) -> int:
        return sum([len(piece) for piece in self.pieces])

    @property
    def whole(self) -> bytes:
        """All of it in one; from then on that is its only piece."""
        first = self.pieces[0] if len(self.pieces) == 1 else None
        if not isinstance(first, bytes):
            first = b"".join(self.pieces)
            self.pieces = [first]
        return first


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
    describes_models: bool
    """Model servers of this protocol tell which models may be batched (``models.py``)."""
    takes_pieces: bool
    """``parse`` reads bodies that came in several pieces."""
    repeatable: bool
    """Requests that ``parse`` turns away leave nothing behind at the model server."""

    def parse(self, body: Any, fields: Mapping[bytes, bytes]) -> Any:
        """Read a request's body; ``fields`` are its headers, names in lower case.

        The body is bytes, or, where it came in pieces and the codec takes them, a ``Content``.

        Raises:
            BadRequest: it is malformed.
            Bypass: it is well-formed or beyond us, and not for batching.
        """
        ...

    def apply(self, row_mode: RowSignature) -> None:
        """Sign the rows of requests that come from now on this way."""
        ...

    def join(
        self, members: Sequence[Any], rows: tuple[int, int] | None
    ) -> tuple[bytes, list[Piece]]:
        """Make one body of members with equal keys; with ``rows``, of that range of one member.

        Returns the header lines that are the codec's, and the body: in pieces, so that what is
        large need not be copied.

        Raises:
            Bypass: one member's rows nest too deep to be taken apart.
        """
        ...

    def split(
        self,
        content: Content,
        members: Sequence[Any],
        batch_id: bytes,
        rows: tuple[int, int] | None = None,
    ) -> tuple[Sequence[Any], int]:
        """Divide an answer among its members: a ``Message`` for each.

        With ``rows`` it answers that range of one request, and its only part is for ``reunite``.
        Returns the parts and how many of the answer's fields could not be given to anyone.

        Raises:
            NotByRows: the model does not batch.
            Unsplittable: the answer does not hold as many rows as were asked for.
        """
        ...

    def reunite(self, pieces: Sequence[Any], member: Any, batch_id: bytes) -> tuple[Message, int]:
        """Make the answer to one request of those to its pieces, in order.

        Returns it and how many fields of the answers could not be put together.

        Raises:
            Unsplittable: the answers do not fit together.
        """
        ...
