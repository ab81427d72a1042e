"""The Open Inference Protocol, version 2: named tensors with shapes, in JSON or in binary form.

``tensors.py`` is about data as JSON, ``binary.py`` about blobs, ``request.py``, ``join.py`` and
``answer.py`` about the messages, ``metadata.py`` about what model servers say of their models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher_sidecar.codecs.v2.answer import Divided, divide, name_batch, reunite
from batcher_sidecar.codecs.v2.join import join_requests
from batcher_sidecar.codecs.v2.request import V2Request, read_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher_sidecar.codecs.base import Body, Content, Message, Piece
    from batcher_sidecar.codecs.signature import RowSignature

__all__ = ["V2Codec", "V2Request"]


class V2Codec:
    """The Open Inference Protocol (``docs/rules.md``)."""

    protocol = "v2"
    describes_models = True
    takes_pieces = True
    repeatable = False  # they may be steps of a sequence

    def parse(self, body: Body | Content, fields: Mapping[bytes, bytes]) -> V2Request:
        """Read a request's body; see ``Codec.parse``."""
        return read_request(body, fields)

    def apply(self, row_mode: RowSignature) -> None:
        """Do nothing: the shapes of tensors are always part of the key."""

    def join(
        self, members: Sequence[V2Request], rows: tuple[int, int] | None
    ) -> tuple[bytes, list[Piece]]:
        """Join each input's data, and add the first dimensions up; see ``Codec.join``."""
        return join_requests(members, rows)

    def split(
        self,
        content: Content,
        members: Sequence[V2Request],
        batch_id: bytes,
        rows: tuple[int, int] | None = None,
    ) -> tuple[Sequence[Any], int]:
        """Divide every output by rows; each caller gets its ``id`` back. See ``Codec.split``."""
        if rows is not None:
            return [divide(content, [rows[1] - rows[0]])], 0
        if len(members) == 1:
            return [name_batch(content, members[0].instances, batch_id)], 0
        divided = divide(content, [member.instances for member in members])
        messages = [
            divided.message(index, member.id, batch_id) for index, member in enumerate(members)
        ]
        return messages, divided.dropped

    def reunite(
        self, pieces: Sequence[Divided], member: V2Request, batch_id: bytes
    ) -> tuple[Message, int]:
        """Join the outputs of one request's pieces; see ``Codec.reunite``."""
        return reunite(pieces, member, batch_id), pieces[-1].dropped
