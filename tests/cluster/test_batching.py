"""A real model server in a pod of KServe's shape, batched by the sidecar that the webhook adds."""

import uuid
from typing import Final

from batcher_contract.names import BATCH_SIZE_HEADER
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.iris import SETOSA, VIRGINICA, training
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import Workload

SIZE: Final = BATCH_SIZE_HEADER.lower()


def test_kserves_model_server_is_batched(
    product: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    iris = Workload(
        cluster,
        namespace,
        "iris",
        image(cluster, "sklearn"),
        args=("--model_name=m", "--model_dir=/models"),
        batch_size=32,
        latency_ms=2000,
    )
    pod = iris.manifests[0]["spec"]["template"]["spec"]
    pod["initContainers"] = [training(cluster, "models")]
    pod["volumes"] = [{"name": "models", "emptyDir": {}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]
    iris.start()
    pod = iris.pod()
    assert [status["ready"] for status in pod["status"]["containerStatuses"]] == [True, True]
    assert iris.restarts("agent") == [0]

    (alone,) = caller.ask(iris.url, {"instances": [SETOSA] * 3})
    assert alone.status == 200
    assert alone.json["predictions"] == [0, 0, 0]
    assert alone.json["message"] == ""
    assert alone.headers[SIZE] == "3"
    assert 2000 <= alone.queued_ms < 3000  # the window

    bodies = [{"instances": [SETOSA] * 20}, {"instances": [VIRGINICA] * 32}]
    first, second = caller.ask(iris.url, *bodies, gap_ms=300)
    assert (first.status, second.status) == (200, 200)
    assert first.json["batchId"] == second.json["batchId"]
    uuid.UUID(first.json["batchId"])
    assert (first.headers[SIZE], second.headers[SIZE]) == ("52", "52")
    assert first.json["predictions"] == [0] * 20
    assert second.json["predictions"] == [2] * 32
    assert first.queued_ms < 1500  # the size, not the window, ended the wait
