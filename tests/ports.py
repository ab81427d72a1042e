"""Ports for what the tests start."""

import contextlib
import secrets
import socket
from typing import Final

__all__ = ["free_port"]

# Below what kernels give to clients, so that no connection takes one meanwhile.
_FIRST: Final = 20_000
_COUNT: Final = 10_000
_TRIES: Final = 1000

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on; never the same twice in a process.

    Raises OSError if there is none.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_COUNT)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            _given.add(port)
            return port
    raise OSError(f"no free port among {_COUNT} from {_FIRST} on")
