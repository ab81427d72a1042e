"""What a model server says of a model, as far as it decides about batching."""

from __future__ import annotations

from typing import Final

import msgspec

_VARIABLE: Final = -1


class _Tensor(msgspec.Struct):
    name: str = ""
    shape: list[int] | None = None


class _Metadata(msgspec.Struct):
    inputs: list[_Tensor] | None = None
    outputs: list[_Tensor] | None = None


class _Config(msgspec.Struct):
    max_batch_size: int | msgspec.UnsetType = msgspec.UNSET


_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_config = msgspec.json.Decoder(_Config).decode


def obstacle(metadata: bytes) -> str | None:
    """Return what in a model's metadata forbids batching it; "" if nothing does, None if unknown.

    A tensor whose shape is not told is no obstacle: KServe's own server and MLServer need not know.
    """
    try:
        tensors = _decode_metadata(metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for kind, listed in (("input", tensors.inputs), ("output", tensors.outputs)):
        for tensor in listed or ():
            if tensor.shape and tensor.shape[0] != _VARIABLE:
                return f"{kind} {tensor.name!r} has shape {tensor.shape}, not [-1, ...]"
    return ""


def read_max_batch_size(config: bytes) -> int | None:
    """Return ``max_batch_size`` of a model configuration of Triton's; None if it says none.

    0 is a model that Triton does not batch: a first dimension that varies is then something else.
    """
    try:
        size = _decode_config(config).max_batch_size
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return size if isinstance(size, int) and size >= 0 else None
