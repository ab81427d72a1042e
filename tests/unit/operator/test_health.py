from collections.abc import AsyncIterator

import aiohttp
import pytest

from batcher_operator.authority import Standing
from batcher_operator.health import build_health_app, serve
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics
from tests.unit.operator import objects


class Stand:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.why_not_alive = self.why_not_ready = ""
        self.port = 0

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            return response.status, await response.text()


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    app = build_health_app(
        lambda: stand.why_not_alive, lambda: stand.why_not_ready, stand.metrics
    )  # fmt: skip
    runner, stand.port = await serve(app, "127.0.0.1", 0)
    yield stand
    await runner.cleanup()


async def test_alive_and_ready(stand: Stand) -> None:
    assert await stand.get("/livez") == (200, "ok\n")
    assert await stand.get("/readyz") == (200, "ok\n")


async def test_a_reason_is_told(stand: Stand) -> None:
    stand.why_not_ready = "there is no KServe"
    assert await stand.get("/readyz") == (503, '{"error": "there is no KServe"}\n')
    assert (await stand.get("/livez"))[0] == 200
    stand.why_not_alive = "events do not arrive"
    assert await stand.get("/livez") == (503, '{"error": "events do not arrive"}\n')


async def test_metrics(stand: Stand) -> None:
    memory = Memory()
    memory.take("InferenceService", objects.service(), gone=False)
    memory.take("InferenceService", objects.service("plain", predictor={}), gone=False)
    memory.take("Pod", objects.pod(objects.sidecar()), gone=False)
    memory.take("Pod", objects.pod(name="p2"), gone=False)
    ending = objects.pod(name="p3")
    ending["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    memory.take("Pod", ending, gone=False)
    stand.metrics.watch_cluster(memory, objects.IMAGE, lambda: 7)
    standing = Standing(why_not_ready="", authority_not_after_s=5, certificate_not_after_s=4)
    stand.metrics.watch_certificates(lambda: standing)
    stand.metrics.event("SidecarMissing")
    stand.metrics.certificate_written("Secret")
    stand.metrics.look_failed()
    _, text = await stand.get("/metrics")
    prefix = "inference_batcher_operator_"
    for line in (
        'inferenceservices{batcher="true"} 1.0',
        'inferenceservices{batcher="false"} 1.0',
        'pods{sidecar="injected"} 1.0',
        'pods{sidecar="missing"} 1.0',
        'pods{sidecar="declined"} 0.0',
        "watch_behind_objects 7.0",
        'certificate_expiry_timestamp_seconds{certificate="ca"} 5.0',
        'certificate_expiry_timestamp_seconds{certificate="serving"} 4.0',
        'events_total{reason="SidecarMissing"} 1.0',
        'certificate_writes_total{kind="Secret"} 1.0',
        "look_failures_total 1.0",
    ):
        assert prefix + line in text.splitlines()


async def test_a_port_that_is_taken_is_named(stand: Stand) -> None:
    app = build_health_app(lambda: "", lambda: "", Metrics())
    with pytest.raises(OSError, match=f"port {stand.port}: choose another with --health-port"):
        await serve(app, "127.0.0.1", stand.port)
