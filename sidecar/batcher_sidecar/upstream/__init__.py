"""The connections to the model server, for batches and forwarded requests alike.

``exchange.py`` is one request and its answer, ``connection.py`` one connection, ``pool.py`` makes,
lends and keeps them.
"""

from batcher_sidecar.upstream.exchange import Broken, Exchange, Piece, Sink, Unreachable
from batcher_sidecar.upstream.pool import UpstreamPool

__all__ = ["Broken", "Exchange", "Piece", "Sink", "Unreachable", "UpstreamPool"]
