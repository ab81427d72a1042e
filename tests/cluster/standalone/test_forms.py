"""The forms of InferenceServices that others do not try: transformers, other homes of models."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.apiserver.kit import Manifest, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.iris import SETOSA, VIRGINICA, training
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.volumes import claimed_volume, default_storage_class
from tests.cluster.kit.workloads import RESTRICTED, InferenceService

BATCHER: Final = {"maxBatchSize": 8, "maxLatency": 3000}
CLAIM: Final = "models"


def test_a_transformer_batches_before_its_predictor(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    both = InferenceService(cluster, namespace, "both", image(cluster, "model"))
    (container,) = both.manifest["spec"]["predictor"]["containers"]
    both.manifest["spec"] = {
        "predictor": {"containers": [container]},
        "transformer": {"batcher": BATCHER, "containers": [{**container, "name": "transformer"}]},
    }
    both.start()
    components = both.get()["status"]["components"]
    labels = "serving.kserve.io/inferenceservice=both"
    until(
        lambda: len(cluster.api.list("Pod", namespace, labelSelector=labels)) == 2,
        "each component has its pod",
    )
    listed = cluster.api.list("Pod", namespace, labelSelector=labels)
    pods = {pod["metadata"]["labels"]["component"]: pod for pod in listed}
    names = {
        component: sorted(each["name"] for each in pod["spec"]["containers"])
        for component, pod in pods.items()
    }
    assert names == {
        "predictor": ["kserve-container"],
        "transformer": ["agent", "kserve-container"],
    }

    url = components["transformer"]["url"] + both.path
    first, second = caller.ask(url, {"instances": [1, 2, 3]}, {"instances": [4, 5, 6, 7, 8]})
    assert (first.status, second.status) == (200, 200)
    assert first.json["batchId"] == second.json["batchId"]
    assert first.headers["x-batch-size"] == first.headers["x-rows"] == "8"
    assert first.headers["x-predictor-pod"] == pods["predictor"]["metadata"]["name"]
    assert first.json["predictions"] == [1, 2, 3]
    assert second.json["predictions"] == [4, 5, 6, 7, 8]


def test_a_model_comes_from_the_web(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    start_web_server(cluster, namespace)
    address = f"http://web.{namespace}.svc.cluster.local/model.joblib"
    assert_batches(start_iris(cluster, namespace, address), caller)


def test_a_model_is_in_a_volume(
    standalone: Product, cluster: Cluster, namespace: str, filled_volume: None, caller: Caller
) -> None:
    iris = start_iris(cluster, namespace, f"pvc://{CLAIM}/iris/v1")
    assert_batches(iris, caller)

    # Its user owns the folder: nothing but the mount keeps it from writing there.
    writing = ("sh", "-c", "touch /mnt/models/written 2>&1 || true")
    pod = iris.pod()["metadata"]["name"]
    said = cluster.execute(namespace, pod, *writing, container="kserve-container")
    assert "Read-only file system" in said


def test_a_claim_that_is_not_there_is_told(
    standalone: Product, cluster: Cluster, namespace: str
) -> None:
    lost = iris_at(cluster, namespace, "pvc://nowhere/iris/v1")
    cluster.apply(lost.manifest)
    until(lambda: "PodUnschedulable" in lost.events(), "an Event tells of it", 60.0)
    assert 'persistentvolumeclaim "nowhere" not found' in lost.events()["PodUnschedulable"]


@pytest.fixture
def filled_volume(cluster: Cluster, namespace: str) -> Iterator[None]:
    """A volume that is claimed as CLAIM, with an iris classifier in its folder iris/v1."""
    if cluster.volumes is None and not default_storage_class(cluster):
        pytest.skip("this cluster has no default StorageClass whose volumes go with their claims")
    with claimed_volume(cluster, namespace, CLAIM):
        fill(cluster, namespace)
        yield


def fill(cluster: Cluster, namespace: str) -> None:
    """Have a pod write an iris classifier to the volume; waits until it has."""
    spec = {
        "containers": [training(cluster, "claimed", "iris/v1")],
        "restartPolicy": "Never",
        "securityContext": {"fsGroup": 65532},
        "volumes": [{"name": "claimed", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
    meta = {"name": "filling", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    written = ("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/filling")
    cluster.kubectl(*written, "-n", namespace, "--timeout=120s", within_s=150)


def start_iris(cluster: Cluster, namespace: str, storage_uri: str) -> InferenceService:
    """Have the iris classifier that is at an address served; waits until it is ready."""
    iris = iris_at(cluster, namespace, storage_uri)
    iris.start()
    return iris


def iris_at(cluster: Cluster, namespace: str, storage_uri: str) -> InferenceService:
    """An InferenceService of the iris classifier that is at an address."""
    iris = InferenceService(cluster, namespace, "iris", image(cluster, "model"))
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": storage_uri}
    iris.manifest["spec"]["predictor"] = {"batcher": BATCHER, "model": model}
    return iris


def assert_batches(iris: InferenceService, caller: Caller) -> None:
    bodies = [{"instances": [SETOSA] * 3}, {"instances": [VIRGINICA] * 5}]
    first, second = caller.ask(iris.url, *bodies)
    assert (first.status, second.status) == (200, 200)
    assert first.json["batchId"] == second.json["batchId"]
    assert first.json["predictions"] == [0] * 3
    assert second.json["predictions"] == [2] * 5


def start_web_server(cluster: Cluster, namespace: str) -> None:
    """Start a pod that serves an iris classifier as `/model.joblib`."""
    meta = {"name": "web", "namespace": namespace, "labels": {"app": "web"}}
    container: Manifest = {
        "name": "web",
        "image": image(cluster, "sklearn"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "http.server", "--directory", "/served", "8000"],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "served", "mountPath": "/served"}],
    }
    spec = {
        "initContainers": [training(cluster, "served")],
        "containers": [container],
        "volumes": [{"name": "served", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    }
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
    )
    ready = ("wait", "--for=condition=Ready", "pod/web", "-n", namespace, "--timeout=120s")
    cluster.kubectl(*ready, within_s=150)
