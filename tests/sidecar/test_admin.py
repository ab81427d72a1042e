"""The admin port, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from typing import TYPE_CHECKING

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from prometheus_client.parser import text_string_to_metric_families

from batcher_contract.names import DRAIN_HEADER
from batcher_sidecar.admin import AdminServer, build_app, start_admin
from batcher_sidecar.metrics import Metrics
from tests.sidecar.kit.tcp import connection, let_the_loop_turn, movable_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.sidecar.kit.tcp import Advance

HOOK = {DRAIN_HEADER: "true"}


@pytest.fixture(autouse=True)
def no_blocking_call() -> Iterator[None]:
    with blockbuster_ctx("batcher_sidecar"):
        yield


@pytest.fixture
async def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    return movable_clock(monkeypatch)


class State:
    """A sidecar whose state the test sets."""

    def __init__(self) -> None:
        self.readiness = (True, "the model server is ready")
        self.settings: dict[str, object] = {
            "version": "1.2.3",
            "since": "2025-01-02T03:04:05Z",
            "settings": {"max_latency_ms": 5000, "batch_key_headers": ("x-tenant",)},
        }
        self.drains = 0
        self.asked = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()
        self.drained = asyncio.Event()
        self.failure: Exception | None = None

    async def _wait(self) -> None:
        self.asked.set()
        await self.released.wait()
        if self.failure is not None:
            raise self.failure

    async def ready(self) -> tuple[bool, str]:
        await self._wait()
        return self.readiness

    async def drain_by_hook(self) -> str:
        self.drains += 1
        await self._wait()
        self.drained.set()
        return "nothing is left to answer"

    def config(self) -> dict[str, object]:
        return self.settings


class Admin:
    """A running admin port and a client for it."""

    def __init__(
        self, state: State, metrics: Metrics, server: AdminServer, client: aiohttp.ClientSession
    ) -> None:
        self.state = state
        self.metrics = metrics
        self.server = server
        self._client = client

    async def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Return status, content type and body."""
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self._client.request(method, url, headers=headers) as response:
            return response.status, response.headers["Content-Type"], await response.text()

    async def refusal(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Return status and sentence of what must be a refusal."""
        status, content_type, body = await self.ask(path, method, headers)
        assert content_type == "application/json; charset=utf-8"
        content = json.loads(body)
        assert list(content) == ["error"]
        return status, content["error"]


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    state, metrics = State(), Metrics(version="1.2.3")
    server = await start_admin(build_app(state, metrics), None, 0)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client:
            yield Admin(state, metrics, server, client)
    finally:
        await server.close()


async def livez(port: int, host: str) -> bytes:
    async with connection(port, host) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return (await reader.read()).split(b"\r\n")[0]


# The pages


async def test_livez(admin: Admin) -> None:
    admin.state.readiness = (False, "draining")
    assert await admin.ask("/livez") == (200, "text/plain; charset=utf-8", "ok\n")


async def test_readyz_says_why(admin: Admin) -> None:
    status, _, body = await admin.ask("/readyz")
    assert (status, body) == (200, "the model server is ready\n")
    admin.state.readiness = (False, "the model server is not ready: GET / answered 503")
    assert await admin.refusal("/readyz") == (503, admin.state.readiness[1])
    assert (await admin.ask("/readyz", "HEAD"))[0] == 503


async def test_readyz_does_not_wait_for_ever(admin: Admin, advance: Advance) -> None:
    admin.state.released.clear()
    asking = asyncio.create_task(admin.refusal("/readyz"))
    await admin.state.asked.wait()
    advance(10)
    status, sentence = await asking
    assert status == 503
    assert "within 10 s" in sentence


@pytest.mark.parametrize("failure", [RuntimeError("s3cret"), TimeoutError()])
@pytest.mark.parametrize("path", ["/readyz", "/drain"])
async def test_a_failure_inside_is_a_500_that_the_log_explains(
    admin: Admin, path: str, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    admin.state.failure = failure
    status, sentence = await admin.refusal(path, headers=HOOK)
    assert status == 500
    assert "log" in sentence
    assert "s3cret" not in sentence
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert (await admin.ask("/livez"))[0] == 200


async def test_metrics(admin: Admin) -> None:
    admin.metrics.request_done("v1", "iris", 200)
    status, content_type, body = await admin.ask("/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    names = {family.name for family in text_string_to_metric_families(body)}
    assert {"inference_batcher_requests", "process_cpu_seconds"} <= names
    assert 'inference_batcher_requests_total{code="200",model="iris",protocol="v1"} 1.0' in body


async def test_config(admin: Admin) -> None:
    status, content_type, body = await admin.ask("/config")
    assert (status, content_type) == (200, "application/json; charset=utf-8")
    assert json.loads(body) == {
        "version": "1.2.3",
        "since": "2025-01-02T03:04:05Z",
        "settings": {"max_latency_ms": 5000, "batch_key_headers": ["x-tenant"]},
    }


# Draining


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_hook_drains(admin: Admin, method: str) -> None:
    admin.state.released.clear()
    asking = asyncio.create_task(admin.ask("/drain", method, HOOK))
    await admin.state.asked.wait()
    assert not asking.done()
    assert (await admin.ask("/livez"))[0] == 200
    admin.state.released.set()
    status, _, body = await asking
    assert (status, body, admin.state.drains) == (200, "nothing is left to answer\n", 1)


async def test_a_drain_may_take_its_time(admin: Admin, advance: Advance) -> None:
    admin.state.released.clear()
    asking = asyncio.create_task(admin.ask("/drain", headers=HOOK))
    await admin.state.asked.wait()
    advance(3600)
    assert (await admin.ask("/livez"))[0] == 200
    admin.state.released.set()
    assert (await asking)[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_its_header_nothing_is_drained(admin: Admin, method: str) -> None:
    status, sentence = await admin.refusal("/drain", method)
    assert status == 403
    assert f"{DRAIN_HEADER}: true" in sentence
    assert admin.state.drains == 0


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_drain_nothing(admin: Admin, method: str) -> None:
    assert (await admin.ask("/drain", method, HOOK))[0] == 405
    assert admin.state.drains == 0


async def test_a_drain_goes_on_when_its_caller_leaves(admin: Admin) -> None:
    admin.state.released.clear()
    async with connection(admin.server.port) as (_, writer):
        writer.write(f"GET /drain HTTP/1.1\r\nHost: x\r\n{DRAIN_HEADER}: true\r\n\r\n".encode())
        await admin.state.asked.wait()
        writer.transport.abort()
    assert (await admin.ask("/livez"))[0] == 200  # by now the loop has seen the abort
    admin.state.released.set()
    await admin.state.drained.wait()


# Refusals


@pytest.mark.parametrize("path", ["/", "/metric", "/livez/", "/v1/models/iris:predict"])
async def test_an_unknown_path_is_told_the_known_ones(admin: Admin, path: str) -> None:
    status, sentence = await admin.refusal(path)
    assert status == 404
    assert all(known in sentence for known in ("/livez", "/readyz", "/metrics", "/config"))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/livez", {"GET", "HEAD"}),
        ("/readyz", {"GET", "HEAD"}),
        ("/metrics", {"GET", "HEAD"}),
        ("/config", {"GET", "HEAD"}),
        ("/drain", {"GET", "POST"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    admin: Admin, path: str, allowed: set[str]
) -> None:
    status, sentence = await admin.refusal(path, "DELETE")
    assert status == 405
    assert all(method in sentence for method in allowed)
    async with connection(admin.server.port) as (reader, writer):
        writer.write(f"DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.read()).decode().split("\r\n\r\n")[0]
    allow = next(line for line in head.split("\r\n") if line.lower().startswith("allow:"))
    assert set(allow.partition(": ")[2].split(",")) == allowed


# The port


async def test_a_connection_without_a_whole_request_is_closed(
    admin: Admin, advance: Advance
) -> None:
    async with connection(admin.server.port) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHo")
        assert (await admin.ask("/livez"))[0] == 200
        advance(10)
        assert await reader.read() == b""


async def test_what_is_no_http_is_refused_without_a_traceback_in_the_log(
    admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET /livez HTTP/1.1\r\nA B\r\n\r\n"):
        async with connection(admin.server.port) as (reader, writer):
            writer.write(garbage)
            assert (await reader.read()).split()[1] == b"400"
    assert caplog.records == []
    assert (await admin.ask("/livez"))[0] == 200


async def test_requests_are_not_logged(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await admin.ask("/readyz")
    await admin.ask("/nothing")
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


async def test_every_address_is_served(admin: Admin) -> None:
    assert await livez(admin.server.port, "127.0.0.2") == b"HTTP/1.1 200 OK"


async def test_a_named_host_is_served_alone() -> None:
    server = await start_admin(build_app(State(), Metrics()), "127.0.0.1", 0)
    try:
        assert await livez(server.port, "127.0.0.1") == b"HTTP/1.1 200 OK"
        with pytest.raises(ConnectionRefusedError):
            await livez(server.port, "127.0.0.2")
    finally:
        await server.close()


async def test_a_taken_port_is_named_with_its_flag(admin: Admin) -> None:
    port = admin.server.port
    for host in (None, "127.0.0.1"):
        with pytest.raises(OSError, match=f"port {port}.*in use.*--admin-port") as failure:
            await start_admin(build_app(State(), Metrics()), host, port)
        assert failure.value.errno == errno.EADDRINUSE


async def test_close_frees_the_port_and_may_be_repeated(admin: Admin) -> None:
    port = admin.server.port
    await admin.server.close()
    await admin.server.close()
    with pytest.raises(ConnectionRefusedError):
        await livez(port, "127.0.0.1")
    again = await start_admin(build_app(State(), Metrics()), None, port)
    await again.close()
    assert again.port == port


async def test_close_waits_for_an_answer_on_its_way(admin: Admin) -> None:
    admin.state.released.clear()
    asking = asyncio.create_task(admin.ask("/drain", headers=HOOK))
    await admin.state.asked.wait()
    closing = asyncio.create_task(admin.server.close())
    await let_the_loop_turn()
    assert not closing.done()
    admin.state.released.set()
    assert (await asking)[0] == 200
    await closing


async def test_close_is_bounded_when_a_drain_never_ends(admin: Admin) -> None:
    admin.state.released.clear()
    asking = asyncio.create_task(admin.ask("/drain", headers=HOOK))
    await admin.state.asked.wait()
    async with asyncio.timeout(5):
        await admin.server.close()
    with pytest.raises(aiohttp.ClientError):
        await asking
