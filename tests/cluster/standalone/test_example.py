"""The example of `examples/batcher`, applied as it is, with a model that comes from S3."""

import ast
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from kserve import KServeClient  # type: ignore[import-untyped]

from tests.apiserver.kit import ROOT, Manifest, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.iris import SETOSA, VIRGINICA
from tests.cluster.kit.product import Product
from tests.cluster.kit.s3 import S3Server
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import RESTRICTED

EXAMPLE: Final = ROOT / "examples" / "batcher"
NAME: Final = "batcher"
WINDOW_S: Final = 10.0
READY_S: Final = 120


class Example:
    """The example's files, in a namespace with an S3 server."""

    def __init__(self, cluster: Cluster, namespace: str, s3: S3Server) -> None:
        self._cluster, self._namespace, self.s3 = cluster, namespace, s3
        host = f"{NAME}-predictor.{namespace}.svc.cluster.local"
        self.address = f"http://{host}"
        self.url = f"{self.address}/v1/models/{NAME}:predict"

    def apply_account(self, secret_key: str = "") -> None:
        """`kubectl apply -f s3-sa.yaml`, with what a user puts into it."""
        text = (EXAMPLE / "s3-sa.yaml").read_text()
        for placeholder, value in {
            "s3.example.com": self.s3.endpoint,
            's3-usehttps: "1"': 's3-usehttps: "0"',
            "your-access-key": self.s3.access_key,
            "your-secret-key": secret_key or self.s3.secret_key,
        }.items():
            assert text.count(placeholder) == 1
            text = text.replace(placeholder, value)
        self.kubectl("apply", "-f", "-", stdin=text)

    def apply_service(self, version: str = "v1") -> None:
        """`kubectl apply -f inferenceservice.yaml`; with another version's model if need be."""
        file = EXAMPLE / "inferenceservice.yaml"
        if version == "v1":
            self.kubectl("apply", "-f", str(file))
            return
        changed = file.read_text().replace("/v1/\n", f"/{version}/\n")
        self.kubectl("apply", "-f", "-", stdin=changed)

    def wait_until_ready(self) -> None:
        """Wait as KServe's users do."""
        client = KServeClient(config_file=str(self._cluster.kubeconfig))
        client.wait_isvc_ready(
            NAME, namespace=self._namespace, timeout_seconds=READY_S, polling_interval=1
        )

    def status(self) -> Manifest:
        """The InferenceService's status."""
        found = self._cluster.api.get("InferenceService", NAME, self._namespace)
        return dict(found.get("status") or {})

    def condition(self, kind: str) -> Manifest:
        """One of its conditions; empty if it is not there."""
        conditions = self.status().get("conditions") or ()
        return next((dict(each) for each in conditions if each["type"] == kind), {})

    def pod(self) -> Manifest:
        """Its only pod."""
        of_it = f"serving.kserve.io/inferenceservice={NAME}"
        (pod,) = self._cluster.api.list("Pod", self._namespace, labelSelector=of_it)
        return pod

    def kubectl(self, *args: str, stdin: str | None = None, within_s: float = 60.0) -> str:
        """kubectl in the namespace."""
        return self._cluster.kubectl("-n", self._namespace, *args, stdin=stdin, within_s=within_s)


@pytest.fixture
def example(standalone: Product, cluster: Cluster, namespace: str) -> Iterator[Example]:
    """The example, of which nothing is applied yet."""
    s3 = S3Server(cluster, namespace)
    s3.start()
    yield Example(cluster, namespace, s3)


