"""Answers of the v1 protocol: divided among callers, or put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from batcher_sidecar.codecs.base import Content, Message, Unsplittable
from batcher_sidecar.codecs.limits import demand_utf8
from batcher_sidecar.codecs.v1.request import LINES, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher_sidecar.codecs.v1.request import V1Request

Raw = msgspec.Raw
_SCALAR_START = frozenset(b'"-0123456789tfn')
_BRACKET = ord("[")


class _Response(msgspec.Struct, forbid_unknown_fields=True):
    """The common answer, read in one pass."""

    predictions: list[Raw]


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_rows = msgspec.json.Decoder(list[Raw]).decode


class V1Piece:
    """The answer to a piece of one request (rule 5)."""

    __slots__ = ("arrays", "others")

    def __init__(self, rows: list[Raw], fields: dict[str, Raw]) -> None:
        self.arrays = {"predictions": b",".join(rows)}
        """What stands between the brackets of each array that is as long as the piece."""
        self.others: dict[str, bytes] = {}
        for name, raw in fields.items():
            value = bytes(raw)
            elements = _decode_rows(value) if value[0] == _BRACKET else []
            if len(elements) == len(rows):
                self.arrays[name] = b",".join(elements)
            else:
                self.others[name] = value

    def has_array(self, name: str) -> bool:
        """Tell whether a field is an array of any length."""
        return name in self.arrays or self.others.get(name, b"")[:1] == b"["


def split_answer(
    content: Content,
    members: Sequence[V1Request],
    batch_id: bytes,
    rows: tuple[int, int] | None,
) -> tuple[list[Any], int]:
    """Divide ``predictions``, and what else is as long; see ``Codec.split``."""
    body = content.whole
    if rows is not None:
        counts = [rows[1] - rows[0]]
    else:
        counts = [member.instances for member in members]
    total = sum(counts)
    try:
        if not body.isascii():
            demand_utf8(body)
        try:
            predictions = _decode_response(body).predictions
            others: dict[str, Raw] = {}
        except msgspec.ValidationError:
            others = _decode_fields(body)
            predictions = _decode_rows(others.pop("predictions"))
            others.pop("message", None)  # of a batcher behind us: ours take their place
            others.pop("batchId", None)
        if len(predictions) == total:
            if rows is not None:
                return [V1Piece(predictions, others)], 0
            if len(counts) > 1:
                return _divide(predictions, others, counts, _opening(batch_id))
    except KeyError:
        raise Unsplittable("the answer has no `predictions`") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unsplittable(f"the answer is no JSON object with `predictions`: {error}") from None
    if len(predictions) != total:
        raise Unsplittable(f"the answer has {len(predictions)} predictions for {total} instances")
    rest = render([(name, bytes(raw)) for name, raw in others.items()])
    return [(LINES, b"%b[%b]%b}" % (_opening(batch_id), b",".join(predictions), rest))], 0


def reunite_pieces(pieces: Sequence[V1Piece], batch_id: bytes) -> tuple[Message, int]:
    """Put the answers to one request's pieces together; see ``Codec.reunite``.

    Arrays as long as their pieces are put together, other fields are those of the last.
    """
    names = dict.fromkeys([name for piece in pieces for name in (*piece.arrays, *piece.others)])
    fields: list[tuple[str, bytes]] = []
    dropped = 0
    for name in names:
        arrays = [piece.arrays[name] for piece in pieces if name in piece.arrays]
        if len(arrays) == len(pieces):
            fields.append((name, b"[%b]" % b",".join(arrays)))
        elif any(piece.has_array(name) for piece in pieces):
            dropped += 1
        elif name in pieces[-1].others:
            fields.append((name, pieces[-1].others[name]))
    (_, rows), *rest = fields
    return (LINES, b"%b%b%b}" % (_opening(batch_id), rows, render(rest))), dropped


def _opening(batch_id: bytes) -> bytes:
    """Return KServe's fields, with which a caller's body begins."""
    return b'{"message":"","batchId":"%b","predictions":' % batch_id


def _divide(
    rows: list[Raw], others: dict[str, Raw], counts: Sequence[int], opening: bytes
) -> tuple[list[Message], int]:
    """Split among several: scalars are everybody's, arrays as long as the batch are divided."""
    shared: list[tuple[str, bytes]] = []
    divided: list[tuple[str, list[Raw]]] = []
    dropped = 0
    for name, raw in others.items():
        value = bytes(raw)
        if value[0] in _SCALAR_START:
            shared.append((name, value))
            continue
        elements = _decode_rows(value) if value[0] == _BRACKET else []
        if len(elements) == len(rows):
            divided.append((name, elements))
        else:
            dropped += 1
    opening += b"["
    end = b"]%b}" % render(shared)
    if len(counts) == len(rows) and not divided:
        return [(LINES, b"".join((opening, row, end))) for row in rows], dropped
    parts: list[Message] = []
    start = 0
    for count in counts:
        stop = start + count
        if divided:
            own = [(name, b"[%b]" % b",".join(raws[start:stop])) for name, raws in divided]
            end = b"]%b}" % render([*shared, *own])
        parts.append((LINES, b"".join((opening, b",".join(rows[start:stop]), end))))
        start = stop
    return parts, dropped
