"""The codec of the Open Inference Protocol, judged by a plain reading of its messages."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batcher_sidecar.codecs import BadRequest, Bypass, Content, NotByRows, Unsplittable
from batcher_sidecar.codecs.v2 import V2Codec, V2Request
from tests.fuzz.engine import Fault, smaller_bytes, smaller_list
from tests.fuzz.json_text import strict_loads
from tests.fuzz.mutate import JSON_TOKENS, cuts, mutate
from tests.fuzz.tensor_text import Shape, message, shapes

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

__all__ = ["TensorCase", "TensorTarget"]

_BATCH_ID: Final = b"0d7ac3a4-70ea-4b6c-8d2c-3f2f7f4c1f6e"
_HEADER: Final = b"inference-header-content-length"
_SIZES_BYTES: Final = {"FP32": 4, "FP16": 2, "UINT8": 1, "INT64": 8, "BOOL": 1}
_TOKENS: Final = (
    *JSON_TOKENS, b'"shape":', b'"shape":[1]', b'"datatype":"FP32"', b'"data":', b'"data":[]',
    b'"name":"x"', b'"id":"a",', b'"id":1,', b'"outputs":[],', b'"parameters":{},', b"[1]", b"1",
    b'"parameters":{"binary_data_size":4}', b'"parameters":{"timeout":1},', b"BYTES", b"INT64",
    b'"inputs":[]', b'"inputs":', b"\0\0\0\0", b"\1\0\0\0", b"\xff\xff\xff\xff",
)  # fmt: skip

Tensors = list[tuple[Any, str, list[int], list[Any]]]
"""Name, datatype, shape and elements of each."""


@dataclass(slots=True)
class TensorCase:
    """Some requests, and an answer to be divided by ``counts``. Bytes stand as Latin-1.

    The length of a message's JSON is -1 where it has no blobs.
    """

    bodies: list[tuple[str, int]] = field(default_factory=list)
    piece: int = 0
    """Where one request is cut in two, as if it exceeded the hard limit."""
    answer: tuple[str, int] = ("", -1)
    answer_cuts: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


class TensorTarget:
    """Parsing, joining, dividing and answering (``Target``)."""

    name = "tensors"
    share = 1

    def generate(self, rng: random.Random) -> TensorCase:
        """Write a few requests of one kind and an answer; spoil some."""
        kind = shapes(rng)
        bodies = [_written(rng, kind, "inputs") for _ in range(rng.choice((1, 2, 2, 3, 4)))]
        if rng.random() < 0.2:
            bodies.append(_written(rng, shapes(rng), "inputs"))
        counts = [rng.choice((1, 1, 2, 3)) for _ in range(rng.choice((1, 1, 2, 3)))]
        answer = _written(rng, shapes(rng), "outputs", sum(counts) + rng.choice((0, 0, 0, 0, 1)))
        if rng.random() < 0.5:
            spoiled = rng.randrange(len(bodies))
            bodies[spoiled] = _spoilt(rng, *bodies[spoiled])
        if rng.random() < 0.5:
            answer = _spoilt(rng, *answer)
        return TensorCase(
            [(body.decode("latin-1"), size) for body, size in bodies],
            rng.choice((0, 1, 2)),
            (answer[0].decode("latin-1"), answer[1]),
            cuts(rng, len(answer[0])),
            counts,
        )

    def run(self, case: TensorCase) -> None:
        """Compare everything that comes out with a plain reading of what went in."""
        codec = V2Codec()
        members = []
        for text, size in case.bodies:
            parsed = _parse(codec, text.encode("latin-1"), size)
            if parsed is not None:
                members.append(parsed)
        for parsed in members:
            _check_pieces(codec, parsed, min(case.piece, parsed.instances - 1))
        alike = [parsed for parsed in members if parsed.key == members[0].key]
        if alike:
            _check_join(codec, alike)
        _check_split(codec, case)

    def smaller(self, case: TensorCase) -> Iterator[TensorCase]:
        """Leave out requests, the answer, counts, then bytes."""
        for bodies in smaller_list(case.bodies):
            yield replace(case, bodies=bodies)
        if case.answer[0]:
            yield replace(case, answer=("", -1), answer_cuts=[], counts=[])
        if case.piece:
            yield replace(case, piece=0)
        for answer_cuts in smaller_list(case.answer_cuts):
            yield replace(case, answer_cuts=answer_cuts)
        for counts in smaller_list(case.counts):
            yield replace(case, counts=counts)
        for index, (body, size) in enumerate(case.bodies):
            for less in smaller_bytes(body):
                for own_size in {size, size - len(body) + len(less)}:
                    others = [*case.bodies[:index], (less, own_size), *case.bodies[index + 1 :]]
                    yield replace(case, bodies=others)
        for less in smaller_bytes(case.answer[0]):
            yield replace(case, answer=(less, case.answer[1]))

    def encode(self, case: TensorCase) -> Any:
        """Write a case as JSON can hold it."""
        return msgspec.to_builtins(case)

    def decode(self, content: Any) -> TensorCase:
        """Read what ``encode`` wrote."""
        return msgspec.convert(content, TensorCase)


def _written(
    rng: random.Random, kind: Sequence[Shape], name: str, rows: int = 0
) -> tuple[bytes, int]:
    return message(rng, kind, name, rows or rng.choice((1, 1, 2, 3)))


def _spoilt(rng: random.Random, body: bytes, size: int) -> tuple[bytes, int]:
    spoilt = mutate(rng, body, _TOKENS, rng.choice((1, 1, 2, 5)))
    if size >= 0 and rng.random() < 0.7:  # or else hardly any is JSON
        size += len(spoilt) - len(body)
    return spoilt, size + rng.choice((0, 0, 0, 0, 1, -1))


def _parse(codec: V2Codec, body: bytes, size: int) -> V2Request | None:
    """Parse a request; None where it is refused or bypassed."""
    headers = {} if size == -1 else {_HEADER: b"%d" % size}
    try:
        parsed = codec.parse(body, headers)
    except BadRequest:
        if size == -1 or 0 <= size <= len(body):
            raise Fault("parse refuses what is none of its business") from None
        return None
    except Bypass:
        return None
    if size < -1 or size > len(body):
        raise Fault("parse accepts a length beyond the body")
    fields, tensors = _read("an accepted request", body, size, "inputs")
    if {shape[0] for _, _, shape, _ in tensors} != {parsed.instances}:
        raise Fault("parse miscounts", f"{parsed.instances} for {tensors!r:.500}")
    for _, datatype, _, elements in tensors:
        if datatype in ("INT64", "UINT8") and not all(map(_is_whole, elements)):
            raise Fault("parse accepts a fraction among integers", f"{elements!r:.500}")
    for parameters in _all_parameters(fields):
        for name in parameters:
            if name in ("priority", "timeout") or name.startswith(("sequence_", "shared_memory_")):
                raise Fault("parse accepts a parameter that forbids batching", name)
    middle = len(body) // 2
    in_pieces = codec.parse(Content([body[:middle], body[middle:]]), headers)
    for one in (parsed, in_pieces):
        _, pieces = codec.join([one], None)
        if b"".join(pieces) != body:
            raise Fault("a request alone is not sent as it came")
    if (parsed.key, parsed.instances, parsed.id) != (
        in_pieces.key,
        in_pieces.instances,
        in_pieces.id,
    ):
        raise Fault("a request that came in pieces is read otherwise")
    return in_pieces if middle % 2 else parsed


def _is_whole(element: Any) -> bool:
    return isinstance(element, bytes) or str(element).removeprefix("-").isdigit()


def _all_parameters(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    holders = [fields, *fields["inputs"], *(fields.get("outputs") or [])]
    for holder in holders:
        yield holder.get("parameters") or {}


def _read(
    what: str, body: bytes, size: int, kind: str, *, inside: bool = True
) -> tuple[dict[str, Any], Tensors]:
    """Read a message in the plainest way; a Fault where its tensors are not what they say.

    Not ``inside``: what a row of JSON holds is the model server's affair; elements are then rows.
    """
    try:
        return _read_message(body, size, kind, inside=inside)
    except RecursionError:
        raise
    except Exception as error:
        raise Fault(f"{what} is none", f"{error!r}: {body!r:.500}") from None


def _read_message(
    body: bytes, size: int, kind: str, *, inside: bool
) -> tuple[dict[str, Any], Tensors]:
    text = body if size < 0 else body[:size]
    fields = strict_loads(text)
    offset = len(text)
    tensors: Tensors = []
    for tensor in fields[kind]:
        shape, datatype = tensor["shape"], tensor["datatype"]
        if not shape or any(type(length) is not int or length < 0 for length in shape):
            raise ValueError(shape)
        announced = (tensor.get("parameters") or {}).get("binary_data_size")
        beside = tensor.get("data") is not None if kind == "outputs" else "data" in tensor
        if kind == "outputs" and beside:
            announced = None  # a model's size beside data counts for nothing
        if announced is not None:
            if beside or type(announced) is not int or announced < 0:
                raise ValueError("a size")
            elements = _take(body[offset : offset + announced], datatype)
            offset += announced
        else:
            elements = _flat(tensor["data"], shape) if inside else list(tensor["data"])
        if len(elements) not in (math.prod(shape), shape[0] if not inside else -1):
            raise ValueError("elements")
        tensors.append((tensor["name"], datatype, shape, elements))
    if offset != len(body):
        raise ValueError("blobs")
    return fields, tensors


def _flat(data: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) == 1 or not any(isinstance(element, list) for element in data):
        if any(isinstance(element, list | dict) for element in data):
            raise ValueError("nested")
        return data
    if len(data) != shape[0]:
        raise ValueError("lengths")
    flat = []
    for element in data:
        if len(element) != shape[1]:
            raise ValueError("lengths")
        flat += _flat(element, shape[1:])
    return flat


def _take(blob: bytes, datatype: str) -> list[bytes]:
    if datatype != "BYTES":
        size = _SIZES_BYTES.get(datatype, 0)
        parts = [blob[start : start + size] for start in range(0, len(blob), size)]
        if parts and len(parts[-1]) != size:
            raise ValueError("half an element")
        return parts
    parts = []
    start = 0
    while start < len(blob):
        (length,) = struct.unpack_from("<I", blob, start)
        start += 4 + length
        parts.append(blob[start - length : start])
    if start != len(blob):
        raise ValueError("half a string")
    return parts


def _size_of(lines: bytes) -> int:
    """Return what the codec's header lines say of the JSON's length; -1 if nothing."""
    if lines == b"Content-Type: application/json\r\n":
        return -1
    start = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: "
    if not lines.startswith(start) or not lines.endswith(b"\r\n"):
        raise Fault("header lines are wrong", f"{lines!r}")
    return int(lines[len(start) :])


def _echo(body: bytes, size: int, empty_rows: int = 0) -> Content:
    """Answer like a model whose outputs are its inputs, and if so many rows one of no elements."""
    text = body if size < 0 else body[:size]
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    outputs = bytes(fields["inputs"])
    if empty_rows:
        empty = b'{"name":"empty","datatype":"FP32","shape":[%d,0],"data":[]}' % empty_rows
        outputs = b"%b,%b]" % (outputs[:-1], empty)
    answer = b'{"id":"server","outputs":%b}' % outputs
    blobs = body[len(text) :]
    return Content([answer, blobs], b"%d" % len(answer) if blobs or size >= 0 else None)


def _members_of(codec: V2Codec, member: V2Request) -> tuple[dict[str, Any], Tensors]:
    """Read what a member is, as it was sent."""
    body = b"".join(codec.join([member], None)[1])
    return _read("a member", body, member.json_bytes, "inputs")


def _check_join(codec: V2Codec, members: Sequence[V2Request]) -> None:
    """Joining requests, answering with their own elements and dividing that gives each its own."""
    lines, pieces = codec.join(members, None)
    joined, size = b"".join(pieces), _size_of(lines)
    fields, tensors = _read("a joined request", joined, size, "inputs")
    own = [_members_of(codec, member) for member in members]
    for index, (name, datatype, shape, elements) in enumerate(tensors):
        rows = sum(tensor[index][2][0] for _, tensor in own)
        one = own[0][1][index]
        if [name, datatype, shape] != [one[0], one[1], [rows, *one[2][1:]]]:
            raise Fault("join changes a tensor", f"{tensors[index]!r:.500}")
        if elements != [element for _, tensor in own for element in tensor[index][3]]:
            raise Fault("join changes elements", f"{elements!r:.500}")
    for name in {*fields, *own[0][0]} - {"id", "inputs"}:
        if fields.get(name) != own[0][0].get(name):
            raise Fault("join changes a field", name)
    try:
        messages, _ = codec.split(_echo(joined, size), members, _BATCH_ID)
    except Unsplittable as error:
        raise Fault("split refuses an honest answer", str(error)) from None
    for (member_fields, wanted), (own_lines, body) in zip(own, messages, strict=True):
        answer, outputs = _read("an answer", body, _size_of(own_lines), "outputs")
        if outputs != wanted:
            raise Fault("an answer is not its caller's", f"{outputs!r:.500}")
        own_id = member_fields.get("id") if len(members) > 1 else "server"
        if answer.get("id") != own_id or answer["parameters"] != {"batch_id": _BATCH_ID.decode()}:
            raise Fault("an answer has the wrong id", f"{answer!r:.500}")


def _check_pieces(codec: V2Codec, parsed: V2Request, piece: int) -> None:
    """A request sent in pieces is answered as a whole, outputs without elements too."""
    if not 0 < piece < parsed.instances:
        return
    parts: list[Any] = []
    for start in range(0, parsed.instances, piece):
        rows = (start, min(start + piece, parsed.instances))
        lines, pieces = codec.join([parsed], rows)
        content = _echo(b"".join(pieces), _size_of(lines), rows[1] - rows[0])
        parts += codec.split(content, [parsed], _BATCH_ID, rows)[0]
    (lines, body), _ = codec.reunite(parts, parsed, _BATCH_ID)
    _, outputs = _read("an answer in pieces", body, _size_of(lines), "outputs")
    empty: Any = ("empty", "FP32", [parsed.instances, 0], [])
    if outputs != [*_members_of(codec, parsed)[1], empty]:
        raise Fault("an answer in pieces is changed", f"{outputs!r:.500}")


def _check_split(codec: V2Codec, case: TensorCase) -> None:
    """Dividing a hostile answer fails as it should, or gives each its own."""
    if not case.counts:
        return
    body, size = case.answer[0].encode("latin-1"), case.answer[1]
    bounds = [0, *[cut for cut in case.answer_cuts if cut < len(body)], len(body)]
    pieces = [body[start:stop] for start, stop in pairwise(bounds)]
    members = [V2Request(b"", -1, [], ((), b""), count, b"") for count in case.counts]
    content = Content(pieces, None if size < 0 else b"%d" % size)
    try:
        messages, _ = codec.split(content, members, _BATCH_ID)
    except NotByRows as error:
        if (error.answer is None) != (len(members) > 1):
            raise Fault("split takes a lone caller's answer away", str(error)) from None
        return
    except Unsplittable:
        return
    if len(members) == 1:
        return
    _, tensors = _read("a divided answer", body, size, "outputs", inside=False)
    own = [
        _read("a part", part, _size_of(lines), "outputs", inside=False)[1]
        for lines, part in messages
    ]
    for index, (name, datatype, shape, elements) in enumerate(tensors):
        parts = [outputs[index] for outputs in own]
        if [part[2] for part in parts] != [[count, *shape[1:]] for count in case.counts]:
            raise Fault("split gives a wrong shape", f"{parts!r:.500}")
        if [element for part in parts for element in part[3]] != elements:
            raise Fault("split changes elements", f"{parts!r:.500}")
        if any(part[:2] != (name, datatype) for part in parts):
            raise Fault("split changes a name", f"{parts!r:.500}")
