"""Requests of the Open Inference Protocol: read, and joined into one."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batcher_sidecar.codecs.base import (
    INFERENCE_HEADER_LENGTH,
    BadRequest,
    Body,
    Bypass,
    Content,
    Piece,
)
from batcher_sidecar.codecs.v2.binary import Rope
from batcher_sidecar.codecs.v2.tensors import (
    BYTES,
    MAX_STRINGS,
    SIZES_BYTES,
    Form,
    count_elements,
    cut_rows,
    form_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Raw = msgspec.Raw
_UNSET: Final = msgspec.UNSET
_NULL: Final = b"null"
_NOT_BATCHED: Final = re.compile(r"sequence_.*|priority|timeout|shared_memory_.*", re.DOTALL)
"""Parameters of a request, an input or an output that one call cannot have for several callers."""
_BINARY_SIZE: Final = "binary_data_size"
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_CONSTANT: Final = re.compile(rb"NaN|Infinity")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_MEMORISED_BYTES: Final = 1024
_MAX_DOUBTFUL_BYTES: Final = 1 << 18
"""Longer JSON is not searched for names of fields that occur twice."""
_LARGE_PIECE_BYTES: Final = 4096
"""Pieces larger than this on average are passed on from where they lie, not copied."""


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: Raw
    shape: list[int]
    datatype: str
    parameters: Raw | msgspec.UnsetType = _UNSET
    data: Raw | msgspec.UnsetType = _UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The common request, read in one pass."""

    inputs: list[_Input]
    id: Raw | msgspec.UnsetType = _UNSET
    parameters: Raw | msgspec.UnsetType = _UNSET
    outputs: Raw | msgspec.UnsetType = _UNSET
    model_name: Raw | msgspec.UnsetType = _UNSET  # KServe's own client sends it


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_inputs = msgspec.json.Decoder(list[_Input]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_outputs = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_encode_name = msgspec.json.encode

TensorKey = tuple[bytes, str, tuple[int, ...], bytes, Form]
"""Name, datatype, dimensions after the first, parameters but the blob's size, form of the data."""


class V2Request(msgspec.Struct, eq=False, gc=False):
    """A request: its tensors' data as it came, and what must agree."""

    body: Body | Content
    json_bytes: int
    """Of the body; blobs follow. -1 where the request does not say."""
    data: list[Any]
    """For each input its array (``Raw``), or its blob (a list of ``memoryview``)."""
    key: tuple[tuple[TensorKey, ...], bytes]
    """The inputs, and all other fields but ``id`` as they are written."""
    instances: int
    id: bytes
    """As it is written; empty if there is none."""
    alone: bool = False


def read_request(body: Body | Content, fields: Mapping[bytes, bytes]) -> V2Request:
    """Read a request; see ``Codec.parse``."""
    declared = fields.get(INFERENCE_HEADER_LENGTH)
    json_bytes = -1 if declared is None else _json_bytes(declared, len(body))
    if isinstance(body, Content) and json_bytes in (-1, len(body)):
        body = body.whole  # without blobs
    rope: Rope | None = None
    if isinstance(body, Content):
        rope = Rope(body.pieces)
        text: Body = b"".join(rope.cut(0, json_bytes))
    else:
        text = body if json_bytes in (-1, len(body)) else body[:json_bytes]
    try:
        if not text.isascii():
            text.decode()  # Raw does not check it, and one bad string would harm a batch
        try:
            request = _decode_request(text)
            inputs, caller_id, name = request.inputs, request.id, request.model_name
            _demand_single_names(
                text, inputs, (caller_id, request.parameters, request.outputs, name)
            )
            rest = b""
            if request.parameters is not _UNSET or request.outputs is not _UNSET:
                rest = _rest(request.parameters, request.outputs)
            if isinstance(name, Raw):
                rest += b',"model_name":' + bytes(name)
        except msgspec.ValidationError:
            inputs, caller_id, rest = _read_uncommon(text)
        return _checked(body, rope, json_bytes, inputs, caller_id, rest)
    except UnicodeDecodeError:
        raise Bypass("json") from None
    except RecursionError:
        raise Bypass("nesting") from None
    except msgspec.ValidationError:
        raise Bypass("form") from None
    except msgspec.DecodeError:
        if _CONSTANT.search(text):
            raise Bypass("nan") from None
        raise Bypass("surrogate" if _SURROGATE.search(text) else "json") from None


def _demand_single_names(text: Body, inputs: list[_Input], others: Iterable[Any]) -> None:
    """Raise Bypass if a field is named twice: servers differ in which of them counts.

    Then there are more quotation marks than the fields that were read need. Where that leaves room
    for doubt, as do escaped letters, every name is looked at.
    """
    quotes = 2 + sum([_count_quotes(raw) for raw in others])
    for tensor in inputs:
        quotes += 8 + bytes(tensor.name).count(b'"') + _count_quotes(tensor.parameters)
        if tensor.datatype == BYTES:
            quotes += _count_quotes(tensor.data)
        elif tensor.data is not _UNSET:
            quotes += 2  # numbers have none
    if text.count(b'"') == quotes and (b"\\" not in text or b"\\u" not in text):
        return  # one byte is looked for much faster than two
    if len(text) > _MAX_DOUBTFUL_BYTES:
        raise Bypass("form")
    json.loads(text, object_pairs_hook=_only_once, parse_int=len, parse_float=len)


def _count_quotes(raw: Any) -> int:
    """Return how many quotation marks a field with its name has, if it is there."""
    return 0 if raw is _UNSET else 2 + bytes(raw).count(b'"')


def _only_once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise Bypass("form")


def _json_bytes(declared: bytes, body_bytes: int) -> int:
    if _DIGITS.fullmatch(declared) is None:
        raise BadRequest("Inference-Header-Content-Length is no number; send the bytes of the JSON")
    json_bytes = int(declared)
    if json_bytes > body_bytes:
        raise BadRequest(
            f"Inference-Header-Content-Length is {json_bytes}, but the body has {body_bytes} "
            "bytes; send the bytes of the JSON in front of the tensors"
        )
    if not json_bytes:
        raise Bypass("raw")
    return json_bytes


def _read_uncommon(text: Body) -> tuple[list[_Input], Any, bytes]:
    """Read a request with fields of its own. Raises ValidationError where it has another form."""
    fields = _decode_fields(text)
    inputs = _decode_inputs(fields.pop("inputs", _NULL))
    _demand_single_names(text, inputs, fields.values())
    caller_id = fields.pop("id", _UNSET)
    parameters = fields.pop("parameters", _UNSET)
    outputs = fields.pop("outputs", _UNSET)
    own = [b",%b:%b" % (_encode_name(name), bytes(raw)) for name, raw in sorted(fields.items())]
    return inputs, caller_id, b"".join([_rest(parameters, outputs), *own])


def _rest(parameters: Any, outputs: Any) -> bytes:
    """Write the fields beside the inputs as they follow another one; see to what they ask for."""
    rest = b""
    for name, raw in ((b"parameters", parameters), (b"outputs", outputs)):
        if raw is not _UNSET:
            rest += b',"%b":%b' % (name, bytes(raw))
    (_memorised_judgement if len(rest) <= _MEMORISED_BYTES else _judge_rest)(rest)
    return rest


def _judge_rest(rest: bytes) -> None:
    """Raise Bypass if parameters of the request or of an output forbid batching."""
    fields = _decode_fields(b"{" + rest[1:] + b"}")
    _judge_parameters(fields.get("parameters", Raw(_NULL)))
    outputs = bytes(fields.get("outputs", _NULL))
    if outputs != _NULL:
        for output in _decode_outputs(outputs):
            _judge_parameters(output.get("parameters", Raw(_NULL)))


_memorised_judgement = functools.lru_cache(1024)(_judge_rest)


def _judge_parameters(raw: Raw) -> dict[str, Raw]:
    """Return parameters; raise Bypass if any of them forbids batching."""
    text = bytes(raw)
    if text == _NULL:
        return {}
    parameters = _decode_fields(text)
    json.loads(text, object_pairs_hook=_only_once, parse_int=len, parse_float=len)
    for name in parameters:
        if _NOT_BATCHED.fullmatch(name):
            raise Bypass("parameters")
    return parameters


def _read_input_parameters(raw: bytes) -> tuple[int, bytes]:
    """Return the size of an input's blob (-1 without one), and the other parameters as written."""
    parameters = _judge_parameters(Raw(raw))
    size = parameters.pop(_BINARY_SIZE, None)
    others = b",".join(
        [b"%b:%b" % (_encode_name(name), bytes(value)) for name, value in parameters.items()]
    )
    if size is None:
        return -1, others
    if _DIGITS.fullmatch(bytes(size)) is None:
        raise Bypass("tensors")
    return int(bytes(size)), others


_memorised_parameters = functools.lru_cache(1024)(_read_input_parameters)


def _checked(
    body: Body | Content,
    rope: Rope | None,
    json_bytes: int,
    inputs: list[_Input],
    caller_id: Any,
    rest: bytes,
) -> V2Request:
    """Make a request of what was read, if every tensor is what its shape says."""
    own_id = b"" if caller_id is _UNSET else bytes(caller_id)
    if own_id == _NULL:
        own_id = b""
    if not inputs or (own_id and own_id[:1] != b'"'):
        raise Bypass("form")
    first_shape = inputs[0].shape
    rows = first_shape[0] if first_shape else 0
    body_bytes = len(body)
    offset = json_bytes if json_bytes >= 0 else body_bytes
    keys: list[TensorKey] = []
    data: list[Any] = []
    for tensor in inputs:
        shape, datatype, size, others = tensor.shape, tensor.datatype, -1, b""
        elements = count_elements(shape)
        if not elements or shape[0] != rows or (datatype not in SIZES_BYTES and datatype != BYTES):
            raise Bypass("tensors")
        if tensor.parameters is not _UNSET:
            raw = bytes(tensor.parameters)
            short = len(raw) <= _MEMORISED_BYTES
            size, others = (_memorised_parameters if short else _read_input_parameters)(raw)
        form: Form | None
        if isinstance(tensor.data, Raw):
            form = None if size >= 0 else form_of(bytes(tensor.data), shape, elements, datatype)
            data.append(tensor.data)
        else:
            if rope is None:
                rope = Rope([body] if not isinstance(body, Content) else body.pieces)
            if not _is_blob(rope, offset, size, elements, datatype):
                raise Bypass("tensors")
            form = "binary"
            data.append(rope.cut(offset, offset + size))
            offset += size
        if form is None or bytes(memoryview(tensor.name)[:1]) != b'"':
            raise Bypass("tensors")
        keys.append((bytes(tensor.name), datatype, tuple(shape[1:]), others, form))
    if offset != body_bytes:
        raise Bypass("tensors")
    return V2Request(body, json_bytes, data, (tuple(keys), rest), rows, own_id)


def _is_blob(rope: Rope, start: int, size: int, elements: int, datatype: str) -> bool:
    """Tell whether the bytes from ``start`` on are that many elements."""
    if size < 0 or start + size > rope.size_bytes:
        return False
    if datatype == BYTES:
        if elements > MAX_STRINGS:
            return False
        return rope.string_ends(start, start + size, [elements]) is not None
    return size == elements * SIZES_BYTES[datatype]


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
    tensors, rest = first.key
    for index, (name, datatype, tail, others, form) in enumerate(tensors):
        dimensions = b"".join([b",%d" % length for length in tail])
        text.append(
            b'%b{"name":%b,"shape":[%d%b],"datatype":"%b"'
            % (before, name, total, dimensions, datatype.encode())
        )
        before = b","
        data = [member.data[index] for member in members]
        if form == "binary":
            blob: list[memoryview] = [view for views in data for view in views]
            if rows is not None:
                blob = _cut_blob(blob, first, index, rows)
            size = b'"%b":%d' % (_BINARY_SIZE.encode(), sum(map(len, blob)))
            text.append(b',"parameters":{%b}}' % (b"%b,%b" % (others, size) if others else size))
            blobs += blob
            continue
        parameters = b',"parameters":{%b}' % others if others else b""
        text.append(b'%b,"data":[' % parameters)
        for raw in data:
            text += (memoryview(raw)[1:-1], b",")
        text[-1] = b"]}"
        if rows is not None:
            text[-2] = _cut_array(bytes(data[0]), first, index, rows)
    text.append(b"]%b}" % rest)
    lines = own_lines(sum(map(len, text)) if blobs else -1)
    pieces = text + blobs
    if sum(map(len, pieces)) <= len(pieces) * _LARGE_PIECE_BYTES:
        return lines, [b"".join(pieces)]
    return lines, pieces


def _cut_array(data: bytes, request: V2Request, index: int, rows: tuple[int, int]) -> bytes:
    """Return a range of the rows of an array, without its brackets."""
    tail = request.key[0][index][2]
    counts = [rows[0], rows[1] - rows[0], request.instances - rows[1]]
    parts = cut_rows(data, counts, count_elements(tail) if tail else 1)
    return parts[1] if parts else b""


def _cut_blob(
    blob: list[memoryview], request: V2Request, index: int, rows: tuple[int, int]
) -> list[memoryview]:
    """Return a range of the rows of a blob."""
    _, datatype, tail, _, _ = request.key[0][index]
    per_row = count_elements(tail) if tail else 1
    rope = Rope(blob)
    if datatype != BYTES:
        stride = per_row * SIZES_BYTES[datatype]
        return rope.cut(rows[0] * stride, rows[1] * stride)
    counts = [rows[0], rows[1] - rows[0], request.instances - rows[1]]
    start, stop, _ = rope.string_ends(0, rope.size_bytes, [n * per_row for n in counts]) or [0] * 3
    return rope.cut(start, stop)
