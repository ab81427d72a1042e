"""Pods that could not be made as they are meant."""

import pytest

from batcher_contract.standalone import is_object_name, judge
from tests.unit.contract.standalone.services import MODEL, Json, faults, service, warnings

ELSEWHERE = "../../kube-system/serviceaccounts/x"
BOTH: list[Json] = [{"name": "kserve-container"}, {"name": "transformer-container"}]
AT_MODEL = {"name": "mine", "mountPath": "/mnt/models"}


@pytest.mark.parametrize("key", ["serviceAccountName", "serviceAccount"])
@pytest.mark.parametrize("name", [ELSEWHERE, "S3", "a_b", "a..b", "a\n", ".", "x" * 254, "é"])
def test_what_is_no_name_of_an_account_is_refused(key: str, name: str) -> None:
    (fault,) = judge(service(predictor={"model": MODEL, key: name})).faults
    assert (fault.field, fault.value) == (f"spec.predictor.{key}", name)
    assert fault.problem == "names no ServiceAccount"
    transformer = {"containers": [{"image": "x"}], key: name}
    (fault,) = judge(service(predictor={"model": MODEL}, transformer=transformer)).faults
    assert fault.field == f"spec.transformer.{key}"


@pytest.mark.parametrize("name", ["s3-sa", "a.b-c.d", "0", "x" * 253])
def test_names_of_accounts(name: str) -> None:
    assert is_object_name(name)
    assert faults(model=MODEL, serviceAccountName=name) == []
    assert faults(model=MODEL, serviceAccountName="") == []


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        (
            {"model": {**MODEL, "env": [{"name": "A", "value": "1"}, {"name": "A"}]}},
            (
                'spec.predictor.model.env[1].name "A" is there already, in '
                "spec.predictor.model.env[0]: "
                "keep one of them"
            ),
        ),
        (
            {
                "sklearn": {
                    "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]
                }
            },
            (
                'spec.predictor.sklearn.ports[1].containerPort "80" is there already, in '
                "spec.predictor.sklearn.ports[0]: keep one of them"
            ),
        ),
        (
            {
                "model": {
                    **MODEL,
                    "ports": [
                        {"containerPort": 80, "name": "a"},
                        {"containerPort": 81, "name": "a"},
                    ],
                }
            },
            (
                'spec.predictor.model.ports[1].name "a" is there already, in '
                "spec.predictor.model.ports[0]: keep one of them"
            ),
        ),
        (
            {"containers": [{"volumeMounts": [{"name": n, "mountPath": "/x"} for n in "ab"]}]},
            (
                'spec.predictor.containers[0].volumeMounts[1].mountPath "/x" is there already, in '
                "spec.predictor.containers[0].volumeMounts[0]: keep one of them"
            ),
        ),
        (
            {
                "model": MODEL,
                "initContainers": [{"name": "a", "env": [{"name": "B"}, {"name": "B"}]}],
            },
            (
                'spec.predictor.initContainers[0].env[1].name "B" is there already, in '
                "spec.predictor.initContainers[0].env[0]: keep one of them"
            ),
        ),
        (
            {"model": MODEL, "volumes": [{"name": "v"}, {"name": "v"}]},
            (
                'spec.predictor.volumes[1].name "v" is there already, in '
                "spec.predictor.volumes[0]: "
                "keep one of them"
            ),
        ),
        (
            {"model": MODEL, "containers": [{"name": "a"}, {"name": "a"}]},
            (
                'spec.predictor.containers[1].name "a" is the name of another, '
                "spec.predictor.containers[0].name: give it another"
            ),
        ),
        (
            {"model": MODEL, "containers": [{"name": "a"}], "initContainers": [{"name": "a"}]},
            (
                'spec.predictor.initContainers[0].name "a" is the name of another, '
                "spec.predictor.containers[0].name: give it another"
            ),
        ),
        (
            {"model": MODEL, "containers": [{"image": "x"}]},
            "spec.predictor.containers[0].name is missing: name the container",
        ),
        (
            {"containers": [{"name": "kserve-container"}, {"image": "x"}]},
            "spec.predictor.containers[1].name is missing: name the container",
        ),
        (
            {"model": {**MODEL, "storageUri": "pvc://Claim_X/a"}},
            (
                'spec.predictor.model.storageUri "pvc://Claim_X/a" names no '
                "PersistentVolumeClaim: give "
                "the claim's name, then a path in it"
            ),
        ),
        (
            {"model": {**MODEL, "storageUri": "s3://b/m", "volumeMounts": [AT_MODEL]}},
            (
                'spec.predictor.model.volumeMounts[0].mountPath "/mnt/models" is where the model '
                "comes: "
                "mount the volume elsewhere, or say of no model where it is"
            ),
        ),
        (
            {
                "containers": [
                    {
                        "env": [{"name": "STORAGE_URI", "value": "s3://b/m"}],
                        "volumeMounts": [{"name": "mine", "mountPath": "/mnt/models/"}],
                    }
                ]
            },
            (
                'spec.predictor.containers[0].volumeMounts[0].mountPath "/mnt/models/" is where '
                "the "
                "model comes: mount the volume elsewhere, or say of no model where it is"
            ),
        ),
        (
            {
                "containers": [
                    BOTH[0],
                    {**BOTH[1], "env": [{"name": "STORAGE_URI", "value": "s3://b"}]},
                ]
            },
            (
                "spec.predictor.containers[1].env[STORAGE_URI] is not read: a transformer beside "
                "its "
                "model server has that one's model: remove it, and say there where the model is "
                "(kserve-container)"
            ),
        ),
        (
            {"model": MODEL, "deploymentStrategy": {"type": "Rolling"}},
            (
                'spec.predictor.deploymentStrategy.type "Rolling" is no way to replace pods: give '
                "RollingUpdate or Recreate"
            ),
        ),
        (
            {
                "model": MODEL,
                "deploymentStrategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
            },
            (
                "spec.predictor.deploymentStrategy.rollingUpdate is not for the type Recreate: "
                "remove "
                "it, or give the type RollingUpdate"
            ),
        ),
    ],
)
def test_what_could_not_be_made(predictor: Json, said: str) -> None:
    assert faults(**predictor) == [said]


