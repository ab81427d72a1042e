"""What keeps the time and the memory that one request takes within bounds."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from batcher_sidecar.codecs.base import Body

_CHUNK_BYTES: Final = 1 << 20
_DIGEST_BYTES: Final = 32
_CONTINUATION, _CONTINUATION_MASK, _MAX_CONTINUATIONS = 0x80, 0xC0, 3
SHORT_KEY_BYTES: Final = 1024
"""Longer keys are kept as their digest."""


def digest(key: Any) -> bytes:
    """Return what stands for a long key; no two of different keys are known, or to be found.

    ``key`` is made of tuples, bytes, text and integers alone.
    """
    return hashlib.blake2b(repr(key).encode(), digest_size=_DIGEST_BYTES).digest()


def demand_utf8(text: Body) -> None:
    """Raise UnicodeDecodeError, with the place in ``start``, where this is not UTF-8.

    Decoded as a whole, one letter would make every other take four bytes.
    """
    if len(text) <= _CHUNK_BYTES:
        text.decode()
        return
    view = memoryview(text)
    start = 0
    while start < len(text):
        stop = start + _CHUNK_BYTES
        for _ in range(_MAX_CONTINUATIONS):
            if stop < len(text) and text[stop] & _CONTINUATION_MASK == _CONTINUATION:
                stop -= 1
        try:
            bytes(view[start:stop]).decode()
        except UnicodeDecodeError as error:
            error.start += start
            raise
        start = stop
