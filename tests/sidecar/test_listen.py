"""Listening on every address family, or on what a host names."""

from __future__ import annotations

import errno
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

from batcher_sidecar.listen import listening_sockets
from tests.sidecar.kit.tcp import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def no_blocking_call() -> Iterator[None]:
    with blockbuster_ctx("batcher_sidecar"):
        yield


@asynccontextmanager
async def listening(host: str | None, port: int = 0) -> AsyncIterator[list[socket.socket]]:
    sockets = await listening_sockets(host, port, flag="--port")
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def port_of(sockets: list[socket.socket]) -> int:
    ports = {sock.getsockname()[1] for sock in sockets}
    assert len(ports) == 1
    return int(ports.pop())


async def accepts(port: int, host: str) -> bool:
    try:
        async with connection(port, host):
            return True
    except ConnectionRefusedError:
        return False


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
@pytest.mark.parametrize("host", [None, "::"])
async def test_both_families_are_served_by_one_socket(host: str | None) -> None:
    async with listening(host) as sockets:
        assert len(sockets) == 1
        assert await accepts(port_of(sockets), "127.0.0.1")
        assert await accepts(port_of(sockets), "::1")


@pytest.mark.parametrize("missing", ["unsupported", "no address"])
async def test_without_ipv6_all_of_ipv4_is_served(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    create = socket.create_server

    def no_ipv6(
        address: tuple[str, int], *, family: int = socket.AF_INET, backlog: int = 0, **_: object
    ) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create(address, backlog=backlog)

    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: missing == "no address")
    monkeypatch.setattr(socket, "create_server", no_ipv6)
    async with listening(None) as sockets:
        assert await accepts(port_of(sockets), "127.0.0.1")
        assert await accepts(port_of(sockets), "127.0.0.2")


async def test_a_named_address_is_served_alone() -> None:
    async with listening("127.0.0.1") as sockets:
        assert await accepts(port_of(sockets), "127.0.0.1")
        assert not await accepts(port_of(sockets), "127.0.0.2")


async def test_a_name_is_served_on_one_port_at_all_of_its_addresses() -> None:
    async with listening("localhost") as sockets:
        assert await accepts(port_of(sockets), "localhost")


async def test_the_sockets_suit_an_event_loop() -> None:
    async with listening(None) as sockets:
        assert not any(sock.getblocking() for sock in sockets)


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
async def test_a_taken_port_is_named_with_its_flag(host: str | None) -> None:
    async with listening(None) as sockets:
        port = port_of(sockets)
        with pytest.raises(OSError, match=f"port {port}.*in use.*--port") as failure:
            await listening_sockets(host, port, flag="--port")
    assert failure.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", ["192.0.2.1", "1:2:3"])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on .*{host}"):
        await listening_sockets(host, 0, flag="--port")
