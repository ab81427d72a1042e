"""The v1 REST protocol: ``{"instances": [...], ...}`` to ``{"predictions": [...], ...}``.

Only the row form is batched; the columnar form (``inputs``) of TensorFlow Serving is not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from batcher_sidecar.codecs.base import BadRequest, Body, Bypass, Piece, Unsplittable
from batcher_sidecar.codecs.signature import RowSignature, row_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_INSTANCES: Final = "no instances in the request"
UNREADABLE: Final = "can't Unmarshal body"

Raw = msgspec.Raw
_UNSET = msgspec.UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """The common request, read in one pass. Others take a second one (``_read_fields``)."""

    instances: list[Raw]
    signature_name: Raw | msgspec.UnsetType = _UNSET
    parameters: Raw | msgspec.UnsetType = _UNSET


class _Tensors(msgspec.Struct, forbid_unknown_fields=True):
    """A request whose rows are arrays."""

    instances: list[list[Raw]]


class _Response(msgspec.Struct, forbid_unknown_fields=True):
    """The common answer, read in one pass."""

    predictions: list[Raw]


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_tensors = msgspec.json.Decoder(_Tensors).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_rows = msgspec.json.Decoder(list[Raw]).decode
_encode_name = msgspec.json.encode
_SCALAR_START = frozenset(b'"-0123456789tfn')
_CONSTANT = re.compile(rb"NaN|Infinity")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Rows of at least two dimensions: `instances` opens with three brackets or more.
_TENSOR_OPENING = re.compile(rb'\s*\{\s*"instances"\s*:\s*\[(\s*\[\s*\[)')
_LEAVES = re.compile(r"\[(\d+)")
_LARGE_BYTES: Final = 64 * 1024
"""Rows of larger requests are passed on from where they lie, not copied."""

Fields = tuple[tuple[str, bytes], ...]


class V1Request:
    """A row-form request: its rows as they came, and the fields beside them."""

    __slots__ = ("alone", "body", "inner", "instances", "key", "rest")

    def __init__(
        self,
        body: Body,
        inner: Sequence[Raw | memoryview],
        signatures: Sequence[str],
        rest: Fields = (),
    ) -> None:
        self.body = body
        self.inner = inner
        """What stands between the brackets of ``instances``: rows, or all of them as one slice."""
        self.instances = len(signatures)
        self.rest = rest
        self.alone = len(signatures) > 1 and len(set(signatures)) > 1
        self.key = (signatures[0], rest)


class V1Codec:
    """KServe's v1 protocol (``docs/rules.md``, rules 1 and 11)."""

    protocol = "v1"
    content_type = b"application/json"

    def __init__(self, row_mode: RowSignature) -> None:
        self._row_mode = row_mode

    def parse(self, body: Body) -> V1Request:
        """Read a request's body; see ``Codec.parse``."""
        try:
            if not body.isascii():
                body.decode()  # Raw does not check it, and one bad string would harm a batch
            request = _read_tensors(body, self._row_mode) if len(body) > _LARGE_BYTES else None
            if request is not None:
                return request
            try:
                fields = _decode_request(body)
                rows = fields.instances
                rest = _rest(fields)
            except msgspec.ValidationError:
                rows, rest = _read_uncommon_request(body)
            signatures = [row_signature(bytes(row), self._row_mode) for row in rows]
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
        return V1Request(body, rows, signatures, rest)

    def join(self, members: Sequence[V1Request], rows: tuple[int, int] | None) -> list[Piece]:
        """Make one body; a member that travels alone and whole goes as it came."""
        first = members[0]
        if rows is not None:
            inner: Sequence[Raw | memoryview] = _rows(first.body)[rows[0] : rows[1]]
        elif len(members) == 1:
            return [first.body]
        else:
            inner = [piece for member in members for piece in member.inner]
        end = b"]%b}" % _render(first.rest)
        if len(first.body) <= _LARGE_BYTES:
            return [b'{"instances":[' + b",".join(inner) + end]
        pieces: list[Piece] = [b'{"instances":[']
        for piece in inner:
            pieces += (memoryview(piece), b",")
        pieces[-1] = end
        return pieces

    def split(self, body: bytes, counts: Sequence[int]) -> tuple[list[bytes], int]:
        """Divide ``predictions``, and what else is as long; see ``Codec.split``.

        A part is the end of a caller's body: all that follows ``"predictions":``.
        """
        try:
            if not body.isascii():
                body.decode()
            try:
                rows = _decode_response(body).predictions
                others: dict[str, Raw] = {}
            except msgspec.ValidationError:
                others = _decode_fields(body)
                rows = _decode_rows(others.pop("predictions"))
                others.pop("message", None)  # of a batcher behind us: ours take their place
                others.pop("batchId", None)
            total = sum(counts)
            if len(rows) == total and len(counts) > 1:
                return _divide(rows, others, counts)
        except KeyError:
            raise Unsplittable("the answer has no `predictions`") from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Unsplittable(
                f"the answer is no JSON object with `predictions`: {error}"
            ) from None
        if len(rows) != total:
            raise Unsplittable(f"the answer has {len(rows)} predictions for {total} instances")
        rest = [(name, bytes(raw)) for name, raw in others.items()]
        return [b"[%b]%b}" % (b",".join(rows), _render(rest))], 0

    def answer(self, parts: Sequence[bytes], batch_id: bytes) -> bytes:
        """Make one caller's body: KServe's fields, then the model server's own."""
        part = parts[0] if len(parts) == 1 else _reunite(parts)
        return b"".join((b'{"message":"","batchId":"', batch_id, b'","predictions":', part))


