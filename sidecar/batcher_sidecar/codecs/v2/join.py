"""Requests of the Open Inference Protocol joined into one, or one of them cut in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from batcher_sidecar.codecs.arrays import NumberRows
from batcher_sidecar.codecs.base import Content, Piece
from batcher_sidecar.codecs.v2.binary import StrideRows, StringRows
from batcher_sidecar.codecs.v2.request import BINARY_SIZE, TensorKey, V2Request
from batcher_sidecar.codecs.v2.tensors import BYTES, SIZES_BYTES, ElementRows, count_elements

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGE_PIECE_BYTES: Final = 4096
"""Pieces larger than this on average are passed on from where they lie, not copied."""


class Rows(Protocol):
    """One tensor of a request that is sent in pieces."""

    def cut(self, start: int, stop: int) -> Sequence[Piece]:
        """Return the data of a range of rows. Cheapest where ranges are asked for in order."""
        ...


def own_lines(json_bytes: int) -> bytes:
    """Return the header lines of a message; ``json_bytes`` is -1 where it has no blobs."""
    if json_bytes < 0:
        return b"Content-Type: application/json\r\n"
    return (
        b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n"
        % json_bytes
    )


def join_requests(
    members: Sequence[V2Request], rows: tuple[int, int] | None
) -> tuple[bytes, list[Piece]]:
    """Make one request; a member that travels alone and whole goes as it came."""
    first = members[0]
    if rows is None and len(members) == 1:
        has_blobs = 0 <= first.json_bytes < len(first.body)
        whole = first.body.pieces if isinstance(first.body, Content) else [first.body]
        return own_lines(first.json_bytes if has_blobs else -1), [*whole]
    total = rows[1] - rows[0] if rows is not None else sum([one.instances for one in members])
    text: list[Piece] = []
    blobs: list[Piece] = []
    before = b'{"inputs":['
    for index, (name, datatype, tail, others, form) in enumerate(first.tensors):
        dimensions = b"".join([b",%d" % length for length in tail])
        text.append(
            b'%b{"name":%b,"shape":[%d%b],"datatype":"%b"'
            % (before, name, total, dimensions, datatype.encode())
        )
        before = b","
        if form == "binary":
            blob = _cut(first, index, rows) if rows else _blob(members, index)
            size = b'"%b":%d' % (BINARY_SIZE.encode(), sum(map(len, blob)))
            text.append(b',"parameters":{%b}}' % (b"%b,%b" % (others, size) if others else size))
            blobs += blob
            continue
        parameters = b',"parameters":{%b}' % others if others else b""
        text.append(b'%b,"data":[' % parameters)
        if rows is not None:
            text += (*_cut(first, index, rows), b"]}")
            continue
        for member in members:
            text += (memoryview(member.data[index])[1:-1], b",")
        text[-1] = b"]}"
    text.append(b"]%b}" % first.rest)
    lines = own_lines(sum(map(len, text)) if blobs else -1)
    pieces = text + blobs
    if sum(map(len, pieces)) <= len(pieces) * _LARGE_PIECE_BYTES:
        return lines, [b"".join(pieces)]
    return lines, pieces


def _blob(members: Sequence[V2Request], index: int) -> list[Piece]:
    return [view for member in members for view in member.data[index]]


def _cut(request: V2Request, index: int, rows: tuple[int, int]) -> Sequence[Piece]:
    """Return a range of the rows of one tensor; what finds them is kept for the next range."""
    if request.rows is None:
        request.rows = [
            _rows_of(tensor, data, request.instances)
            for tensor, data in zip(request.tensors, request.data, strict=True)
        ]
    found: Rows = request.rows[index]
    return found.cut(*rows)


def _rows_of(tensor: TensorKey, data: Any, rows: int) -> Rows:
    _, datatype, tail, _, form = tensor
    per_row = count_elements(tail) if tail else 1
    if form == "binary":
        if datatype == BYTES:
            return StringRows(data, rows, per_row)
        return StrideRows(data, per_row * SIZES_BYTES[datatype])
    if datatype == BYTES:
        return ElementRows(data, per_row if form == "flat" else 1)
    return NumberRows(memoryview(data)[1:-1], per_row)
