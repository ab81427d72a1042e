"""Requests of the Open Inference Protocol v2, written by hand, and answers taken apart."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BINARY", "Answer", "Message", "Tensor", "blob", "message", "tensor"]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
BINARY: Final = {"binary_data_output": True}
"""Parameters of a request that wants all its outputs in binary form."""

Fields = dict[str, Any]


@dataclass(frozen=True)
class Tensor:
    """An input: its description, and its data if it is in binary form."""

    fields: Fields
    blob: bytes = b""


@dataclass(frozen=True)
class Message:
    """The body of a request, with the headers that belong to it."""

    body: bytes
    headers: Mapping[str, str]
    rows: int
    path: str = "infer"
    """What follows the model's name."""
    request_id: str | None = None


def tensor(
    name: str, datatype: str, values: Any, *, binary: bool = False, nested: bool = False
) -> Tensor:
    """An input of these values: an array, of bytes or text if the datatype is BYTES."""
    array = np.asarray(values, dtype=np.object_ if datatype == "BYTES" else None)
    fields: Fields = {"name": name, "shape": list(array.shape), "datatype": datatype}
    if binary:
        data = blob(datatype, array)
        return Tensor({**fields, "parameters": {"binary_data_size": len(data)}}, data)
    return Tensor({**fields, "data": (array if nested else array.ravel()).tolist()})


_DTYPES: Final = {
    "BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BF16": "<u2",
}  # fmt: skip


def blob(datatype: str, values: Any) -> bytes:
    """The binary form; of BF16 the values are its 16 bits."""
    array = np.asarray(values)
    if datatype != "BYTES":
        return array.astype(_DTYPES[datatype]).tobytes()
    elements = [item if isinstance(item, bytes) else item.encode() for item in array.ravel()]
    return b"".join(struct.pack("<I", len(item)) + item for item in elements)


def message(
    inputs: Sequence[Tensor],
    *,
    outputs: Sequence[Fields] | None = None,
    request_id: str | None = None,
    parameters: Fields | None = None,
    path: str = "infer",
    length: int | None = None,
) -> Message:
    """A request; `length` is what the header says of the JSON part, if not the truth."""
    content: Fields = {"inputs": [one.fields for one in inputs]}
    optional = {"outputs": outputs, "id": request_id, "parameters": parameters}
    content.update((name, value) for name, value in optional.items() if value is not None)
    head = json.dumps(content, ensure_ascii=False).encode()
    blobs = [one.blob for one in inputs if "data" not in one.fields]
    headers = {"Content-Type": "application/json"}
    if blobs or length is not None:
        headers["Content-Type"] = "application/octet-stream"
        headers[HEADER_LENGTH] = str(len(head) if length is None else length)
    rows = inputs[0].fields["shape"][0] if inputs else 0
    return Message(head + b"".join(blobs), headers, rows, path, request_id)


@dataclass(frozen=True)
class Answer:
    """One answer as its caller saw it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    @property
    def json(self) -> Fields:
        """Its JSON part; an error's is the whole body."""
        return msgspec.json.decode(self._halves()[0], type=dict[str, msgspec.Raw])

    @property
    def batch_id(self) -> str | None:
        """The call it shared, as the body tells."""
        found = self._parameters().get("batch_id")
        assert found is None or isinstance(found, str)
        return found

    @property
    def batch_rows(self) -> int:
        """How many rows went up together; 0 if it was not batched."""
        return int(self.headers.get("X-Batch-Size", "0"))

    @property
    def request_id(self) -> str | None:
        raw = self.json.get("id")
        return None if raw is None else msgspec.json.decode(raw, type=str)

    def content(self) -> Any:
        """All it says but `id` and `parameters.batch_id`; every tensor's data as bytes.

        Data is compared as it was written, so that 1.0 and 1 differ.
        """
        if self.status != 200:
            return self.status, self.body
        parameters = {k: v for k, v in self._parameters().items() if k != "batch_id"}
        others = {
            name: bytes(raw)
            for name, raw in self.json.items()
            if name not in {"id", "outputs", "parameters"}
        }
        return self.status, others, parameters, self.outputs()

    def outputs(self) -> list[tuple[Fields, bytes]]:
        """Each output's description and data, JSON text or blob; nothing of the body is left."""
        rest = self._halves()[1]
        found = []
        for raw in msgspec.json.decode(self.json["outputs"], type=list[msgspec.Raw]):
            fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            data = fields.pop("data", None)
            decoded = {name: msgspec.json.decode(value) for name, value in fields.items()}
            if data is None:
                size: int = decoded["parameters"]["binary_data_size"]
                assert size <= len(rest), "a blob ends behind the body"
                found.append((decoded, rest[:size]))
                rest = rest[size:]
            else:
                found.append((decoded, bytes(data)))
        assert not rest, f"{len(rest)} bytes belong to no output"
        return found

    def _halves(self) -> tuple[bytes, bytes]:
        length = int(self.headers.get(HEADER_LENGTH, len(self.body)))
        assert length <= len(self.body)
        return self.body[:length], self.body[length:]

    def _parameters(self) -> Fields:
        raw = self.json.get("parameters")
        return (msgspec.json.decode(raw) or {}) if raw is not None else {}
