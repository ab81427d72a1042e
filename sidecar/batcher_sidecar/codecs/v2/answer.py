"""Answers of the Open Inference Protocol: divided among callers, or put together."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from batcher_sidecar.codecs.base import Content, Message, NotByRows, Unsplittable
from batcher_sidecar.codecs.v2.binary import Rope
from batcher_sidecar.codecs.v2.join import own_lines
from batcher_sidecar.codecs.v2.tensors import BYTES, SIZES_BYTES, count_elements, cut_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher_sidecar.codecs.v2.request import V2Request

Raw = msgspec.Raw
_NULL: Final = b"null"
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_ARRAY: Final = re.compile(rb"\s*\[")
_SIZE: Final = "binary_data_size"
_BATCH_ID: Final = "batch_id"
_SCALAR_START: Final = frozenset(b'"-0123456789tfn')


class _Shaped(msgspec.Struct):
    shape: list[int]
    name: str = ""


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_outputs = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_decode_shapes = msgspec.json.Decoder(list[_Shaped]).decode
_decode_shape = msgspec.json.Decoder(list[int]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode_name = msgspec.json.encode

Slot = Literal["rows", "data", "size"]


class _Output:
    """One output of an answer, divided: what is everybody's, with slots for what is each one's."""

    __slots__ = ("blobs", "counts", "data", "segments")

    def __init__(
        self,
        segments: list[bytes | Slot],
        counts: Sequence[int],
        data: list[bytes],
        blobs: list[list[memoryview]],
    ) -> None:
        self.segments = segments
        self.counts = counts
        self.data = data
        self.blobs = blobs

    @property
    def nested(self) -> bool:
        """Tell whether the elements of its data are arrays."""
        return bool(self.data and _ARRAY.match(self.data[0]))

    def write(self, index: int) -> bytes:
        """Return the JSON of one caller's part."""
        filled = []
        for segment in self.segments:
            if segment == "rows":
                filled.append(b"%d" % self.counts[index])
            elif segment == "data":
                filled.append(self.data[index])
            elif segment == "size":
                filled.append(b"%d" % sum(map(len, self.blobs[index])))
            else:
                filled.append(segment)
        return b"".join(filled)


class Divided:
    """An answer in parts: its outputs, and the fields that every caller gets."""

    __slots__ = ("dropped", "outputs", "shared")

    def __init__(self, content: Content, counts: Sequence[int]) -> None:
        rope, text = _open(content)
        fields = _read_fields(text)
        outputs = _decode_outputs(fields.pop("outputs"))
        fields.pop("id", None)
        parameters = _without_batch_id(fields.pop("parameters", None))
        kept = [(name, bytes(raw)) for name, raw in fields.items()]
        shared = [(name, value) for name, value in kept if value[0] in _SCALAR_START]
        self.dropped = len(kept) - len(shared)
        self.shared = b"".join([b"%b:%b," % (_encode_name(name), raw) for name, raw in shared])
        self.shared += b'"parameters":{' + b"".join([field + b"," for field in parameters])
        self.outputs: list[_Output] = []
        offset = len(text)
        for output in outputs:
            divided, offset = _divide(output, rope, offset, counts)
            self.outputs.append(divided)
        if offset != rope.size_bytes:
            raise Unsplittable("its tensors do not fill the body")

    def message(self, index: int, own_id: bytes, batch_id: bytes) -> Message:
        """Return one caller's answer."""
        text = b'{%b%b"%b":"%b"},"outputs":[%b]}' % (
            b'"id":%b,' % own_id if own_id else b"",
            self.shared,
            _BATCH_ID.encode(),
            batch_id,
            b",".join([output.write(index) for output in self.outputs]),
        )
        blobs = [view for output in self.outputs if output.blobs for view in output.blobs[index]]
        if not any(output.blobs for output in self.outputs):
            return own_lines(-1), text
        return own_lines(len(text)), b"".join([text, *blobs])


def _open(content: Content) -> tuple[Rope, bytes]:
    """Return the whole of an answer, and its JSON."""
    if content.json_bytes is None:
        return Rope([content.whole]), content.whole
    rope = Rope(content.pieces)
    if _DIGITS.fullmatch(content.json_bytes) is None:
        raise Unsplittable("its Inference-Header-Content-Length is no number")
    json_bytes = int(content.json_bytes)
    if not 0 < json_bytes <= rope.size_bytes:
        raise Unsplittable("its Inference-Header-Content-Length is not within the body")
    return rope, b"".join(rope.cut(0, json_bytes))


def _read_fields(text: bytes) -> dict[str, Raw]:
    if not text.isascii():
        text.decode()
    fields = _decode_fields(text)
    if bytes(fields.get("outputs", b""))[:1] != b"[":
        raise Unsplittable("the answer has no list of `outputs`")
    return fields


def _without_batch_id(raw: Raw | None) -> list[bytes]:
    """Return an answer's parameters as they are written, one by one; ours takes its place."""
    if raw is None or bytes(raw) == _NULL:
        return []
    return [
        b"%b:%b" % (_encode_name(name), bytes(value))
        for name, value in _decode_fields(raw).items()
        if name != _BATCH_ID
    ]


