"""Pods come and go under constant load, and no request fails."""

from typing import Final

from tests.apiserver.kit import ApiError, Manifest, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import Workload

AT_LEAST: Final = 50_000
CALLERS: Final = 64


def test_rolling_updates_and_scaling_lose_nothing(
    product: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    what = image(cluster, "model")
    rolled = Workload(cluster, namespace, "rolled", what, replicas=3, latency_ms=10)
    rolled.start()
    load = caller.load(rolled.url, callers=CALLERS)
    for number in range(3):
        rolled.roll(number)
    rolled.scale(1)
    rolled.scale(3)
    load.wait_for(AT_LEAST)
    report = load.stop()
    report.check_all_right()
    assert report.without_sidecar == 0
    assert report.batched > report.sent / 2
    generations = {name.rpartition("-")[0] for name in report.pods}
    assert len(generations) == 1 + 3, report.pods
    assert set(rolled.restarts("agent")) == {0}


def test_evictions_one_by_one_lose_nothing(
    product: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    evicted = Workload(cluster, namespace, "evicted", image(cluster, "model"), replicas=2)
    evicted.start()
    labels = evicted.manifests[0]["spec"]["selector"]
    cluster.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "evicted", "namespace": namespace},
            "spec": {"maxUnavailable": 1, "selector": labels},
        }
    )
    load = caller.load(evicted.url, callers=CALLERS)
    load.wait_for(CALLERS * 10)  # both are called
    for pod in evicted.pods():
        until(lambda pod=pod: evict(cluster, pod), "the budget allows the eviction", 60.0)  # type: ignore[misc]
    evicted.wait()
    until(lambda: len(evicted.pods()) == 2, "the evicted pods are gone", 60.0)
    report = load.stop()
    report.check_all_right()
    assert len(report.pods) >= 3, report.pods  # both, and one that came instead


def evict(cluster: Cluster, pod: Manifest) -> bool:
    """Evict a pod as `kubectl drain` does; whether the budget allowed it."""
    meta = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    path = cluster.api.path("Pod", meta["name"], meta["namespace"])
    try:
        cluster.api.call("POST", f"{path}/eviction", body)
    except ApiError as error:
        if error.status == 429:
            return False
        raise
    return True
