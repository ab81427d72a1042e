"""How long the webhook takes over a pod, by its own histogram: 99 of 100 within 10 ms.

The machine may be shared. What else runs there can only make a run slower, so the process is given
precedence where that is allowed, and three runs of at most twelve must keep the bound.
"""

import asyncio
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import aiohttp
import pytest

from tests.apiserver.kit import Api, ApiServer, Manifest
from tests.apiserver.kit.kserve import running_kserve, service_pod
from tests.apiserver.kit.webhook import Webhook, mutating, registered_mutating
from tests.unit.webhook.golden_files import before

WITHIN_S: Final = 0.01
SHARE: Final = 0.99
RATE: Final = 100
"""Pods a second."""

REVIEWS: Final = 200
"""Of one run that posts them."""

PODS: Final = 120
"""Of one run that makes them."""

GOOD_RUNS: Final = 3
MOST_RUNS: Final = 12
PATH: Final = "/mutate-pods"
BUCKET: Final = "inference_batcher_webhook_review_seconds_bucket"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def preferred(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """A webhook that runs before what else the machine has to do."""
    webhook = Webhook(tmp_path_factory.mktemp("preferred"), api_server.authority)
    with webhook.running():
        webhook.prefer()
        yield webhook


def assert_quick(webhook: Webhook, run: Callable[[], None]) -> None:
    """Run again and again until enough runs kept the bound."""
    shares: list[float] = []
    while sum(share >= SHARE for share in shares) < GOOD_RUNS:
        assert len(shares) < MOST_RUNS, f"shares handled within {WITHIN_S} s: {shares}"
        quick, count = handled(webhook)
        run()
        quick_then, count_then = handled(webhook)
        assert count_then >= count + PODS
        shares.append((quick_then - quick) / (count_then - count))


def handled(webhook: Webhook) -> tuple[float, float]:
    """Reviews that were handled within the bound, and all of them."""
    quick = webhook.metrics().get(f'{BUCKET}{{le="{WITHIN_S}",path="{PATH}"}}', 0.0)
    return quick, webhook.reviews(PATH)


def test_reviews_at_a_steady_rate(
    api_server: ApiServer,
    preferred: Webhook,
    record_property: Callable[[str, object], None],
) -> None:
    pods = [before(case) for case in ("plain", "logged", "collocated", "batcher")]

    def run() -> None:
        took_s = asyncio.run(post_steadily(preferred, api_server.authority.certificate, pods))
        seen_ms = round(statistics.quantiles(took_s, n=100)[-1] * 1000, 1)
        record_property("p99_seen_by_the_client_ms", seen_ms)

    assert_quick(preferred, run)


def test_pods_as_fast_as_they_are_made(
    api_server: ApiServer, api: Api, preferred: Webhook, namespace: str
) -> None:
    asked = {"internal.serving.kserve.io/batcher": "true"}

    def create(number: int) -> Manifest:
        return api.create(service_pod(f"s-{number}", namespace, asked), dryRun="All")

    def run() -> None:
        with ThreadPoolExecutor(4) as pool:
            for made in pool.map(create, range(PODS)):
                assert "inference-batcher.io/decision" in made["metadata"]["annotations"]

    with running_kserve(api, api_server.authority), registered_mutating(api, mutating(preferred)):
        assert_quick(preferred, run)


async def post_steadily(webhook: Webhook, authority: bytes, pods: list[Manifest]) -> list[float]:
    """Post reviews at the rate, whether or not earlier ones are answered; how long each took."""
    context = ssl.create_default_context(cadata=authority.decode())
    took_s: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:

        async def post(uid: str, pod: Manifest, at_s: float) -> None:
            await asyncio.sleep(at_s - time.perf_counter())
            begun_s = time.perf_counter()
            async with client.post(webhook.url + PATH, json=review(uid, pod)) as answer:
                response = (await answer.json())["response"]
            took_s.append(time.perf_counter() - begun_s)
            assert response["uid"] == uid
            assert response["allowed"]
            assert response["patch"]

        start_s = time.perf_counter() + 0.2
        async with asyncio.TaskGroup() as group:
            for number in range(REVIEWS):
                pod = pods[number % len(pods)]
                group.create_task(post(f"u-{number}", pod, start_s + number / RATE))
    return took_s


def review(uid: str, pod: Manifest) -> Manifest:
    request = {
        "uid": uid,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "default",
        "object": pod,
    }
    version = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return {**version, "request": request}
