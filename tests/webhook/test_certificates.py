"""Serving certificates: renewed while handshakes go on, never broken by a bad pair."""

import asyncio
import ssl
from collections import Counter
from pathlib import Path

import pytest

from batcher_webhook.server import WebhookServer
from tests.unit.webhook.golden_files import before
from tests.webhook.kit import HOST, client, make_pair, review, running, serial_of


async def test_clients_with_and_without_a_server_name_are_served(tmp_path: Path) -> None:
    pair = make_pair()
    pair.write(tmp_path)
    async with running(tmp_path) as server:
        assert await serial_of(server.port) == pair.serial
        assert await serial_of(server.port, name=None) == pair.serial


@pytest.mark.parametrize(("first", "second"), [("ec", "rsa"), ("rsa", "ec"), ("ec", "ec")])
async def test_a_new_pair_is_served_whatever_its_key(
    tmp_path: Path, first: str, second: str
) -> None:
    make_pair(first).write(tmp_path)
    async with running(tmp_path, poll_s=60) as server:
        await serial_of(server.port)
        renewed = make_pair(second)
        renewed.write(tmp_path)
        assert await server.certificates.reload()
        assert await serial_of(server.port) == renewed.serial
        assert not await server.certificates.reload()


async def test_half_of_a_new_pair_breaks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair, renewed = make_pair(), make_pair()
    pair.write(tmp_path)
    async with running(tmp_path, poll_s=60) as server:
        (tmp_path / "tls.crt").write_bytes(renewed.certificate)
        for _ in range(3):
            assert not await server.certificates.reload()
            assert await serial_of(server.port) == pair.serial
        assert caplog.text.count("the one before stays") == 1
        (tmp_path / "tls.key").write_bytes(renewed.key)
        assert await server.certificates.reload()
        assert await serial_of(server.port) == renewed.serial


@pytest.mark.parametrize("bad", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_an_unusable_pair_breaks_nothing(tmp_path: Path, bad: bytes) -> None:
    pair = make_pair()
    pair.write(tmp_path)
    async with running(tmp_path, poll_s=60) as server:
        (tmp_path / "tls.crt").write_bytes(bad)
        assert not await server.certificates.reload()
        (tmp_path / "tls.crt").unlink()
        assert not await server.certificates.reload()
        assert await serial_of(server.port) == pair.serial


async def test_an_encrypted_key_is_refused_with_a_word_and_asks_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_pair(password=b"secret").write(tmp_path)
    async with running(tmp_path, poll_s=60) as server:
        assert not server.certificates.loaded
    assert "the key is encrypted" in caplog.text


async def test_without_a_certificate_handshakes_fail_and_recover(tmp_path: Path) -> None:
    async with running(tmp_path, poll_s=60) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await serial_of(server.port)
        pair = make_pair()
        pair.write(tmp_path)
        await server.certificates.reload()
        assert await serial_of(server.port) == pair.serial


async def test_the_files_are_polled(tmp_path: Path) -> None:
    make_pair().write(tmp_path)
    async with running(tmp_path, poll_s=0.05) as server, asyncio.timeout(20):
        renewed = make_pair()
        renewed.write(tmp_path)
        while await serial_of(server.port) != renewed.serial:
            pass


async def test_rotation_under_load_fails_no_request(tmp_path: Path) -> None:
    """As a Secret is mounted: a symbolic link to a folder, which is swapped."""
    pairs = [make_pair("rsa" if number % 3 == 2 else "ec") for number in range(6)]
    for number, pair in enumerate(pairs):
        folder = tmp_path / f"pair-{number}"
        folder.mkdir()
        pair.write(folder)
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "pair-0")
    body = review("Pod", before("plain"))
    shown: Counter[int] = Counter()
    done = asyncio.Event()

    async def handshakes(server: WebhookServer) -> None:
        while not done.is_set():
            shown[await serial_of(server.port)] += 1

    async def reviews(server: WebhookServer) -> int:
        count = 0
        async with client(server) as session:
            while not done.is_set():
                async with session.post(
                    "/mutate-pods", data=body, server_hostname=HOST
                ) as response:
                    assert response.status == 200
                    await response.read()
                count += 1
        return count

    async with running(current, poll_s=0.05) as server, asyncio.timeout(40):
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(handshakes(server))
            kept = group.create_task(reviews(server))
            for number, pair in enumerate(pairs):
                fresh = tmp_path / "fresh"
                fresh.symlink_to(tmp_path / f"pair-{number}")
                fresh.rename(current)
                while shown[pair.serial] < 3:
                    await asyncio.wait([kept], timeout=0.02)
            done.set()
    assert set(shown) == {pair.serial for pair in pairs}
    assert kept.result() > 0
