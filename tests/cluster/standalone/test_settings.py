"""Settings of InferenceServices that change while their pods run."""

from typing import Any, Final

import pytest

from tests.apiserver.kit import ApiError, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import InferenceService

PROPAGATION_S: Final = 150.0
"""A kubelet looks at a pod's ConfigMaps once a minute and a bit, and its cache may be as old."""


def config(caller: Caller, service: InferenceService) -> dict[str, Any]:
    """What is in force in the sidecar of the only pod."""
    shown: dict[str, Any] = caller.read(f"http://{service.pod()['status']['podIP']}:9084/config")
    return shown


def test_new_numbers_reach_running_pods(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    tuned = InferenceService(
        cluster,
        namespace,
        "tuned",
        image(cluster, "model"),
        batcher={"maxBatchSize": 32, "maxLatency": 10},
    )
    tuned.start()
    pod, since = tuned.pod()["metadata"]["name"], config(caller, tuned)["since"]
    load = caller.load(tuned.url, callers=4)
    tuned.change({"batcher": {"maxBatchSize": 2, "maxLatency": 1500}})
    tuned.annotate(max_concurrency="2")

    def in_force() -> bool:
        found = config(caller, tuned)["settings"]
        now = (found["max_batch_size"], found["max_latency_ms"], found["max_concurrency"])
        return now == (2, 1500, 2)

    until(in_force, "the new numbers are in force", PROPAGATION_S)
    assert config(caller, tuned)["since"] > since
    report = load.stop()
    report.check_all_right()
    assert tuned.pod()["metadata"]["name"] == pod
    assert tuned.restarts("agent") == [0]
    (alone,) = caller.ask(tuned.url, {"instances": [1]})
    assert 1500 <= alone.queued_ms < 2500
    first, second = caller.ask(tuned.url, {"instances": [1]}, {"instances": [2]}, gap_ms=50)
    assert first.json["batchId"] == second.json["batchId"]
    assert first.queued_ms < 1000  # two are enough now


def test_values_that_are_wrong_change_nothing(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    steady = InferenceService(cluster, namespace, "steady", image(cluster, "model"))
    steady.start()
    before = steady.settings()
    with pytest.raises(ApiError, match=r"max-concurrency.*many"):
        steady.annotate(max_concurrency="many")
    with pytest.raises(ApiError, match="maxLatency"):
        steady.change({"batcher": {"maxLatency": -1}})
    assert "SettingIgnored" not in steady.events()
    # Past validation, as while no webhook answers.
    standalone.scale_webhook(0)
    try:
        steady.annotate(max_concurrency="many", timeout="7")
    finally:
        standalone.scale_webhook(2)
    until(lambda: "SettingIgnored" in steady.events(), "an Event tells of it", 60.0)
    assert "max-concurrency" in steady.events()["SettingIgnored"]
    until(lambda: steady.settings() != before, "what is right is taken", 60.0)
    assert steady.settings() == {**before, "timeout": "7"}
    (answer,) = caller.ask(steady.url, {"instances": [1]})
    assert answer.status == 200