def _divide(
    output: dict[str, Raw], rope: Rope, offset: int, counts: Sequence[int]
) -> tuple[_Output, int]:
    """Divide one output whose blob, if it has one, begins at ``offset``; return where that ends."""
    try:
        shape = _decode_shape(output["shape"])
        name, datatype = _decode_text(output["name"]), _decode_text(output["datatype"])
    except KeyError as error:
        raise Unsplittable(f"an output has no {error}") from None
    total = sum(counts)
    if not shape or shape[0] != total:
        raise NotByRows(_not_by_rows(name, shape, total))
    tail = shape[1:]
    per_row = count_elements(tail) if tail else 1
    if tail and not per_row and 0 not in tail:
        raise Unsplittable(f"output {name!r} has shape {shape}")
    parameters: dict[str, Raw] = {}
    if bytes(output.get("parameters", _NULL)) != _NULL:
        parameters = _decode_fields(output["parameters"])
    written = bytes(output.get("data", _NULL))
    segments = _segments(output, parameters, sized=written == _NULL)
    data: list[bytes] = []
    blobs: list[list[memoryview]] = []
    if written != _NULL:
        cut = cut_rows(written, counts, per_row)
        if cut is None:
            raise Unsplittable(f"output {name!r} does not hold the elements of its shape {shape}")
        data = cut
    else:
        size = bytes(parameters.get(_SIZE, b""))
        ends = None
        if _DIGITS.fullmatch(size) and offset + int(size) <= rope.size_bytes:
            ends = _blob_ends(rope, offset, int(size), datatype, [n * per_row for n in counts])
        if ends is None:
            raise Unsplittable(f"output {name!r} does not hold the elements of its shape {shape}")
        blobs = [rope.cut(start, stop) for start, stop in pairwise([offset, *ends])]
        offset = ends[-1]
    return _Output(segments, counts, data, blobs), offset


def _blob_ends(
    rope: Rope, start: int, size: int, datatype: str, counts: Sequence[int]
) -> list[int] | None:
    """Return where each count of elements of a blob ends; None if it does not hold them all."""
    if datatype == BYTES:
        return rope.string_ends(start, start + size, counts)
    item_bytes = SIZES_BYTES.get(datatype)
    if item_bytes is None or size != item_bytes * sum(counts):
        return None
    return [start + item_bytes * end for end in accumulate(counts)]


def _segments(
    output: dict[str, Raw], parameters: dict[str, Raw], *, sized: bool
) -> list[bytes | Slot]:
    """Write an output's fields in their order, with slots where each caller has its own.

    An output that is not ``sized`` has no blob, whatever its parameters say: models answer with
    those of their inputs.
    """
    segments: list[bytes | Slot] = []
    constant = b"{"
    for name, raw in output.items():
        constant += _encode_name(name) + b":"
        if name == "shape":
            _, comma, tail = bytes(raw).partition(b",")
            segments += (constant + b"[", "rows")
            constant = comma + tail if comma else b"]"
        elif name == "data" and bytes(raw) != _NULL:
            segments += (constant + b"[", "data")
            constant = b"]"
        elif name == "parameters" and _SIZE in parameters:
            constant += b"{"
            for parameter, value in parameters.items():
                if parameter != _SIZE:
                    constant += b"%b:%b," % (_encode_name(parameter), bytes(value))
                elif sized:
                    segments += (constant + _encode_name(parameter) + b":", "size")
                    constant = b","
            constant = constant.removesuffix(b",") + b"}"
        else:
            constant += bytes(raw)
        constant += b","
    segments.append(constant[:-1] + b"}")
    return segments


def divide(content: Content, counts: Sequence[int]) -> Divided:
    """Divide an answer into a part for each count of rows; see ``Codec.split``."""
    try:
        return Divided(content, counts)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unsplittable(f"the answer is no JSON object with `outputs`: {error}") from None


def name_batch(content: Content, rows: int, batch_id: bytes) -> Message:
    """Return the answer to a lone request: as it came, but for the name of the batch.

    Raises:
        NotByRows: with that answer; an output does not have so many rows.
    """
    rope, text = _open(content)
    try:
        fields: dict[str, Any] = _read_fields(text)
        parameters = _without_batch_id(fields.get("parameters"))
        shapes = _decode_shapes(fields["outputs"])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unsplittable(f"the answer is no JSON object with `outputs`: {error}") from None
    parameters.append(b'"%b":"%b"' % (_BATCH_ID.encode(), batch_id))
    fields["parameters"] = b"{%b}" % b",".join(parameters)
    written = b",".join(
        [b"%b:%b" % (_encode_name(name), bytes(raw)) for name, raw in fields.items()]
    )
    text, rest = b"{%b}" % written, rope.cut(len(text), rope.size_bytes)
    message = own_lines(-1), text
    if content.json_bytes is not None:
        message = own_lines(len(text)), b"".join([text, *rest])
    for output in shapes:
        if output.shape[:1] != [rows]:
            raise NotByRows(_not_by_rows(output.name, output.shape, rows), message)
    return message


def _not_by_rows(name: str, shape: list[int], rows: int) -> str:
    return f"output {name!r} has shape {shape} for {rows} rows"


def reunite(pieces: Sequence[Divided], member: V2Request, batch_id: bytes) -> Message:
    """Put the answers to one request's pieces together, in order; see ``Codec.reunite``."""
    last = pieces[-1]
    if len({len(piece.outputs) for piece in pieces}) > 1:
        raise Unsplittable("the answers to its pieces differ")
    for output, *others in zip(last.outputs, *[piece.outputs for piece in pieces], strict=True):
        if any(own.segments != output.segments or own.nested != output.nested for own in others):
            raise Unsplittable("the answers to its pieces differ")
        output.counts = [sum([own.counts[0] for own in others])]
        if output.blobs:
            output.blobs = [[view for own in others for view in own.blobs[0]]]
        else:
            output.data = [b",".join([own.data[0] for own in others if own.data[0]])]
    return last.message(0, member.id, batch_id)