ALIKE: list[Json] = [
    # Fetched into a volume of the user's choice, and without a model to be fetched.
    {
        "model": {
            **MODEL,
            "storageUri": "s3://b/m",
            "volumeMounts": [{**AT_MODEL, "name": "kserve-provision-location"}],
        }
    },
    {"model": {**MODEL, "volumeMounts": [AT_MODEL]}},
    {
        "model": {**MODEL, "storageUri": "s3://b/m"},
        "containers": [{"name": "helper", "volumeMounts": [AT_MODEL]}],
    },
    {"model": {**MODEL, "ports": [{"containerPort": 80, "protocol": p} for p in ("TCP", "UDP")]}},
    {"model": {**MODEL, "ports": [{"containerPort": number} for number in (80, 81)]}},
    {"model": MODEL, "deploymentStrategy": {"type": "Recreate", "rollingUpdate": None}},
]


@pytest.mark.parametrize("predictor", ALIKE)
def test_what_is_alike_and_yet_right(predictor: Json) -> None:
    assert faults(**predictor) == []


def test_the_first_container_of_a_transformer_serves_where_none_is_named_so() -> None:
    env = [{"name": "STORAGE_URI", "value": "s3://b/m"}]
    first = {"name": "mine", "env": env, "volumeMounts": [AT_MODEL]}
    given = service(
        predictor={"model": MODEL}, transformer={"containers": [first, {"name": "helper"}]}
    )
    (fault,) = judge(given).faults
    assert fault.field == "spec.transformer.containers[0].volumeMounts[0].mountPath"


@pytest.mark.parametrize("name", ["h2c", "grpc-web", "my-grpc", "x-h2c"])
def test_a_port_for_http2_by_whatever_is_in_its_name(name: str) -> None:
    said = (
        f"spec.predictor.batcher has no effect: the first port is named {name}, and HTTP/2 is not "
        "batched"
    )
    ports = [{"containerPort": 9000, "name": name}]
    model: Json = {**MODEL, "ports": ports}
    assert warnings(batcher={}, model=model) == (said,)
    beside = {"name": "transformer-container", "ports": ports}
    assert warnings(batcher={}, containers=[beside]) == (said,)
    other = {"name": "helper", "ports": ports}
    assert warnings(batcher={}, containers=[other]) == ()


def test_the_name_of_the_service_is_told_to_containers_in_any_case() -> None:
    model: Json = {**MODEL, "env": [{"name": "INFERENCE_SERVICE_NAME", "value": "mine"}]}
    assert warnings(model=model) == (
        (
            "spec.predictor.model.env[INFERENCE_SERVICE_NAME] has no effect: it is the "
            "InferenceService's name"
        ),
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"hostNetwork": True}, "on the host's network the sidecar's ports may be taken"),
        (
            {"resources": {"limits": {"cpu": "2"}}},
            "the pod's own resources leave no room for a sidecar",
        ),
        (
            {"containers": [{"name": "agent"}]},
            "a container is named agent, as the sidecar is to be",
        ),
    ],
)
def test_pods_that_get_no_sidecar(given: Json, why: str) -> None:
    assert warnings(batcher={}, **given) == (f"spec.predictor.batcher has no effect: {why}",)
    assert warnings(**given) == ()
