"""What standalone mode says about an InferenceService."""

from typing import Any

import pytest

from batcher_contract.standalone import judge, scheme_of
from tests.unit.contract.standalone.services import MODEL, Json, faults, service, warnings


@pytest.mark.parametrize(
    "predictor",
    [
        {"model": {**MODEL, "storageUri": "s3://bucket/x"}},
        {"sklearn": {"storageUri": "pvc://claim"}},
        {"containers": [{"image": "x"}]},
        {"containers": [{"name": "kserve-container"}, {"name": "transformer-container"}]},
        {"model": MODEL, "containers": [{"name": "helper"}]},
        {"model": MODEL, "minReplicas": 2, "maxReplicas": 0},
        {"model": MODEL, "canaryTrafficPercent": 100},
        {"model": MODEL, "containers": [{"name": "transformer-container"}], "logger": None},
    ],
)
def test_nothing_to_say(predictor: Json) -> None:
    judgement = judge(service(predictor=predictor))
    assert (judgement.faults, judgement.warnings) == ((), ())


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        (
            {},
            (
                "spec.predictor says nothing of what to run: give it a model, or containers of "
                "your own"
            ),
        ),
        (
            {"containers": [{"name": "a"}, {"name": "b"}]},
            (
                "spec.predictor.containers has several and none is named "
                "kserve-container: name the "
                "one that serves kserve-container"
            ),
        ),
        (
            {"model": MODEL, "containers": [{"name": "kserve-container"}]},
            "spec.predictor serves by several of its fields (model, containers): keep one of them",
        ),
        (
            {"sklearn": {"name": "x"}},
            'spec.predictor.sklearn.name "x" names a container that the runtime names: remove it',
        ),
        (
            {"model": {**MODEL, "storageUri": "hdfs://x/y"}},
            (
                'spec.predictor.model.storageUri "hdfs://x/y" is at no storage that '
                "models are fetched "
                "from: give s3://, gs://, hf://, http://, https://, pvc://"
            ),
        ),
        (
            {"model": {**MODEL, "storageUri": "s3://"}},
            'spec.predictor.model.storageUri "s3://" names no place: give what follows s3://',
        ),
        (
            {"model": {**MODEL, "storageUri": "pvc://claim/../x"}},
            (
                'spec.predictor.model.storageUri "pvc://claim/../x" leads out of its '
                "volume: give a "
                "path without .."
            ),
        ),
        (
            {"containers": [{"env": [{"name": "STORAGE_URI", "value": "/mnt/x"}]}]},
            (
                'spec.predictor.containers[0].env[STORAGE_URI] "/mnt/x" is at no storage '
                "that models "
                "are fetched from: give s3://, gs://, hf://, http://, https://, pvc://"
            ),
        ),
        (
            {"model": MODEL, "minReplicas": -1},
            'spec.predictor.minReplicas "-1" is less than 0: give at least 1',
        ),
        (
            {"model": MODEL, "scaleMetric": "memory"},
            (
                "spec.predictor.scaleTarget is missing beside scaleMetric memory: give "
                "the percentage "
                "of the requested memory to aim at"
            ),
        ),
        (
            {"model": MODEL, "scaleTarget": 0},
            'spec.predictor.scaleTarget "0" is less than 1: give a percentage',
        ),
        (
            {"model": MODEL, "autoScaling": {"metrics": [{"type": "External"}]}},
            'spec.predictor.autoScaling.metrics[0].type "External" needs KEDA: give Resource',
        ),
        (
            {
                "model": MODEL,
                "autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": "disk"}}]},
            },
            (
                'spec.predictor.autoScaling.metrics[0].resource.name "disk" is no '
                "resource that pods "
                "are scaled by: give cpu or memory"
            ),
        ),
        (
            {"model": MODEL, "activeDeadlineSeconds": 5},
            'spec.predictor.activeDeadlineSeconds "5" is not for pods of a Deployment: remove it',
        ),
        (
            {"containers": [{"ports": [{"name": "x"}, {"name": "inference-http"}]}]},
            (
                'spec.predictor.containers[0].ports[1].name "inference-http" is the name '
                "that requests "
                "come to the container's first port by: give the port another name"
            ),
        ),
    ],
)
def test_what_is_not_run(predictor: Json, said: str) -> None:
    assert faults(**predictor) == [said]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 48, []),
        (
            "x" * 49,
            [
                (
                    f'metadata.name "{"x" * 49}" is too long for the label app: '
                    "isvc.<name>-predictor: "
                    "give at most 48 characters"
                )
            ],
        ),
        (
            "1st",
            [
                (
                    'metadata.name "1st" names no Service: give lower case letters, '
                    "digits and dashes, "
                    "a letter first"
                )
            ],
        ),
    ],
)
def test_names(name: str, said: list[str]) -> None:
    judgement = judge(service(name, predictor={"model": MODEL}))
    assert list(map(str, judgement.faults)) == said


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        (
            {"timeout": 60},
            "spec.predictor.timeout has no effect: it is enforced by Knative only",
        ),
        (
            {"minReplicas": 0},
            (
                "spec.predictor.minReplicas 0 is taken as 1: pods are not scaled to none without "
                "KServe"
            ),
        ),
        (
            {"batcher": {}, "model": {**MODEL, "ports": [{"name": "grpc", "containerPort": 9000}]}},
            (
                "spec.predictor.batcher has no effect: the first port is named grpc, and "
                "HTTP/2 is not "
                "batched"
            ),
        ),
        (
            {"annotations": {"serving.kserve.io/stop": "true"}},
            "spec.predictor.annotations[serving.kserve.io/stop] has no effect without KServe",
        ),
    ],
)
def test_what_is_run_without(predictor: Json, said: str) -> None:
    assert warnings(**predictor) == (said,)


def test_modes_that_are_none_of_kserves_own_are_fine() -> None:
    for mode in ("Standard", "RawDeployment"):
        annotated = {"serving.kserve.io/deploymentMode": mode}
        judgement = judge(service(annotations=annotated, predictor={"model": MODEL}))
        assert (judgement.faults, judgement.warnings) == ((), ())


def test_a_transformer_is_told_how_many_workers_to_run() -> None:
    transformer = {"containers": [{"image": "x"}], "containerConcurrency": 2}
    judgement = judge(service(predictor={"model": MODEL}, transformer=transformer))
    assert (judgement.faults, judgement.warnings) == ((), ())


def test_a_name_that_is_yet_to_be_made_up() -> None:
    spec = {"predictor": {"model": MODEL}}
    assert judge({"metadata": {"generateName": "iris-"}, "spec": spec}).faults == ()
    (fault,) = judge({"metadata": {}, "spec": spec}).faults
    assert str(fault) == "metadata.name is missing: give one"


@pytest.mark.parametrize("value", [None, 1, "x", [], {"spec": 1}, {"spec": {"predictor": []}}])
def test_any_value_is_judged(value: Any) -> None:
    assert judge(value if isinstance(value, dict) else {"spec": value}).faults


def test_schemes() -> None:
    assert [scheme_of(uri) for uri in ("s3://x", "S3://x", "x", "://")] == ["s3", "s3", "", ""]