def test_the_example(example: Example, cluster: Cluster, namespace: str, caller: Caller) -> None:
    example.apply_account()
    example.apply_service()
    example.wait_until_ready()

    # The model is the one in the bucket, and nothing stands in for a part.
    pod = example.pod()
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["storage-initializer"]
    names = [each["name"] for each in pod["spec"]["containers"]]
    assert sorted(names) == ["agent", "kserve-container"]
    fetched = example.kubectl("logs", pod["metadata"]["name"], "-c", "storage-initializer")
    assert "Successfully copied s3://sandbox/iris_svm/v1/ to /mnt/models" in fetched
    assert "200 GET /sandbox/iris_svm/v1/model.joblib" in example.s3.requests()
    enforced = cluster.api.get("Namespace", namespace)["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"

    listed = example.kubectl("get", "isvc").splitlines()
    assert listed[0].split()[:3] == ["NAME", "URL", "READY"]
    assert listed[1].split()[:3] == [NAME, example.address, "True"]

    # The client, alone: it waits for the whole window.
    start_client_pod(example, cluster, namespace)
    began_s = time.monotonic()
    said = example.kubectl(
        *("exec", "-i", "client", "--", "python", "-", example.url),
        stdin=(EXAMPLE / "client.py").read_text(),
    )
    took_s = time.monotonic() - began_s
    reply: dict[str, Any] = ast.literal_eval(said)
    assert reply.keys() == {"batchId", "message", "predictions"}
    uuid.UUID(reply["batchId"])
    assert (reply["message"], reply["predictions"]) == ("", [0, 0, 0])
    assert WINDOW_S <= took_s < WINDOW_S + 5

    # 20 instances and 32: one batch of 52, at once.
    began_s = time.monotonic()
    bodies = [{"instances": [SETOSA] * 20}, {"instances": [VIRGINICA] * 32}]
    first, second = caller.ask(example.url, *bodies, gap_ms=300)
    assert time.monotonic() - began_s < WINDOW_S / 2
    assert (first.status, second.status) == (200, 200)
    assert first.json["batchId"] == second.json["batchId"] != reply["batchId"]
    assert (first.headers["x-batch-size"], second.headers["x-batch-size"]) == ("52", "52")
    assert first.json["predictions"] == [0] * 20
    assert second.json["predictions"] == [2] * 32


def start_client_pod(example: Example, cluster: Cluster, namespace: str) -> None:
    """Start a pod that has Python and requests."""
    container: Manifest = {
        "name": "client",
        "image": image(cluster, "sklearn"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
    }
    meta = {"name": "client", "namespace": namespace}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    example.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s", within_s=90)


def test_a_wrong_key_is_told_of_and_a_right_one_helps(example: Example) -> None:
    example.apply_account(secret_key="not-the-key")
    example.apply_service()

    def told() -> bool:
        condition = example.condition("Ready")
        return condition.get("status") == "False" and "403" in condition.get("message", "")

    until(told, "the status says why there is no model", 60.0)
    condition = example.condition("PredictorReady")
    assert condition["reason"] == "ModelLoadFailed"
    assert "storage-initializer" in condition["message"]
    assert "the model cannot be fetched: S3 error [403]: Forbidden" in condition["message"]
    state = example.status()["modelStatus"]
    assert state["transitionStatus"] == "BlockedByFailedLoad"
    assert state["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert "403" in state["lastFailureInfo"]["message"]

    example.apply_account()
    example.wait_until_ready()


def test_a_model_that_is_not_there_is_told_of(example: Example, caller: Caller) -> None:
    example.apply_account()
    example.apply_service(version="v2")
    until(
        lambda: "No model found in iris_svm/v2/" in example.condition("Ready").get("message", ""),
        "the status says that the model is not there",
        60.0,
    )
    example.apply_service()
    example.wait_until_ready()

    # A later one that is not there leaves in service what is.
    example.apply_service(version="v3")
    why = "No model found in iris_svm/v3/"

    def told() -> bool:
        state = example.status()["modelStatus"]
        return why in state.get("lastFailureInfo", {}).get("message", "")

    until(told, "the model's state says that it is not there", 60.0)
    assert example.condition("Ready")["status"] == "True"
    (answer,) = caller.ask(example.url, {"instances": [SETOSA] * 32})
    assert (answer.status, answer.json["predictions"]) == (200, [0] * 32)
    events = ("get", "events", "--field-selector=reason=ModelLoadFailed", "-o", "name")
    until(lambda: len(example.kubectl(*events).split()) == 2, "Events say so, too", 20.0)
    said = example.kubectl("describe", "isvc", NAME)
    assert "iris_svm/v2/" in said
    assert why in said
