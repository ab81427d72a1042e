"""Requests of the v1 protocol: read, with their rows as they came."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from batcher_sidecar.codecs.arrays import NumberRows, array_form
from batcher_sidecar.codecs.base import BadRequest, Body, Bypass
from batcher_sidecar.codecs.limits import SHORT_KEY_BYTES, digest
from batcher_sidecar.codecs.signature import RowSignature, first_numbers, row_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

T = TypeVar("T")

UNREADABLE: Final = "can't Unmarshal body"

Raw = msgspec.Raw
_UNSET = msgspec.UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """The common request, read in one pass. Others take a second one (``read_uncommon``)."""

    instances: list[Raw]
    signature_name: Raw | msgspec.UnsetType = _UNSET
    parameters: Raw | msgspec.UnsetType = _UNSET


class _Tensors(msgspec.Struct, forbid_unknown_fields=True):
    """A request whose rows are arrays."""

    instances: list[list[Raw]]


class _ManyValues(msgspec.Struct, forbid_unknown_fields=True):
    """A request of which no row is told apart while it is read."""

    instances: Raw
    signature_name: Raw | msgspec.UnsetType = _UNSET
    parameters: Raw | msgspec.UnsetType = _UNSET


class _AnyFields(msgspec.Struct):
    """A request with any other fields."""

    instances: Raw | msgspec.UnsetType = _UNSET
    inputs: Raw | msgspec.UnsetType = _UNSET


decode_request = msgspec.json.Decoder(_Request).decode
_decode_tensors = msgspec.json.Decoder(_Tensors).decode
_decode_many = msgspec.json.Decoder(_ManyValues).decode
_decode_any = msgspec.json.Decoder(_AnyFields).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_rows = msgspec.json.Decoder(list[Raw]).decode
_encode_name = msgspec.json.encode
_BRACKET = ord("[")
# Rows of at least two dimensions: `instances` opens with three brackets or more.
_TENSOR_OPENING = re.compile(rb'\s*\{\s*"instances"\s*:\s*\[(\s*\[\s*\[)')
_LEAVES = re.compile(r"\[(\d+)")
_MAX_COMMAS: Final = 1 << 20
"""Where there are more of them, no object is made for each row."""

LINES: Final = b"Content-Type: application/json\r\n"

Fields = tuple[tuple[str, bytes], ...]


class V1Request(msgspec.Struct, eq=False, gc=False):
    """A row-form request: its rows as they came, and the fields beside them.

    A struct because it is made in a third of the time.
    """

    body: Body
    inner: Sequence[Raw | memoryview]
    """What stands between the brackets of ``instances``: rows, or all of them as one slice."""
    key: Hashable
    """The rows' signature and ``rest``, or where they are long a digest: keys are kept for long."""
    instances: int = 1
    alone: bool = False
    rest: Fields = ()
    """The fields beside the rows."""
    numbers: NumberRows | None = None
    """What finds the rows, where they are too many to be told apart."""

    def cut(self, start: int, stop: int) -> Sequence[Raw | memoryview]:
        """Return a range of the rows; where they are one slice, the body is read for it once.

        Raises:
            RecursionError: they nest deeper than the parser follows from here.
        """
        if self.numbers is not None:
            return self.numbers.cut(start, stop)
        if len(self.inner) != self.instances:
            self.inner = _decode_rows(_decode_fields(self.body)["instances"])
        return self.inner[start:stop]


def make_request(
    body: Body, inner: Sequence[Raw | memoryview], signatures: list[str], rest: Fields
) -> V1Request:
    """Make a request of several rows: it travels alone where they differ."""
    alone = len(set(signatures)) > 1
    return V1Request(body, inner, key_of(signatures[0], rest), len(signatures), alone, rest)


def key_of(signature: str, rest: Fields) -> Hashable:
    """Return a key that is never long."""
    key_bytes = len(signature)
    for name, raw in rest:
        key_bytes += len(name) + len(raw)
    return digest((signature, rest)) if key_bytes > SHORT_KEY_BYTES else (signature, rest)


def rest_of(request: _Request | _ManyValues) -> Fields:
    """Return the known fields beside ``instances`` that a common request has."""
    named = (("parameters", request.parameters), ("signature_name", request.signature_name))
    return tuple([(name, bytes(raw)) for name, raw in named if isinstance(raw, Raw)])


def read_large(body: Body, mode: RowSignature) -> V1Request | None:
    """Read a request of which not every row can have an object; None if they can."""
    if len(body) > 2 * _MAX_COMMAS and body.count(b",") > _MAX_COMMAS:
        return _read_many_values(body, mode)
    return _read_tensors(body, mode)


def _read_many_values(body: Body, mode: RowSignature) -> V1Request:
    """Read a request whose rows are numbers, in arrays of one shape or not in any.

    Raises:
        Bypass: it holds anything else.
    """
    try:
        request = _decode_many(body)
    except msgspec.ValidationError:
        fields = _demand_object(body, _decode_any)
        _demand_list(fields.instances, columnar=fields.inputs is not _UNSET)
        raise Bypass("values") from None
    _demand_list(request.instances)
    rows = bytes(request.instances)
    numbers = first_numbers(rows)
    if numbers is None:
        raise Bypass("values")
    first, shape, per_row = numbers
    count = (rows.count(b",") + 1) // per_row
    if array_form(rows, (count, *shape), count * per_row) is None:
        raise Bypass("values")
    inner = memoryview(request.instances)[1:-1]
    rest = rest_of(request)
    key = key_of(row_signature(first, mode), rest)
    return V1Request(body, [inner], key, count, False, rest, NumberRows(inner, per_row))


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
    return make_request(body, [memoryview(body)[opening.start(1) : end]], signatures, ())


def _tensor_signature(elements: list[Raw], mode: RowSignature) -> str:
    """Return what ``row_signature`` says of a row with these elements, all as long as the first."""
    inner = row_signature(bytes(elements[0]), mode)
    leaves = _LEAVES.match(inner)
    return f"[{len(elements) * int(leaves[1])}{inner}" if leaves else f"[{inner}"


def read_uncommon(body: Body) -> tuple[list[Raw], Fields]:
    """Read a request with fields of its own; tell apart what is wrong and what is another form."""
    fields = _demand_object(body, _decode_fields)
    instances = _demand_list(fields.pop("instances", _UNSET), columnar="inputs" in fields)
    rest = tuple(sorted([(name, bytes(raw)) for name, raw in fields.items()]))
    return _decode_rows(instances), rest


def _demand_object(body: Body, decode: Callable[[Body], T]) -> T:
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise BadRequest(f"{UNREADABLE}: the body is no JSON object; send one") from None


def _demand_list(instances: Raw | msgspec.UnsetType, *, columnar: bool = False) -> Raw:
    """Return the instances, if the request has a list of them."""
    if not isinstance(instances, Raw):
        raise Bypass("columnar" if columnar else "no_instances")
    if memoryview(instances)[0] != _BRACKET:
        raise BadRequest(f"{UNREADABLE}: `instances` is no list; send a list of instances")
    return instances


def render(fields: Sequence[tuple[str, bytes]]) -> bytes:
    """Write fields as they follow another one in a JSON object."""
    return b"".join([b",%b:%b" % (_encode_name(name), raw) for name, raw in fields])
