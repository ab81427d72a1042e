"""Requests of the Open Inference Protocol, read: what is each one's, and what must agree."""

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
)
from batcher_sidecar.codecs.limits import SHORT_KEY_BYTES, demand_utf8, digest
from batcher_sidecar.codecs.v2.binary import Rope
from batcher_sidecar.codecs.v2.tensors import (
    BYTES,
    MAX_STRINGS,
    SIZES_BYTES,
    Form,
    count_elements,
    form_of,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

Raw = msgspec.Raw
_UNSET: Final = msgspec.UNSET
_NULL: Final = b"null"
_NOT_BATCHED: Final = re.compile(r"sequence_.*|priority|timeout|shared_memory_.*", re.DOTALL)
"""Parameters of a request, an input or an output that one call cannot have for several callers."""
BINARY_SIZE: Final = "binary_data_size"
"""Parameter with which a tensor announces its blob."""
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_CONSTANT: Final = re.compile(rb"NaN|Infinity")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_MEMORISED_BYTES: Final = 1024
_MAX_DOUBTFUL_BYTES: Final = 1 << 18
"""Longer JSON is not searched for names of fields that occur twice."""
_MAX_BYTES_BESIDE_DATA: Final = 1 << 16
_MAX_TENSORS: Final = 1024
"""Of inputs, and of requested outputs."""
_MAX_OWN_FIELDS: Final = 64
_MAX_SHAPE_BYTES: Final = 512
_FIND_BYTES: Final = 100
"""To find one byte costs as much as to count through so many."""
_LARGE_BYTES: Final = 1 << 20
_MAX_OBJECTS: Final = 1 << 16
"""JSON of more than ``_LARGE_BYTES`` with more braces than these is not read at all."""
_TENSOR_KEY_BYTES: Final = 64


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: Raw
    shape: Raw
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


class _Tensors(msgspec.Struct, gc=False):
    """The inputs of a request with any other fields."""

    inputs: list[_Input]


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_tensors = msgspec.json.Decoder(_Tensors).decode
_decode_shape = msgspec.json.Decoder(list[int]).decode
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
    key: Hashable
    """``tensors`` and ``rest``, or where they are long a digest of them: keys are kept for long."""
    instances: int
    id: bytes
    """As it is written; empty if there is none."""
    tensors: tuple[TensorKey, ...] = ()
    rest: bytes = b""
    """All other fields but ``id`` as they are written, as they follow another one."""
    alone: bool = False
    rows: list[Any] | None = None
    """For each input what finds its rows, once it is sent in pieces."""


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
            demand_utf8(text)  # Raw does not check it, and one bad string would harm a batch
        if len(text) > _LARGE_BYTES and text.count(b"{") > _MAX_OBJECTS:
            raise Bypass("form")
        try:
            request = _decode_request(text)
            inputs, caller_id, name = request.inputs, request.id, request.model_name
            if len(text) > _MAX_BYTES_BESIDE_DATA:
                _demand_little_beside_data(text, inputs)
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


def _demand_little_beside_data(text: Body, inputs: list[_Input]) -> None:
    """Raise Bypass if more is to be looked at than a request has that is meant well."""
    data_bytes = sum(
        [memoryview(tensor.data).nbytes for tensor in inputs if isinstance(tensor.data, Raw)]
    )
    if len(text) - data_bytes > _MAX_BYTES_BESIDE_DATA:
        raise Bypass("form")


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
    if _has_quotes(text, quotes) and (b"\\" not in text or b"\\u" not in text):
        return  # one byte is looked for much faster than two
    if len(text) > _MAX_DOUBTFUL_BYTES:
        raise Bypass("form")
    json.loads(text, object_pairs_hook=_only_once, parse_int=len, parse_float=len)


def _count_quotes(raw: Any) -> int:
    """Return how many quotation marks a field with its name has, if it is there."""
    return 0 if raw is _UNSET else 2 + bytes(raw).count(b'"')


def _has_quotes(text: Body, count: int) -> bool:
    """Tell whether a text has exactly so many quotation marks."""
    if count * _FIND_BYTES > len(text):
        return text.count(b'"') == count
    at = -1
    for _ in range(count):
        at = text.find(b'"', at + 1)
        if at < 0:
            return False
    return text.find(b'"', at + 1) < 0


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
    if len(text) > _MAX_BYTES_BESIDE_DATA:
        _demand_little_beside_data(text, _decode_tensors(text).inputs)
    fields = _decode_fields(text)
    inputs = _decode_inputs(fields.pop("inputs", _NULL))
    _demand_single_names(text, inputs, fields.values())
    caller_id = fields.pop("id", _UNSET)
    parameters = fields.pop("parameters", _UNSET)
    outputs = fields.pop("outputs", _UNSET)
    if len(fields) > _MAX_OWN_FIELDS:
        raise Bypass("form")
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
        requested = _decode_outputs(outputs)
        if len(requested) > _MAX_TENSORS:
            raise Bypass("form")
        for output in requested:
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
    size = parameters.pop(BINARY_SIZE, None)
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
    if not 0 < len(inputs) <= _MAX_TENSORS or (own_id and own_id[:1] != b'"'):
        raise Bypass("form")
    rows = strings = 0
    body_bytes = len(body)
    offset = json_bytes if json_bytes >= 0 else body_bytes
    keys: list[TensorKey] = []
    key_bytes = len(rest)
    data: list[Any] = []
    for tensor in inputs:
        raw_shape, datatype, size, others = bytes(tensor.shape), tensor.datatype, -1, b""
        if len(raw_shape) > _MAX_SHAPE_BYTES:
            raise Bypass("tensors")
        shape, elements = _memorised_shape(raw_shape)
        if not elements or (datatype not in SIZES_BYTES and datatype != BYTES):
            raise Bypass("tensors")
        if shape[0] != rows:
            if rows:
                raise Bypass("tensors")
            rows = shape[0]
        if datatype == BYTES:
            strings += elements
            if strings > MAX_STRINGS:
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
        name = bytes(tensor.name)
        if form is None or name[:1] != b'"':
            raise Bypass("tensors")
        keys.append((name, datatype, shape[1:], others, form))
        key_bytes += len(name) + len(others) + _TENSOR_KEY_BYTES
    if offset != body_bytes:
        raise Bypass("tensors")
    tensors = tuple(keys)
    key: Hashable = (tensors, rest)
    if key_bytes > SHORT_KEY_BYTES:
        key = digest(key)
    return V2Request(body, json_bytes, data, key, rows, own_id, tensors, rest)


def _read_shape(raw: bytes) -> tuple[tuple[int, ...], int]:
    """Return a shape and how many elements it holds; 0 where it is not one to be batched."""
    shape = tuple(_decode_shape(raw))
    return shape, count_elements(shape)


_memorised_shape = functools.lru_cache(1024)(_read_shape)


def _is_blob(rope: Rope, start: int, size: int, elements: int, datatype: str) -> bool:
    """Tell whether the bytes from ``start`` on are that many elements."""
    if size < 0 or start + size > rope.size_bytes:
        return False
    if datatype == BYTES:
        return rope.string_ends(start, start + size, [elements]) is not None
    return size == elements * SIZES_BYTES[datatype]
