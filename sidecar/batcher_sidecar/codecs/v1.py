"""The v1 REST protocol: ``{"instances": [...], ...}`` to ``{"predictions": [...], ...}``.

Only the row form is batched; the columnar form (``inputs``) of TensorFlow Serving is not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batcher_sidecar.codecs.base import (
    BadRequest,
    Body,
    Bypass,
    Content,
    Message,
    Piece,
    Unsplittable,
)
from batcher_sidecar.codecs.signature import RowSignature, row_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
_BRACKET = ord("[")
_CONSTANT = re.compile(rb"NaN|Infinity")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Rows of at least two dimensions: `instances` opens with three brackets or more.
_TENSOR_OPENING = re.compile(rb'\s*\{\s*"instances"\s*:\s*\[(\s*\[\s*\[)')
_LEAVES = re.compile(r"\[(\d+)")
_LARGE_BYTES: Final = 64 * 1024
"""Larger requests are tried as tensors first."""
_LARGE_ROW_BYTES: Final = 4096
"""Rows larger than this on average are passed on from where they lie, not copied."""

_LINES: Final = b"Content-Type: application/json\r\n"

Fields = tuple[tuple[str, bytes], ...]


class V1Request(msgspec.Struct, eq=False, gc=False):
    """A row-form request: its rows as they came, and the fields beside them.

    A struct because it is made in a third of the time.
    """

    body: Body
    inner: Sequence[Raw | memoryview]
    """What stands between the brackets of ``instances``: rows, or all of them as one slice."""
    key: tuple[str, Fields]
    """The rows' signature, and the fields beside them."""
    instances: int = 1
    alone: bool = False

    def separate_rows(self) -> Sequence[Raw | memoryview]:
        """Return the rows one by one; where they are one slice, the body is read for it once.

        Raises:
            RecursionError: they nest deeper than the parser follows from here.
        """
        if len(self.inner) != self.instances:
            self.inner = _decode_rows(_decode_fields(self.body)["instances"])
        return self.inner


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
                body.decode()  # Raw does not check it, and one bad string would harm a batch
            request = _read_tensors(body, self._row_mode) if len(body) > _LARGE_BYTES else None
            if request is not None:
                return request
            try:
                common = _decode_request(body)
                rows = common.instances
                if common.signature_name is _UNSET is common.parameters:
                    rest: Fields = ()
                else:
                    rest = _rest(common)
            except msgspec.ValidationError:
                rows, rest = _read_uncommon_request(body)
            mode = self._row_mode
            if len(rows) == 1:
                return V1Request(body, rows, (row_signature(bytes(rows[0]), mode), rest))
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
        return _request(body, rows, signatures, rest)

    def join(
        self, members: Sequence[V1Request], rows: tuple[int, int] | None
    ) -> tuple[bytes, list[Piece]]:
        """Make one body; a member that travels alone and whole goes as it came."""
        inner: Sequence[Raw | memoryview]
        first = members[0]
        if rows is not None:
            try:
                inner = first.separate_rows()[rows[0] : rows[1]]
            except RecursionError:
                raise Bypass("nesting") from None
        elif len(members) == 1:
            return _LINES, [first.body]
        else:
            inner = [row for member in members for row in member.inner]
        end = b"]%b}" % _render(first.key[1])
        if (
            len(first.body) <= _LARGE_ROW_BYTES
            or sum(map(len, inner)) <= len(inner) * _LARGE_ROW_BYTES
        ):
            return _LINES, [b'{"instances":[' + b",".join(inner) + end]
        pieces: list[Piece] = [b'{"instances":[']
        for piece in inner:
            pieces += (memoryview(piece), b",")
        pieces[-1] = end
        return _LINES, pieces

    def split(
        self,
        content: Content,
        members: Sequence[V1Request],
        batch_id: bytes,
        rows: tuple[int, int] | None = None,
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
                body.decode()
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
            raise Unsplittable(
                f"the answer is no JSON object with `predictions`: {error}"
            ) from None
        if len(predictions) != total:
            raise Unsplittable(
                f"the answer has {len(predictions)} predictions for {total} instances"
            )
        rest = _render([(name, bytes(raw)) for name, raw in others.items()])
        return [(_LINES, b"%b[%b]%b}" % (_opening(batch_id), b",".join(predictions), rest))], 0

    def reunite(
        self, pieces: Sequence[V1Piece], member: V1Request, batch_id: bytes
    ) -> tuple[Message, int]:
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
        return (_LINES, b"%b%b%b}" % (_opening(batch_id), rows, _render(rest))), dropped


def _opening(batch_id: bytes) -> bytes:
    """Return KServe's fields, with which a caller's body begins."""
    return b'{"message":"","batchId":"%b","predictions":' % batch_id


def _request(
    body: Body, inner: Sequence[Raw | memoryview], signatures: list[str], rest: Fields
) -> V1Request:
    """Make a request of several rows: it travels alone where they differ."""
    alone = len(set(signatures)) > 1
    return V1Request(body, inner, (signatures[0], rest), len(signatures), alone)


def _rest(request: _Request) -> Fields:
    """Return the known fields beside ``instances`` that a common request has."""
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
    return _request(body, [memoryview(body)[opening.start(1) : end]], signatures, ())


def _tensor_signature(elements: list[Raw], mode: RowSignature) -> str:
    """Return what ``row_signature`` says of a row with these elements, all as long as the first."""
    inner = row_signature(bytes(elements[0]), mode)
    leaves = _LEAVES.match(inner)
    return f"[{len(elements) * int(leaves[1])}{inner}" if leaves else f"[{inner}"


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
    end = b"]%b}" % _render(shared)
    if len(counts) == len(rows) and not divided:
        return [(_LINES, b"".join((opening, row, end))) for row in rows], dropped
    parts: list[Message] = []
    start = 0
    for count in counts:
        stop = start + count
        if divided:
            own = [(name, b"[%b]" % b",".join(raws[start:stop])) for name, raws in divided]
            end = b"]%b}" % _render([*shared, *own])
        parts.append((_LINES, b"".join((opening, b",".join(rows[start:stop]), end))))
        start = stop
    return parts, dropped
