"""Protocols as pure functions over bytes: a request to rows, rows to one body, an answer to parts.

A codec never interprets a row: rows are slices of the bytes that the client or the model server
sent, so every value comes out as it went in. ``base.py`` is what the rest of the sidecar knows of a
codec, ``v1`` is KServe's and TensorFlow Serving's v1 REST protocol, ``signature.py`` tells which of
its rows one call can hold; ``v2`` is the Open Inference Protocol, with JSON and binary tensors.
``arrays.py`` reads arrays of numbers for both, ``limits.py`` bounds what a request may cost.
"""

from batcher_sidecar.codecs.base import (
    BadRequest,
    Bypass,
    Codec,
    Content,
    NotByRows,
    ParsedRequest,
    Unsplittable,
)
from batcher_sidecar.codecs.catalogue import Codecs

__all__ = [
    "BadRequest",
    "Bypass",
    "Codec",
    "Codecs",
    "Content",
    "NotByRows",
    "ParsedRequest",
    "Unsplittable",
]
