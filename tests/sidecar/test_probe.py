"""The model server's readiness probe, against real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

from batcher_sidecar.probe import MAX_SUCCESS_AGE_S, ModelProbe
from tests.sidecar.kit.tcp import (
    LOOPBACK,
    Server,
    hang,
    let_the_loop_turn,
    movable_clock,
    serving,
    untrusted_context,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

    from tests.sidecar.kit.tcp import Advance


@pytest.fixture(autouse=True)
def no_blocking_call() -> Iterator[None]:
    with blockbuster_ctx("batcher_sidecar"):
        yield


@pytest.fixture
async def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    return movable_clock(monkeypatch)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return untrusted_context(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def answering(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve one answer after the other, the last one for ever."""
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    async with serving(handle, tls) as server:
        yield server


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def http_get(port: int, **fields: object) -> dict[str, object]:
    return {"httpGet": {"path": "/ready", "port": port, **fields}}


@asynccontextmanager
async def probing(
    value: object, port: int = 1, *, cache_s: float = 0.25
) -> AsyncIterator[ModelProbe]:
    text = None if value is None else json.dumps(value)
    probe = ModelProbe.parse(text, LOOPBACK, port, cache_s=cache_s)
    try:
        async with asyncio.timeout(20):
            yield probe
    finally:
        await probe.close()


async def closed_port() -> int:
    async with serving(hang) as server:
        return server.port


# TCP


@pytest.mark.parametrize("value", [None, {}, {"tcpSocket": {"port": 0}}, {"grpc": {}}])
async def test_tcp_to_an_open_and_to_a_closed_port(value: object) -> None:
    async with serving(hang) as server, probing(value, server.port) as probe:
        assert await probe.check()
        assert probe.reason == ""
    async with probing(value, server.port) as probe:
        assert not await probe.check()
        assert probe.reason == f"TCP connect to {LOOPBACK}:{server.port} failed: Connection refused"


async def test_an_unknown_host_is_not_ready() -> None:
    async with probing({"tcpSocket": {"host": "1:2:3", "port": 80}}) as probe:
        assert not await probe.check()
        assert probe.reason.startswith("TCP connect to [1:2:3]:80 failed: ")


async def test_exec_falls_back_to_tcp_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    value = {"exec": {"command": ["cat", "/tmp/ready"]}}  # noqa: S108
    async with (
        serving(hang) as server,
        probing([value, value], server.port, cache_s=0) as probe,
    ):
        assert await probe.check()
        assert await probe.check()
    said = [record for record in caplog.records if "exec" in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert f"TCP connect to {LOOPBACK}:{server.port}" in said[0].getMessage()


# HTTP


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ("200 OK", True),
        ("204 No Content", True),
        ("399 Odd", True),
        ("400 Bad Request", False),
        ("404 Not Found", False),
        ("503 Service Unavailable", False),
    ],
)
async def test_status_decides(status: str, ready: bool) -> None:
    async with answering(answer(status)) as server, probing(http_get(server.port)) as probe:
        assert await probe.check() is ready
        if not ready:
            assert (
                probe.reason == f"GET http://{LOOPBACK}:{server.port}/ready answered {status[:3]}"
            )


async def test_a_redirect_is_a_success_and_not_followed() -> None:
    async with answering(answer("200 OK")) as elsewhere:
        location = f"Location: http://{LOOPBACK}:{elsewhere.port}/login"
        async with (
            answering(answer("302 Found", location)) as server,
            probing(http_get(server.port)) as probe,
        ):
            assert await probe.check()
            assert (server.connections, elsewhere.connections) == (1, 0)


async def test_what_is_sent() -> None:
    async with answering(answer("200 OK")) as server:
        async with probing(http_get(server.port, path="/v2/models/a%2Fb/ready?x=1&y")) as probe:
            assert await probe.check()
    line, *headers = server.heads[0].rstrip("\r\n").split("\r\n")
    assert line == "GET /v2/models/a%2Fb/ready?x=1&y HTTP/1.1"
    assert f"Host: {LOOPBACK}:{server.port}" in headers
    assert any(header.startswith("User-Agent: kube-probe/") for header in headers)
    assert not any(header.startswith("Accept-Encoding") for header in headers)


async def test_the_probes_own_headers_win_and_stay_out_of_reason_and_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = [
        {"name": "Host", "value": "iris.example"},
        {"name": "user-agent", "value": "mine/1"},
        {"name": "Authorization", "value": "Bearer s3cret"},
        {"name": "X-Twice", "value": "1"},
        {"name": "X-Twice", "value": "2"},
    ]
    async with (
        answering(answer("401 Unauthorized")) as server,
        probing(http_get(server.port, path="/?key=s3cret", httpHeaders=headers)) as probe,
    ):
        assert not await probe.check()
        assert "401" in probe.reason
        assert "s3cret" not in probe.reason + str(probe) + caplog.text
    sent = server.heads[0].split("\r\n")
    assert [line for line in sent if line.lower().startswith(("host:", "user-agent:"))] == [
        "Host: iris.example",
        "user-agent: mine/1",
    ]
    assert {"Authorization: Bearer s3cret", "X-Twice: 1", "X-Twice: 2"} <= set(sent)


