"""The forms of InferenceServices that others do not try: a transformer, a model from the web."""

from typing import Final

from tests.apiserver.kit import Manifest, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.iris import SETOSA, VIRGINICA, training
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import RESTRICTED, InferenceService

BATCHER: Final = {"maxBatchSize": 8, "maxLatency": 3000}


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
    fetched = InferenceService(cluster, namespace, "fetched", image(cluster, "model"))
    fetched.manifest["spec"]["predictor"] = {
        "batcher": BATCHER,
        "model": {
            "modelFormat": {"name": "sklearn"},
            "storageUri": f"http://web.{namespace}.svc.cluster.local/model.joblib",
        },
    }
    fetched.start()
    bodies = [{"instances": [SETOSA] * 3}, {"instances": [VIRGINICA] * 5}]
    first, second = caller.ask(fetched.url, *bodies)
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
