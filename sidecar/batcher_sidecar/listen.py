"""Sockets to listen on, for every address family unless a host is named."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

__all__ = ["listening_sockets"]

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


async def listening_sockets(
    host: str | None, port: int, *, flag: str, backlog: int = 128
) -> list[socket.socket]:
    """Open the non-blocking sockets of one listener, all with the same port.

    None and ``::`` mean every address of both families, by one dual-stack socket; where the machine
    has no IPv6, None means ``0.0.0.0``. Another host is resolved and each of its addresses bound.
    Port 0 asks for any free one. The caller closes the sockets.

    Raises OSError, with the original ``errno``, whose message names the port and ``flag``, the
    command line option that sets it.
    """
    opened: list[socket.socket] = []
    try:
        if host is None:
            opened.append(_every_family(port, backlog))
        elif host == "::":
            opened.append(_dual_stack(port, backlog))
        else:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in dict.fromkeys(found):
                bound = (address[0], port, *address[2:])
                opened.append(socket.create_server(bound, family=family, backlog=backlog))
                port = opened[0].getsockname()[1]
    except OSError as error:
        for sock in opened:
            sock.close()
        raise _explained(error, host, port, flag) from error
    for sock in opened:
        sock.setblocking(False)
    return opened


def _every_family(port: int, backlog: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return _dual_stack(port, backlog)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("0.0.0.0", port), backlog=backlog)  # noqa: S104


def _dual_stack(port: int, backlog: int) -> socket.socket:
    return socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
    )


def _explained(error: OSError, host: str | None, port: int, flag: str) -> OSError:
    if isinstance(error, socket.gaierror):
        return OSError(
            error.errno,
            f"cannot listen on {host!r} ({error.strerror}): name an address of this pod",
        )
    where = f"port {port}" if host is None else f"port {port} of {host}"
    why = os.strerror(error.errno) if error.errno else str(error)
    return OSError(error.errno, f"cannot listen on {where} ({why}): choose another with {flag}")
