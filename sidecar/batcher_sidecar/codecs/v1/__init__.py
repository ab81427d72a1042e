"""The v1 REST protocol: ``{"instances": [...], ...}`` to ``{"predictions": [...], ...}``.

Only the row form is batched; the columnar form (``inputs``) of TensorFlow Serving is not.
``request.py`` is about requests, ``answer.py`` about answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batcher_sidecar.codecs.base import BadRequest, Body, Bypass, Content, Message, Piece
from batcher_sidecar.codecs.limits import SHORT_KEY_BYTES, demand_utf8
from batcher_sidecar.codecs.signature import RowSignature, row_signature
from batcher_sidecar.codecs.v1.answer import V1Piece, reunite_pieces, split_answer
from batcher_sidecar.codecs.v1.request import (
    LINES,
    UNREADABLE,
    Fields,
    V1Request,
    decode_request,
    key_of,
    make_request,
    read_large,
    read_uncommon,
    render,
    rest_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["V1Codec", "V1Request"]

NO_INSTANCES: Final = "no instances in the request"

Raw = msgspec.Raw
_UNSET = msgspec.UNSET
_CONSTANT = re.compile(rb"NaN|Infinity")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LARGE_BYTES: Final = 64 * 1024
"""Larger requests are tried as tensors first."""
_LARGE_ROW_BYTES: Final = 4096
"""Rows larger than this on average are passed on from where they lie, not copied."""


class V1Codec:
    """KServe's v1 protocol (``docs/rules.md``, rules 1 and 11)."""

    protocol = "v1"
    takes_pieces = False
    repeatable = True

    def __init__(self, row_mode: RowSignature) -> None:
        self.describes_models = False  # found sooner on the object than on its class
        self._row_mode = row_mode

    def apply(self, row_mode: RowSignature) -> None:
        """Sign the rows of requests that come from now on this way."""
        self._row_mode = row_mode

    def parse(self, body: Body, fields: Mapping[bytes, bytes]) -> V1Request:
        """Read a request's body; see ``Codec.parse``."""
        try:
            if not body.isascii():
                demand_utf8(body)  # Raw does not check it, and one bad string would harm a batch
            if len(body) > _LARGE_BYTES:
                request = read_large(body, self._row_mode)
                if request is not None:
                    return request
            try:
                common = decode_request(body)
                rows = common.instances
                if common.signature_name is _UNSET is common.parameters:
                    rest: Fields = ()
                else:
                    rest = rest_of(common)
            except msgspec.ValidationError:
                rows, rest = read_uncommon(body)
            mode = self._row_mode
            if len(rows) == 1:
                signature = row_signature(bytes(rows[0]), mode)
                if rest or len(signature) > SHORT_KEY_BYTES:
                    return V1Request(body, rows, key_of(signature, rest), rest=rest)
                return V1Request(body, rows, (signature, ()))
            signatures = [row_signature(bytes(row), mode) for row in rows]
        except UnicodeDecodeError as error:
            raise BadRequest(
                f"{UNREADABLE}: not UTF-8 at byte {error.start}; send JSON in UTF-8"
            ) from None
        except RecursionError:
            raise Bypass("nesting") from None
        except msgspec.DecodeError as error:
            if _CONSTANT.search(body):
                raise Bypass("nan") from None
            if _SURROGATE.search(body):
                raise Bypass("surrogate") from None
            raise BadRequest(f"{UNREADABLE}: {error}; send one JSON object") from None
        if not rows:
            raise BadRequest(f"{NO_INSTANCES}: `instances` is empty; send at least one")
        return make_request(body, rows, signatures, rest)

    def join(
        self, members: Sequence[V1Request], rows: tuple[int, int] | None
    ) -> tuple[bytes, list[Piece]]:
        """Make one body; a member that travels alone and whole goes as it came."""
        inner: Sequence[Raw | memoryview]
        first = members[0]
        if rows is not None:
            try:
                inner = first.cut(*rows)
            except RecursionError:
                raise Bypass("nesting") from None
        elif len(members) == 1:
            return LINES, [first.body]
        else:
            inner = [row for member in members for row in member.inner]
        end = b"]%b}" % render(first.rest)
        if (
            len(first.body) <= _LARGE_ROW_BYTES
            or sum(map(len, inner)) <= len(inner) * _LARGE_ROW_BYTES
        ):
            return LINES, [b'{"instances":[' + b",".join(inner) + end]
        pieces: list[Piece] = [b'{"instances":[']
        for piece in inner:
            pieces += (memoryview(piece), b",")
        pieces[-1] = end
        return LINES, pieces

    def split(
        self,
        content: Content,
        members: Sequence[V1Request],
        batch_id: bytes,
        rows: tuple[int, int] | None = None,
    ) -> tuple[list[Any], int]:
        """Divide ``predictions``, and what else is as long; see ``Codec.split``."""
        return split_answer(content, members, batch_id, rows)

    def reunite(
        self, pieces: Sequence[V1Piece], member: V1Request, batch_id: bytes
    ) -> tuple[Message, int]:
        """Put the answers to one request's pieces together; see ``Codec.reunite``."""
        return reunite_pieces(pieces, batch_id)
