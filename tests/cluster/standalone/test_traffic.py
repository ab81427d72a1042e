"""InferenceServices that the operator runs: nothing is lost, whichever of our programs is away."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.apiserver.kit import until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import InferenceService

AT_LEAST: Final = 50_000
CALLERS: Final = 64
LINGER: Final = {"args": ["--linger-s=5"]}
"""Without a sidecar it is for the model server to end in peace."""


@pytest.fixture
def no_webhook(standalone: Product) -> Iterator[None]:
    """No pod of the webhook runs."""
    standalone.scale_webhook(0)
    yield
    standalone.scale_webhook(2)


def test_rolling_updates_and_scaling_lose_nothing(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    rolled = InferenceService(cluster, namespace, "rolled", image(cluster, "model"), replicas=3)
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
    assert len({name.rpartition("-")[0] for name in report.pods}) == 1 + 3, report.pods
    assert set(rolled.restarts("agent")) == {0}


def test_pods_of_ours_that_are_deleted_meanwhile_cost_no_request(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    what = image(cluster, "model")
    rolled = InferenceService(cluster, namespace, "rolled", what, replicas=3, container=LINGER)
    rolled.start()
    load = caller.load(rolled.url, callers=CALLERS)
    for number in range(3):
        standalone.delete_pods()
        rolled.roll(number)
    standalone.delete_pods()
    rolled.scale(1)
    standalone.delete_pods()
    rolled.scale(3)
    load.wait_for(AT_LEAST)
    report = load.stop()
    report.check_all_right()
    bare = {pod["metadata"]["name"] for pod in rolled.pods() if len(pod["spec"]["containers"]) == 1}
    # Which pods were born while no webhook answered is chance; that they serve is not.
    if bare:
        until(lambda: "SidecarMissing" in rolled.events(), "an Event tells of them", 90.0)


@pytest.mark.usefixtures("no_webhook")
def test_pods_without_a_sidecar_serve_and_are_told_of(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    what = image(cluster, "model")
    bare = InferenceService(cluster, namespace, "bare", what, replicas=2, container=LINGER)
    bare.start()
    load = caller.load(bare.url, callers=8)
    until(lambda: "SidecarMissing" in bare.events(), "an Event tells of the pods", 60.0)
    assert "restarted-at" in bare.events()["SidecarMissing"]
    standalone.scale_webhook(2)
    bare.roll(1)  # one after the other: pods with and without a sidecar behind one Service
    bare.wait_for_pods(2)
    report = load.stop()
    report.check_all_right()
    assert 0 < report.without_sidecar < report.sent, report
    assert all(len(pod["spec"]["containers"]) == 2 for pod in bare.pods())