async def test_a_certificate_is_not_verified(tls: ssl.SSLContext) -> None:
    async with (
        answering(answer("200 OK"), tls=tls) as server,
        probing(http_get(server.port, scheme="HTTPS")) as probe,
    ):
        assert await probe.check()


async def test_https_to_a_server_that_speaks_none() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer("400 Bad Request"))

    async with (
        serving(handle) as server,
        probing(http_get(server.port, scheme="HTTPS")) as probe,
    ):
        assert not await probe.check()
        assert "failed" in probe.reason


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
async def test_garbage_is_not_ready_and_raises_nothing(garbage: bytes) -> None:
    async with answering(garbage) as server, probing(http_get(server.port)) as probe:
        assert not await probe.check()
        assert probe.reason.startswith(f"GET http://{LOOPBACK}:{server.port}/ready failed: ")


async def test_an_answer_is_read_to_the_kubelets_limit_only() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(endless + b"x" * 10_240)
        await hang(reader, writer)

    async with serving(trickle) as server, probing(http_get(server.port)) as probe:
        assert await probe.check()


# Time


@pytest.mark.parametrize(("timeout_s", "bound_s"), [(None, 1), (0, 1), (3, 3)])
@pytest.mark.parametrize("opening", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"])
async def test_a_server_that_hangs_is_not_ready_after_the_timeout(
    timeout_s: int | None, bound_s: int, opening: bytes, advance: Advance
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(opening)
        asked.set()
        await hang(reader, writer)

    asked = asyncio.Event()
    async with serving(handle) as server:
        value = {**http_get(server.port), "timeoutSeconds": timeout_s}
        async with probing(value) as probe:
            check = asyncio.create_task(probe.check())
            await asked.wait()
            advance(bound_s - 0.5)
            await let_the_loop_turn()
            assert not check.done()
            advance(0.5)
            assert not await check
            assert probe.reason.endswith(f"took longer than {bound_s} s")


async def test_a_result_is_cached_for_a_short_time(advance: Advance) -> None:
    async with (
        answering(answer("200 OK"), answer("500 Oops")) as server,
        probing(http_get(server.port)) as probe,
    ):
        assert await probe.check()
        advance(0.2)
        assert await probe.check()
        assert server.connections == 1
        advance(0.1)
        assert not await probe.check()
        assert not await probe.check()
        assert server.connections == 2


async def test_a_success_is_never_older_than_a_second(advance: Advance) -> None:
    async with (
        answering(answer("200 OK"), answer("500 Oops")) as server,
        probing(http_get(server.port), cache_s=3600) as probe,
    ):
        assert await probe.check()
        advance(MAX_SUCCESS_AGE_S)
        assert not await probe.check()
    assert MAX_SUCCESS_AGE_S == 1


async def test_callers_at_the_same_time_share_one_attempt() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        await released.wait()
        writer.write(answer("200 OK"))

    released = asyncio.Event()
    async with serving(handle) as server, probing(http_get(server.port)) as probe:
        callers = [asyncio.create_task(probe.check()) for _ in range(20)]
        await server.connected.wait()
        callers[0].cancel()  # the one that began it
        released.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [True] * 19
        assert server.connections == 1


# Several probes


async def test_all_of_a_list_must_succeed() -> None:
    async with answering(answer("200 OK")) as one, answering(answer("200 OK")) as other:
        async with probing([http_get(one.port), {"tcpSocket": {"port": other.port}}]) as probe:
            assert await probe.check()
        async with probing([http_get(one.port), http_get(await closed_port())]) as probe:
            assert not await probe.check()
            assert probe.reason.endswith("Connection refused")


async def test_a_failure_is_told_without_waiting_for_one_that_hangs() -> None:
    patient = {"timeoutSeconds": 3600}
    async with serving(hang) as hung, answering(answer("503 No")) as other:
        value = [{**http_get(hung.port), **patient}, {**http_get(other.port), **patient}]
        async with probing(value) as probe:
            assert not await probe.check()
            assert probe.reason.endswith("answered 503")


# Life


async def test_the_log_tells_changes_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "batcher_sidecar.probe")
    no, yes = answer("503 No"), answer("200 OK")
    async with (
        answering(no, no, yes, yes, no) as server,
        probing(http_get(server.port), cache_s=0) as probe,
    ):
        assert [await probe.check() for _ in range(5)] == [False, False, True, True, False]
    assert [(record.levelname, "not ready" in record.message) for record in caplog.records] == [
        ("WARNING", True),
        ("INFO", False),
        ("WARNING", True),
    ]


async def test_nothing_runs_or_stays_open_between_checks() -> None:
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.head(reader)
        writer.write(answer("200 OK", "Connection: keep-alive"))
        await hang(reader, writer)
        gone.set()

    async with serving(handle) as server, probing(http_get(server.port)) as probe:
        before = asyncio.all_tasks()
        assert await probe.check()
        await gone.wait()
        if ending := asyncio.all_tasks() - before:  # the server's own
            await asyncio.wait(ending)
        assert asyncio.all_tasks() == before


async def test_close_ends_a_check_under_way() -> None:
    async with serving(hang) as server:
        async with probing({**http_get(server.port), "timeoutSeconds": 3600}) as probe:
            check = asyncio.create_task(probe.check())
            await server.connected.wait()
            await probe.close()
            assert not await check
            assert not await probe.check()
            await probe.close()
        assert server.connections == 1
