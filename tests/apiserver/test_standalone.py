"""The kinds that the chart defines where KServe is not, and the objects of standalone mode."""

import copy
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
import yaml

from batcher_contract import FIELDS
from batcher_contract.kinds import Number, Whole
from batcher_operator.standalone.scaling import replicas_to_hand_over
from batcher_operator.standalone.status import Observed, status_of
from tests.apiserver.chart.release import RELEASE
from tests.apiserver.kit import (
    Api,
    ApiError,
    ApiServer,
    Manifest,
    make_account,
    make_namespace,
    running_api_server,
    until,
)
from tests.chart.values_table import CHART
from tests.unit.operator.standalone.golden_files import CASES, given, made, service_in

GROUP: Final = "serving.kserve.io"
DEFINED: Final = ("inferenceservices", "clusterservingruntimes", "servingruntimes")
NAMESPACE: Final = "batching"
MANAGER: Final = "inference-batcher"
IN_NAMESPACE: Final = {"namespace": "models"}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """It knows what the chart, installed with its definitions, makes it know."""
    with running_api_server() as server:
        with closing(server.client()) as api:
            make_namespace(api, NAMESPACE)
            make_namespace(api, "models")
            for name in ("s3-sa", "runner"):
                make_account(api, name, "models")
        installed(server, "install")
        yield server


@pytest.fixture
def admin(server: ApiServer) -> Iterator[Api]:
    with closing(server.client()) as api:
        yield api


def installed(server: ApiServer, command: str, *flags: str) -> None:
    """Have the release with its definitions."""
    run(server, command, RELEASE, str(CHART), "--set", "crds.enabled=true", *flags)
    with closing(server.client()) as api:
        until(lambda: are_served(api), "the definitions are served")


def are_served(api: Api) -> bool:
    found = [each for each in definitions(api).values() if each is not None]
    conditions = [c for each in found for c in each.get("status", {}).get("conditions") or ()]
    established = [c for c in conditions if (c["type"], c["status"]) == ("Established", "True")]
    return len(established) == len(DEFINED)


def run(server: ApiServer, *args: str) -> None:
    done = server.helm(*args, "--namespace", NAMESPACE)
    assert done.returncode == 0, done.stderr


def definitions(api: Api) -> dict[str, Manifest | None]:
    names = [f"{plural}.{GROUP}" for plural in DEFINED]
    return {name: api.find("CustomResourceDefinition", name) for name in names}


def test_definitions_are_installed_and_outlive_their_release(
    server: ApiServer, admin: Api
) -> None:
    made_first = definitions(admin)
    assert all(made_first.values())
    run(server, "uninstall", RELEASE)
    installed(server, "install")
    run(server, "upgrade", RELEASE, str(CHART))
    kept = {name: each and each["metadata"]["uid"] for name, each in definitions(admin).items()}
    assert kept == {name: each and each["metadata"]["uid"] for name, each in made_first.items()}
    installed(server, "upgrade")


def test_a_cluster_of_its_own_gets_them_by_an_upgrade_too() -> None:
    with running_api_server() as server, closing(server.client()) as api:
        make_namespace(api, NAMESPACE)
        run(server, "install", RELEASE, str(CHART))
        assert not any(definitions(api).values())
        installed(server, "upgrade")
        assert all(definitions(api).values())


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_what_is_given_and_what_is_made(case: str, admin: Api) -> None:
    """Every object whole: no unknown field, no wrong value."""
    documents = given(case)
    for document in documents:
        if document["apiVersion"].startswith(GROUP):
            manifest = without_uid(document)
            admin.apply(manifest, force=True, dryRun="All", fieldValidation="Strict")
    for manifest in made(documents).objects:
        admin.apply(manifest, manager=MANAGER, dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        ({"batcher": {"maxBatchSize": 0}}, "spec.predictor.batcher.maxBatchSize"),
        ({"batcher": {"maxLatency": "50"}}, "spec.predictor.batcher.maxLatency"),
        ({"batcher": {"maxLatencies": 50}}, 'unknown field "spec.predictor.batcher.maxLatencies"'),
        ({"minReplica": 1}, 'unknown field "spec.predictor.minReplica"'),
        ({"model": {}}, "spec.predictor.model.modelFormat: Required value"),
        (
            {"model": {"modelFormat": {"name": "sklearn"}, "storageURI": "s3://x/y"}},
            'unknown field "spec.predictor.model.storageURI"',
        ),
        ({"nodeSelectors": {}}, 'unknown field "spec.predictor.nodeSelectors"'),
        ({"serviceAccountName": "../../x/serviceaccounts/y"}, "spec.predictor.serviceAccountName"),
        ({"serviceAccount": "S3"}, "spec.predictor.serviceAccount"),
        ({"scaleMetricType": "Percent"}, "spec.predictor.scaleMetricType"),
        (
            {"autoScaling": {"metrics": [{"type": "Resource", "resources": {}}]}},
            'unknown field "spec.predictor.autoScaling.metrics[0].resources"',
        ),
    ],
)
def test_what_is_misspelt_or_out_of_bounds_is_refused(
    predictor: Manifest, words: str, admin: Api
) -> None:
    with pytest.raises(ApiError) as caught:
        admin.create(service(predictor), dryRun="All", fieldValidation="Strict")
    assert words in str(caught.value)


