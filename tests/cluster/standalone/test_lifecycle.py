"""What becomes of InferenceServices when they, their objects, or the product change or go."""

from tests.apiserver.kit import until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import InferenceService

MADE = ("Deployment", "Service", "ConfigMap", "HorizontalPodAutoscaler", "ReplicaSet", "Pod")


def test_services_keep_answering_through_uninstall_and_reinstall(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    served = InferenceService(cluster, namespace, "served", image(cluster, "model"))
    served.start()
    load = caller.load(served.url, callers=4)
    standalone.upgrade(
        webhook={"replicas": 3}, sidecar={"resources": {"limits": {"memory": "2Gi"}}}
    )
    assert "Phase:          Succeeded" in standalone.test()
    served.wait_until_ready()

    standalone.uninstall()
    until(lambda: standalone.left() == [], "nothing is left but what the chart keeps", 90.0)
    assert served.get()["status"]["url"]
    (answer,) = caller.ask(served.url, {"instances": [1, 2]})
    assert (answer.status, answer.json["predictions"]) == (200, [1, 2])

    standalone.install("standalone")
    assert "Phase:          Succeeded" in standalone.test()
    served.wait_until_ready()
    served.roll(1)
    served.wait_for_pods(1)
    report = load.stop()
    report.check_all_right()
    assert report.without_sidecar == 0, report
    assert len(report.pods) == 2


def test_what_is_changed_or_deleted_by_hand_comes_back(
    standalone: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    api = cluster.api
    kept = InferenceService(cluster, namespace, "kept", image(cluster, "model"))
    kept.start()
    api.delete("Deployment", kept.deployment, namespace)
    until(lambda: api.find("Deployment", kept.deployment, namespace) is not None, "it is back")
    kept.wait()
    drift = {"spec": {"selector": {"app": "nobody"}}}
    api.patch("Service", kept.deployment, namespace, drift)
    until(lambda: caller.ask(kept.url, {"instances": [1]})[0].status == 200, "it answers", 60.0)
    kept.wait_until_ready()


def test_replicas_are_left_to_the_autoscaler(
    standalone: Product, cluster: Cluster, namespace: str
) -> None:
    api = cluster.api
    scaled = InferenceService(cluster, namespace, "scaled", image(cluster, "model"))
    scaled.manifest["spec"]["predictor"] |= {"minReplicas": 2, "maxReplicas": 4}
    scaled.start()
    scaled.wait_for_pods(2)  # the autoscaler's doing: it needs no metrics for its least
    body = {"spec": {"replicas": 3}}  # as an autoscaler with metrics would
    api.patch("Deployment", scaled.deployment, namespace, body)
    scaled.wait_for_pods(3)
    scaled.roll(1)
    scaled.wait_until_ready()
    assert api.get("Deployment", scaled.deployment, namespace)["spec"]["replicas"] == 3


def test_a_deleted_inferenceservice_takes_all_of_its_own_with_it(
    standalone: Product, cluster: Cluster, namespace: str
) -> None:
    api = cluster.api
    gone = InferenceService(cluster, namespace, "gone", image(cluster, "model"))
    gone.manifest["spec"]["predictor"] |= {"minReplicas": 1, "maxReplicas": 2}
    gone.start()
    api.delete("InferenceService", "gone", namespace)

    def left() -> list[str]:
        return [
            each["metadata"]["name"]
            for kind in MADE
            for each in api.list(kind, namespace)
            if each["metadata"]["name"].startswith("gone-")
        ]

    until(lambda: left() == [], "all is gone", 90.0)
