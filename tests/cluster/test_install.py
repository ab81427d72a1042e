"""From nothing to a release that works, through its changes, to nothing."""

import pytest

from batcher_contract.names import ANNOTATION_PREFIX
from tests.apiserver.kit import until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import NAMESPACE, OF_THE_RELEASE, RELEASE, Product, has_kserve
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import Workload


@pytest.fixture
def nothing(release: Product, cluster: Cluster) -> Product:
    """The product, not installed."""
    if release.mode:
        release.uninstall()
    until(lambda: release.left() == [], "nothing is left of the release", 90.0)
    return release


def test_install_test_upgrade_uninstall_install(
    nothing: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    nothing.install()
    for pod in cluster.api.list("Pod", NAMESPACE, labelSelector=OF_THE_RELEASE):
        assert all(c["ready"] for c in pod["status"]["containerStatuses"])
    assert "Phase:          Succeeded" in nothing.test()

    served = Workload(cluster, namespace, "served", image(cluster, "model"))
    served.start()  # the first pod after `--wait` has its sidecar
    assert injected(served) == [True]
    load = caller.load(served.url, callers=4)
    nothing.upgrade(webhook={"replicas": 3}, sidecar={"resources": {"limits": {"memory": "512Mi"}}})
    assert cluster.api.get("Deployment", f"{RELEASE}-webhook", NAMESPACE)["status"][
        "readyReplicas"
    ] == 3  # fmt: skip
    nothing.test()
    # The webhook's old pods serve on for some seconds, by the old values.
    of_ours = {"labelSelector": OF_THE_RELEASE}
    until(lambda: len(cluster.api.list("Pod", NAMESPACE, **of_ours)) == 4, "they end", 60.0)
    served.roll(1)
    until(lambda: len(served.pods()) == 1, "the old pod is gone", 60.0)
    (sidecar,) = [c for c in served.pod()["spec"]["containers"] if c["name"] == "agent"]
    if not has_kserve(cluster):  # else it keeps what KServe's agent is given
        assert sidecar["resources"]["limits"]["memory"] == "512Mi"

    nothing.uninstall()
    until(lambda: nothing.left() == [], "nothing is left of the release", 90.0)
    (answer,) = caller.ask(served.url, {"instances": [1, 2]})
    assert (answer.status, answer.json["predictions"]) == (200, [1, 2])
    report = load.stop()
    report.check_all_right()

    nothing.install()
    assert "Phase:          Succeeded" in nothing.test()
    served.roll(2)
    until(lambda: injected(served) == [True], "the new pod has its sidecar", 60.0)


def injected(workload: Workload) -> list[bool]:
    """Whether each pod has its sidecar, and is ready."""
    return [
        len(pod["spec"]["containers"]) == 2
        and f"{ANNOTATION_PREFIX}decision" in pod["metadata"]["annotations"]
        and all(status["ready"] for status in pod["status"].get("containerStatuses", ()))
        for pod in workload.pods()
    ]
