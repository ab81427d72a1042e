"""InferenceServices of a cluster that has KServe's own controller; skipped where it is not."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from batcher_contract.names import ANNOTATION_PREFIX, BATCH_SIZE_HEADER
from tests.apiserver.kit import Manifest, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import Product, has_kserve
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import RESTRICTED, Workload

BATCHER: Final = {"maxBatchSize": 32, "maxLatency": 500}
ROWS: Final = [[1, 2], [3, 4]]
PATH: Final = "/v1/models/m:predict"


@pytest.fixture
def kserve(cluster: Cluster, product: Product) -> None:
    """KServe's controller, with the product beside it."""
    if not has_kserve(cluster):
        pytest.skip("this cluster has no KServe")


def container(cluster: Cluster, name: str = "kserve-container", port: int = 8080) -> Manifest:
    return {
        "name": name,
        "image": image(cluster, "model"),
        "imagePullPolicy": "IfNotPresent",
        "args": [f"--port={port}"],
        "ports": [{"containerPort": port, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1"}},
        "securityContext": RESTRICTED,
    }


def plain(cluster: Cluster) -> Manifest:
    return {"predictor": {"batcher": BATCHER, "containers": [container(cluster)]}}


def logged(cluster: Cluster) -> Manifest:
    logger = {"mode": "all", "url": "http://sink-predictor/events"}
    predictor = {"batcher": BATCHER, "logger": logger, "containers": [container(cluster)]}
    return {"predictor": predictor}


def transformed(cluster: Cluster) -> Manifest:
    return {
        "predictor": {"containers": [container(cluster)]},
        "transformer": {"batcher": BATCHER, "containers": [container(cluster)]},
    }


def collocated(cluster: Cluster) -> Manifest:
    transformer = container(cluster, "transformer-container", 8090)
    model = container(cluster)
    del model["ports"]  # KServe allows one of the two to have some
    return {"predictor": {"batcher": BATCHER, "containers": [model, transformer]}}


def probed(cluster: Cluster) -> Manifest:
    """A port of its own, and a readiness probe by HTTP."""
    own = container(cluster, port=9000)
    own["readinessProbe"] = {"httpGet": {"path": "/v1/models/m", "port": 9000}, "periodSeconds": 1}
    return {"predictor": {"batcher": BATCHER, "containers": [own]}}


def create(cluster: Cluster, namespace: str, name: str, spec: Manifest) -> None:
    """Make an InferenceService and wait until KServe says that it is ready."""
    meta = {"name": name, "namespace": namespace}
    kind = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    cluster.api.create({**kind, "metadata": meta, "spec": spec})
    cluster.kubectl(
        *("wait", "--for=condition=Ready", f"inferenceservice/{name}", "-n", namespace),
        "--timeout=120s", within_s=150,
    )  # fmt: skip


def containers(cluster: Cluster, namespace: str, component: str) -> dict[str, Manifest]:
    """The containers of a component's only pod by name, once it is ready.

    KServe may call a service ready a moment before.
    """
    labels = f"component={component},serving.kserve.io/inferenceservice=case"
    where = ("-n", namespace, "-l", labels, "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Ready", "pod", *where, within_s=90)
    (pod,) = cluster.api.list("Pod", namespace, labelSelector=labels)
    return {each["name"]: each for each in pod["spec"]["containers"]}


Spec = Callable[[Cluster], Manifest]


@pytest.mark.parametrize(
    ("spec", "component", "name"),
    [
        (plain, "predictor", "agent"),
        (logged, "predictor", "batcher"),
        (transformed, "transformer", "agent"),
        (collocated, "predictor", "agent"),
        (probed, "predictor", "agent"),
    ],
)
@pytest.mark.usefixtures("kserve")
def test_the_sidecar_takes_over(
    cluster: Cluster, namespace: str, caller: Caller, spec: Spec, component: str, name: str
) -> None:
    if spec is logged:
        Workload(cluster, namespace, "sink", image(cluster, "model")).start()
    create(cluster, namespace, "case", spec(cluster))
    found = containers(cluster, namespace, component)
    assert found[name]["image"] == image(cluster, "sidecar")
    assert ("agent" in found) and ("batcher" in found) is (name == "batcher")

    url = f"http://case-{component}.{namespace}.svc.cluster.local{PATH}"
    until(lambda: caller.ask(url, {"instances": [0]})[0].status == 200, "it answers", 30.0)
    first, second = caller.ask(url, {"instances": ROWS}, {"instances": ROWS[:1]})
    assert (first.status, second.status) == (200, 200)
    assert first.json["batchId"] == second.json["batchId"]
    assert first.headers[BATCH_SIZE_HEADER.lower()] == "3"
    assert first.json["predictions"] == ROWS
    assert second.json["predictions"] == ROWS[:1]
    if spec is logged:
        sink = f"http://sink-predictor.{namespace}.svc.cluster.local/events"

        def noted() -> list[Any]:
            found = caller.read(sink)
            return [e["data"]["instances"] for e in found if e["type"].endswith("request")]

        # What each client sent, not the batch.
        until(lambda: ROWS in noted() and ROWS[:1] in noted(), "both requests are logged", 30.0)
        assert [*ROWS, *ROWS[:1]] not in noted()


@pytest.mark.usefixtures("kserve")
def test_a_rollout_by_kserve_loses_nothing(
    cluster: Cluster, namespace: str, caller: Caller
) -> None:
    create(cluster, namespace, "case", plain(cluster))
    url = f"http://case-predictor.{namespace}.svc.cluster.local{PATH}"
    load = caller.load(url, callers=16)
    for number in range(2):
        roll(cluster, namespace, str(number))
    labels = "serving.kserve.io/inferenceservice=case"
    until(
        lambda: len(cluster.api.list("Pod", namespace, labelSelector=labels)) == 1,
        "only the last pod is left",
        60.0,
    )
    report = load.stop()
    report.check_all_right()
    assert report.without_sidecar == 0
    assert len(report.pods) == 3


def roll(cluster: Cluster, namespace: str, reason: str) -> None:
    """Have KServe replace the pods, as `kubectl annotate inferenceservice` does."""

    def generation() -> int:
        meta = cluster.api.get("Deployment", "case-predictor", namespace)["metadata"]
        return int(meta["generation"])

    before = generation()
    noted = {"metadata": {"annotations": {f"{ANNOTATION_PREFIX}restarted-at": reason}}}
    cluster.api.patch("InferenceService", "case", namespace, noted)
    until(lambda: generation() > before, "KServe has changed the Deployment", 30.0)
    where = ("deployment/case-predictor", "-n", namespace, "--timeout=120s")
    cluster.kubectl("rollout", "status", *where, within_s=150)