def _rest(request: _Request) -> Fields:
    """Return the known fields beside ``instances`` that a common request has."""
    if request.signature_name is _UNSET and request.parameters is _UNSET:
        return ()
    named = (("parameters", request.parameters), ("signature_name", request.signature_name))
    return tuple([(name, bytes(raw)) for name, raw in named if isinstance(raw, Raw)])


def _read_tensors(body: Body, mode: RowSignature) -> V1Request | None:
    """Read a large request that holds nothing but arrays of arrays of numbers; None if it does.

    The elements of its rows are counted by the one pass that validates, and no row is copied.
    """
    opening = _TENSOR_OPENING.match(body)
    if opening is None:
        return None
    start = opening.end()
    if body.find(b'"', start) >= 0 or body.find(b"{", start) >= 0:
        return None
    try:
        rows = _decode_tensors(body).instances
    except msgspec.ValidationError:
        return None
    if not all(rows):
        return None
    signatures = [_tensor_signature(row, mode) for row in rows]
    end = body.rindex(b"]")
    return V1Request(body, [memoryview(body)[opening.start(1) : end]], signatures)


def _tensor_signature(elements: list[Raw], mode: RowSignature) -> str:
    """Return what ``row_signature`` says of a row with these elements, all as long as the first."""
    inner = row_signature(bytes(elements[0]), mode)
    leaves = _LEAVES.match(inner)
    return f"[{len(elements) * int(leaves[1])}{inner}" if leaves else f"[{inner}"


def _rows(body: Body) -> list[Raw]:
    """Return the rows of a request that has been read before."""
    return _decode_rows(_decode_fields(body)["instances"])


def _read_uncommon_request(body: Body) -> tuple[list[Raw], Fields]:
    """Read a request with fields of its own; tell apart what is wrong and what is another form."""
    try:
        fields = _decode_fields(body)
    except msgspec.ValidationError:
        raise BadRequest(f"{UNREADABLE}: the body is no JSON object; send one") from None
    instances = fields.pop("instances", None)
    if instances is None:
        if "inputs" in fields:
            raise Bypass("columnar")
        raise Bypass("no_instances")
    if bytes(instances)[:1] != b"[":
        raise BadRequest(f"{UNREADABLE}: `instances` is no list; send a list of instances")
    rest = tuple(sorted([(name, bytes(raw)) for name, raw in fields.items()]))
    return _decode_rows(instances), rest


def _render(fields: Sequence[tuple[str, bytes]]) -> bytes:
    """Write fields as they follow another one in a JSON object."""
    return b"".join([b",%b:%b" % (_encode_name(name), raw) for name, raw in fields])


def _divide(
    rows: list[Raw], others: dict[str, Raw], counts: Sequence[int]
) -> tuple[list[bytes], int]:
    """Split among several: scalars are everybody's, arrays as long as the batch are divided."""
    shared: list[tuple[str, bytes]] = []
    divided: list[tuple[str, list[Raw]]] = []
    dropped = 0
    for name, raw in others.items():
        value = bytes(raw)
        if value[0] in _SCALAR_START:
            shared.append((name, value))
            continue
        elements = _decode_rows(value) if value[0] == 0x5B else []
        if len(elements) == len(rows):
            divided.append((name, elements))
        else:
            dropped += 1
    end = b"]%b}" % _render(shared)
    parts: list[bytes] = []
    start = 0
    for count in counts:
        stop = start + count
        if divided:
            own = [(name, b"[%b]" % b",".join(raws[start:stop])) for name, raws in divided]
            end = b"]%b}" % _render([*shared, *own])
        parts.append(b"".join((b"[", b",".join(rows[start:stop]), end)))
        start = stop
    return parts, dropped


def _reunite(parts: Sequence[bytes]) -> bytes:
    """Put the parts of one request's pieces together: arrays in order, other fields of the last."""
    fields: dict[str, bytes] = {}
    for number, part in enumerate(parts):
        for name, raw in _decode_fields(b'{"predictions":' + part).items():
            value = bytes(raw)
            before = fields.get(name, b"")
            if number and before[:1] == b"[" == value[:1]:
                value = b"[%b]" % b",".join([*_decode_rows(before), *_decode_rows(value)])
            fields[name] = value
    rows = fields.pop("predictions")
    return b"%b%b}" % (rows, _render(list(fields.items())))