def test_the_bounds_are_those_of_the_settings(admin: Api) -> None:
    definition = admin.get("CustomResourceDefinition", f"inferenceservices.{GROUP}")
    (version,) = definition["spec"]["versions"]
    schema: Any = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    for component in ("predictor", "transformer"):
        section = schema[component]["properties"]["batcher"]["properties"]
        for key, name in (
            ("maxBatchSize", "max_batch_size"),
            ("maxLatency", "max_latency_ms"),
            ("timeout", "timeout_s"),
        ):
            kind = FIELDS[name].kind
            assert isinstance(kind, Whole | Number)
            assert section[key]["minimum"] == max(1, kind.minimum)
            assert section[key]["maximum"] == kind.maximum


def test_the_short_name_and_its_columns(server: ApiServer, admin: Api) -> None:
    name = "shown"
    admin.create(service({"model": {"modelFormat": {"name": "sklearn"}}}, name))
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}]
    shown = {"url": "http://shown", "conditions": ready}
    path = f"{admin.path('InferenceService', name, 'models')}/status"
    patch = {"status": shown}
    admin.call("PATCH", path, patch, content_type="application/merge-patch+json")
    done = server.kubectl("get", "isvc", "-n", "models", name)
    headings, values = (line.split() for line in done.stdout.splitlines())
    assert headings == ["NAME", "URL", "READY", "AGE"]
    assert values[:3] == [name, "http://shown", "True"]
    admin.delete("InferenceService", name, "models")


@pytest.mark.parametrize("case", [case for case in CASES if made(given(case)).objects])
def test_a_status_is_kept_whole(case: str, admin: Api) -> None:
    documents = given(case)
    created = admin.create(without_uid(service_in(documents)))
    meta = created["metadata"]
    try:
        workload = made(documents)
        status = status_of(created, workload, Observed(), "2030-01-01T00:00:00Z")
        path = f"{admin.path('InferenceService', meta['name'], 'models')}/status"
        body = {
            "apiVersion": f"{GROUP}/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": meta["name"], "namespace": "models"},
            "status": status,
        }
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        kept = admin.call(
            "PATCH", path, body, query, content_type="application/apply-patch+yaml"
        )  # fmt: skip
        assert kept["status"] == status
        assert status["observedGeneration"] == meta["generation"]
    finally:
        admin.delete("InferenceService", meta["name"], "models")


def deployment_of(case: str, **predictor: Any) -> Manifest:
    documents = given(case)
    service_in(documents)["spec"]["predictor"].update(predictor)
    (found,) = (each for each in made(documents).objects if each["kind"] == "Deployment")
    return without_uid(found)


def test_a_strategy_can_be_changed_and_changed_back(admin: Api) -> None:
    for kind in ("RollingUpdate", "Recreate", "RollingUpdate"):
        wanted = deployment_of("batcher", deploymentStrategy={"type": kind})
        kept = admin.apply(wanted, manager=MANAGER)["spec"]["strategy"]
        assert kept["type"] == kind
        assert ("rollingUpdate" in kept) == (kind == "RollingUpdate")
    admin.delete("Deployment.apps", "batcher-predictor", "models")


def test_an_autoscaler_takes_over_without_a_moment_of_one_pod(admin: Api) -> None:
    fixed = deployment_of("fixed")
    name = fixed["metadata"]["name"]
    kept = admin.apply(fixed, manager=MANAGER)
    assert kept["spec"]["replicas"] == 3
    scaled = copy.deepcopy(fixed)
    del scaled["spec"]["replicas"]
    handed_over = replicas_to_hand_over(kept, MANAGER)
    assert handed_over is not None
    admin.apply(handed_over, manager=f"{MANAGER}-handover", force=True)
    kept = admin.apply(scaled, manager=MANAGER)
    assert kept["spec"]["replicas"] == 3
    assert replicas_to_hand_over(kept, MANAGER) is None
    # Without that it would have been one.
    admin.delete("Deployment.apps", name, "models")
    admin.apply(fixed, manager=MANAGER)
    assert admin.apply(scaled, manager=MANAGER)["spec"]["replicas"] == 1
    admin.delete("Deployment.apps", name, "models")


def test_the_same_again_changes_nothing(admin: Api) -> None:
    for wanted in made(given("custom")).objects:
        manifest = without_uid(wanted)
        first = admin.apply(manifest, manager=MANAGER)
        again = admin.apply(manifest, manager=MANAGER)
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        kind = f"{wanted['kind']}.{wanted['apiVersion'].rpartition('/')[0]}"
        admin.delete(kind.removesuffix("."), wanted["metadata"]["name"], "models")


def service(predictor: Manifest, name: str = "iris") -> Manifest:
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, **IN_NAMESPACE},
        "spec": {"predictor": predictor},
    }


def without_uid(manifest: Manifest) -> Manifest:
    """A copy that can be created: goldens have a uid of their own, and owners that do not exist."""
    found: Manifest = yaml.safe_load(json.dumps(manifest))
    found["metadata"].pop("uid", None)
    found["metadata"].pop("generation", None)
    found["metadata"].pop("ownerReferences", None)
    return found
