"""What an InferenceService comes to, where one thing alone is in question."""

from typing import Any

import pytest

from batcher_operator.standalone.workload import Workload, account_of
from tests.unit.operator.standalone.golden_files import Json, made

CONTAINER = {"name": "kserve-container", "image": "x"}
RUNTIME: Json = {
    "kind": "ClusterServingRuntime",
    "metadata": {"name": "rt"},
    "spec": {
        "supportedModelFormats": [{"name": "onnx", "autoSelect": True}],
        "containers": [CONTAINER],
    },
}
MODEL = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://claim"}


def service(annotations: Json | None = None, **predictor: Any) -> Json:
    meta = {"name": "iris", "namespace": "models", "uid": "u", "annotations": annotations or {}}
    spec = {"predictor": predictor or {"containers": [CONTAINER]}}
    return {"kind": "InferenceService", "metadata": meta, "spec": spec}


def account(*secrets: str) -> Json:
    meta = {"name": "sa", "namespace": "models"}
    return {"kind": "ServiceAccount", "metadata": meta, "secrets": [{"name": s} for s in secrets]}


def one(workload: Workload, kind: str) -> Json:
    (found,) = (each for each in workload.objects if each["kind"] == kind)
    return found


def pod_of(workload: Workload) -> Json:
    template: Json = one(workload, "Deployment")["spec"]["template"]
    return template


def test_an_account_that_cannot_be_is_never_looked_for() -> None:
    elsewhere = "../../kube-system/serviceaccounts/x"
    assert account_of({"serviceAccountName": elsewhere}) == "default"
    assert account_of({"serviceAccount": elsewhere}) == "default"
    assert account_of({"serviceAccountName": "a.b-c"}) == "a.b-c"
    workload = made([service(containers=[CONTAINER], serviceAccountName=elsewhere)])
    assert [fault.field for fault in workload.faults] == ["spec.predictor.serviceAccountName"]
    assert not workload.objects


def test_an_account_that_lists_what_is_no_secret() -> None:
    env = [{"name": "STORAGE_URI", "value": "s3://b/m"}]
    given = service(containers=[{**CONTAINER, "env": env}], serviceAccountName="sa")
    workload = made([given, account("../../kube-system/secrets/x")])
    assert list(map(str, workload.faults)) == [
        (
            'spec.predictor.serviceAccountName "sa" lists what are no names of Secrets '
            "('../../kube-system/secrets/x'): take them off the ServiceAccount"
        )
    ]


def test_beside_an_autoscaler_of_the_users_there_is_none_of_ours() -> None:
    target = {"kind": "Deployment", "name": "iris-predictor"}
    theirs = {"kind": "HorizontalPodAutoscaler", "spec": {"scaleTargetRef": target}}
    given = service(containers=[CONTAINER], minReplicas=1, maxReplicas=4, scaleTarget=50)
    workload = made([given, theirs])
    assert [each["kind"] for each in workload.objects] == ["Service", "Deployment"]
    assert "replicas" not in one(workload, "Deployment")["spec"]
    assert ("HorizontalPodAutoscaler", "iris-predictor") in {
        (each.kind, each.name) for each in workload.unwanted
    }
    assert workload.warnings == tuple(
        f"spec.predictor.{key} has no effect: a HorizontalPodAutoscaler that is not ours scales "
        "the Deployment iris-predictor"
        for key in ("minReplicas", "maxReplicas", "scaleTarget")
    )
    assert "HorizontalPodAutoscaler" in {each["kind"] for each in made([given]).objects}


def test_a_service_that_says_nothing_of_its_pods_has_one() -> None:
    assert one(made([service()]), "Deployment")["spec"]["replicas"] == 1


def test_what_kserve_writes_on_pods_is_not_taken_from_people() -> None:
    key = "internal.serving.kserve.io/"
    asked = {f"{key}batcher": "true", f"{key}logger": "all", "team": "ml"}
    pod = pod_of(made([service(annotations=asked)]))
    assert pod["metadata"].get("annotations") == {"team": "ml"}
    spec = {**RUNTIME["spec"], "annotations": asked}
    given = service(model={"modelFormat": {"name": "onnx"}, "protocolVersion": "v1"})
    pod = pod_of(made([given, {**RUNTIME, "spec": spec}]))
    assert pod["metadata"]["annotations"] == {"team": "ml"}


def test_a_runtime_that_has_a_volume_where_the_model_comes() -> None:
    mounts = [{"name": "data", "mountPath": "/mnt/models/"}]
    spec = {**RUNTIME["spec"], "containers": [{**CONTAINER, "volumeMounts": mounts}]}
    workload = made([service(model=MODEL), {**RUNTIME, "spec": spec}])
    assert list(map(str, workload.faults)) == [
        (
            "spec.predictor has its model where the ClusterServingRuntime rt mounts the volume "
            "data, at /mnt/models: mount the volume elsewhere in the runtime, or name another "
            "runtime"
        )
    ]
    assert made([service(model=MODEL), RUNTIME]).objects


def test_a_container_of_a_runtime_is_not_named_again() -> None:
    helper = {"name": "helper", "image": "y"}
    spec = {**RUNTIME["spec"], "containers": [CONTAINER, helper]}
    workload = made([service(model=MODEL, containers=[helper]), {**RUNTIME, "spec": spec}])
    assert list(map(str, workload.faults)) == [
        (
            'spec.predictor.containers "helper" is the name of a container of the '
            "ClusterServingRuntime rt: give yours another"
        )
    ]


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        (
            {},
            {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
        ),
        (
            {"type": ""},
            {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
        ),
        ({"type": "Recreate"}, {"type": "Recreate"}),
        (
            {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        ),
    ],
)
def test_how_pods_are_replaced(given: Json, strategy: Json) -> None:
    workload = made([service(containers=[CONTAINER], deploymentStrategy=given)])
    assert one(workload, "Deployment")["spec"]["strategy"] == strategy
