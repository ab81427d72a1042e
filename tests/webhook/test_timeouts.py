"""Clients that dawdle are sent away."""

import asyncio
from pathlib import Path

import pytest

from batcher_webhook.server import WebhookServer
from tests.webhook.kit import HOST, client_context, make_pair, running

SHORT_S = 0.3
HEAD = b"POST /mutate-pods HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"


async def answer_to(server: WebhookServer, sent: bytes, *, tls: bool = True) -> bytes:
    """All that comes back until the webhook closes the connection."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            server.port,
            ssl=client_context() if tls else None,
            server_hostname=HOST if tls else None,
        )
        try:
            writer.write(sent)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


async def test_a_handshake_that_never_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batcher_webhook.server.HANDSHAKE_TIMEOUT_S", SHORT_S)
    make_pair().write(tmp_path)
    async with running(tmp_path) as server:
        assert await answer_to(server, b"", tls=False) == b""


@pytest.mark.parametrize("sent", [b"", HEAD])
async def test_a_head_that_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("batcher_webhook.server.KEEPALIVE_TIMEOUT_S", SHORT_S)
    make_pair().write(tmp_path)
    async with running(tmp_path) as server:
        assert await answer_to(server, sent) == b""


async def test_a_body_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher_webhook.handlers.HANDLER_TIMEOUT_S", SHORT_S)
    make_pair().write(tmp_path)
    async with running(tmp_path) as server:
        answer = await answer_to(server, HEAD + b"\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 0.3 s" in answer
