"""Requests as bytes, spelt as a test wants them."""

from typing import Any, Final

from batcher_sidecar.codecs import Bypass
from batcher_sidecar.codecs.v2 import V2Codec
from tests.unit.sidecar.codecs.v2.messages import HEADER, plain

__all__ = ["CODEC", "GOOD", "blob", "body", "reason", "tensor"]

CODEC: Final = V2Codec()


def tensor(shape: Any, data: Any, datatype: str = "FP32", **fields: Any) -> bytes:
    """One input as JSON; `shape` and `data` may be bytes as they are to be written."""
    written = {
        "name": b'"x"',
        "shape": shape if isinstance(shape, bytes) else plain(shape),
        "datatype": plain(datatype),
        "data": data if isinstance(data, bytes) else plain(data),
        **{name: plain(value) for name, value in fields.items()},
    }
    inner = b",".join([b'"%b":%b' % (name.encode(), value) for name, value in written.items()])
    return b"{%b}" % inner


def body(*tensors: bytes, more: bytes = b"") -> bytes:
    return b'{"inputs":[%b]%b}' % (b",".join(tensors), more)


def reason(data: bytes, *, json_bytes: bytes | None = None) -> str | None:
    """Why a request is forwarded, or None if it is for batching."""
    headers = {} if json_bytes is None else {HEADER.encode(): json_bytes}
    try:
        CODEC.parse(data, headers)
    except Bypass as bypass:
        return bypass.reason
    return None


GOOD: Final = tensor([1, 4], [1, 2, 3, 4])


def blob(shape: Any, datatype: str, size: Any) -> bytes:
    return b'{"name":"x","shape":%b,"datatype":"%b","parameters":{"binary_data_size":%b}}' % (
        plain(shape),
        datatype.encode(),
        size if isinstance(size, bytes) else plain(size),
    )
