"""HTTP/1.1 as far as a strict proxy needs it, on top of llhttp (httptools); no I/O.

``head.py`` reads request heads and refuses what a proxy must not pass on, ``chunked.py`` reads
chunked bodies, ``reader.py`` takes both out of a stream, ``headers.py`` decides which headers
travel up and down.
"""

from batcher_sidecar.http1.head import (
    MAX_HEAD_BYTES,
    RequestHead,
    ResponseHead,
    parse_request_head,
)
from batcher_sidecar.http1.reader import RequestReader

__all__ = ["MAX_HEAD_BYTES", "RequestHead", "RequestReader", "ResponseHead", "parse_request_head"]
