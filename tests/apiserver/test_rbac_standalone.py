"""The rights that standalone mode adds: each is needed, and they are enough."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.apiserver.kit import Api, ApiError, make_account, until
from tests.apiserver.kit.installation import NAMESPACE, RELEASE, Installation, running_installation
from tests.apiserver.kit.rights import Right, rights_in, without

if TYPE_CHECKING:
    from tests.apiserver.kit.programs import Program

STANDALONE: Final = ('mode="standalone"', "crds.enabled=true", "certificates.pollSeconds=0.3")
# What OpenShift has and others have not: who sets owners must have rights on them.
OWNERS: Final = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
ROLE: Final = f"{RELEASE}-operator-workloads"
GROUP: Final = "serving.kserve.io"
RUNTIME: Final = "kserve-sklearnserver"
FINALIZERS: Final = "inferenceservices/finalizers"
OWNED: Final = (
    ("Deployment", "apps", "deployments", "iris-predictor"),
    ("Service", "", "services", "iris-predictor"),
    ("ConfigMap", "", "configmaps", "iris-predictor-batcher"),
    ("HorizontalPodAutoscaler", "autoscaling", "horizontalpodautoscalers", "iris-predictor"),
)
Json = dict[str, Any]


def right(group: str, resource: str, verb: str, name: str = "") -> Right:
    return Right("ClusterRole", group, resource, verb, name)


RIGHTS: Final = [
    right(GROUP, "inferenceservices", "get"),
    right(GROUP, "inferenceservices/status", "update"),
    right(GROUP, FINALIZERS, "update"),
    *(
        right(GROUP, resource, verb)
        for resource in ("servingruntimes", "clusterservingruntimes")
        for verb in ("list", "watch")
    ),
    *(
        right(GROUP, "clusterservingruntimes", verb, RUNTIME)
        for verb in ("get", "create", "patch", "delete")
    ),
    *(
        right(group, resource, verb)
        for _, group, resource, _ in OWNED
        for verb in ("get", "list", "watch", "create", "patch", "delete")
    ),
    right("", "serviceaccounts", "get"),
    right("", "secrets", "get"),
    right("apiextensions.k8s.io", "customresourcedefinitions", "get", f"inferenceservices.{GROUP}"),
]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation(
        *STANDALONE, knows_inferenceservices=False, flags=(OWNERS,)
    ) as installation:
        yield installation


def role(api: Api) -> Json:
    return {"kind": "ClusterRole", **api.get("ClusterRole", ROLE)}


def test_the_rights_are_those_listed_here(installation: Installation) -> None:
    assert sorted(rights_in(role(installation.api))) == sorted(RIGHTS)


FORBIDDEN: Final = [
    ("GET", "/api/v1/secrets"),
    ("GET", "/api/v1/namespaces/default/secrets"),
    ("PATCH", "/api/v1/namespaces/default/secrets/any"),
    ("GET", "/api/v1/serviceaccounts"),
    ("PUT", f"/apis/{GROUP}/v1beta1/namespaces/default/inferenceservices/any"),
    ("DELETE", f"/apis/{GROUP}/v1beta1/namespaces/default/inferenceservices/any"),
    ("POST", f"/apis/{GROUP}/v1alpha1/clusterservingruntimes"),
    ("PATCH", f"/apis/{GROUP}/v1alpha1/clusterservingruntimes/another"),
    ("DELETE", f"/apis/{GROUP}/v1alpha1/clusterservingruntimes/another"),
    ("PATCH", f"/apis/{GROUP}/v1alpha1/namespaces/default/servingruntimes/{RUNTIME}"),
    ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    ("POST", "/api/v1/namespaces/default/pods"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
]


@pytest.mark.parametrize(("method", "path"), FORBIDDEN)
def test_what_is_refused(installation: Installation, method: str, path: str) -> None:
    body: Json | None = {} if method in ("POST", "PUT", "PATCH") else None
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    token = installation.api.token(f"{RELEASE}-operator", NAMESPACE)
    with closing(installation.server.client(token)) as client:
        with pytest.raises(ApiError) as refused:
            client.call(method, path, body, content_type=kind)
    assert refused.value.status == 403


class Trial:
    """An operator that has an InferenceService to bring about, and to take down again."""

    def __init__(self, installation: Installation) -> None:
        self.api = installation.api
        self.namespace = installation.server.new_namespace(self.api)
        self.made = False
        self._prepare()
        self.program: Program

    def _prepare(self) -> None:
        meta = {"name": "s3", "namespace": self.namespace}
        data = {"AWS_ACCESS_KEY_ID": "eA==", "AWS_SECRET_ACCESS_KEY": "eA=="}
        self.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
        account = make_account(self.api, "s3-sa", self.namespace)
        self.api.replace({**account, "secrets": [{"name": "s3"}]})
        self.api.create(
            self.service(
                "iris",
                "sklearn",
                serviceAccountName="s3-sa",
                batcher={"maxBatchSize": 32},
                maxReplicas=3,
            )
        )

    def service(self, name: str, model_format: str, **predictor: Any) -> Json:
        model = {"modelFormat": {"name": model_format}, "storageUri": "s3://models/iris"}
        return {
            "apiVersion": f"{GROUP}/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"predictor": {"model": model, **predictor}},
        }

    def found(self) -> list[Json]:
        """Those objects of the InferenceService that there are."""
        each = (self.api.find(kind, name, self.namespace) for kind, _, _, name in OWNED)
        return [found for found in each if found is not None]

    def conditions(self, name: str = "iris") -> dict[str, str]:
        service = self.api.get("InferenceService", name, self.namespace)
        found = service.get("status", {}).get("conditions") or ()
        return {each["type"]: each.get("reason", "") for each in found}

    def is_done(self) -> bool:
        """Whether all was made, its status written, and then taken down; goes on to the latter."""
        if not self.made:
            runtime = self.api.find("ClusterServingRuntime", RUNTIME)
            if runtime is None or len(self.found()) < len(OWNED) or not self.conditions():
                return False
            self.made = True
            stop = {"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}}
            self.api.patch("InferenceService", "iris", self.namespace, stop)
        return not self.found() and self.conditions()["Ready"] == "Stopped"


@contextmanager
def trial(installation: Installation) -> Iterator[Trial]:
    """A running operator, with nothing there yet of what it makes."""
    if installation.api.find("ClusterServingRuntime", RUNTIME):
        installation.api.delete("ClusterServingRuntime", RUNTIME)
    trial = Trial(installation)
    with installation.start_operator() as trial.program:
        yield trial
    installation.api.delete_all("InferenceService", trial.namespace)


def test_with_all_rights_all_is_done(installation: Installation) -> None:
    with trial(installation) as running:
        until(running.is_done, "all is made and taken down")
        assert "forbidden" not in running.program.output


def test_with_all_rights_every_change_is_noticed(installation: Installation) -> None:
    api = installation.api
    with trial(installation) as running:
        until(lambda: len(running.found()) == len(OWNED), "all is made")
        for kind, _, _, name in OWNED:
            drift = {"metadata": {"labels": {"component": "other"}}}
            api.patch(kind, name, running.namespace, drift)

            def is_repaired(kind: str = kind, name: str = name) -> bool:
                labels = api.get(kind, name, running.namespace)["metadata"]["labels"]
                return bool(labels["component"] == "predictor")

            until(is_repaired, f"the {kind} is as it was")
        for kind in ("ServingRuntime", "ClusterServingRuntime"):
            name = kind.lower()
            api.create(running.service(name, name))

            def is_refused(name: str = name) -> bool:
                return running.conditions(name).get("Ready") == "InvalidSpec"

            until(is_refused, "no runtime fits")
            where = {"namespace": running.namespace} if kind == "ServingRuntime" else {}
            api.create(
                {
                    "apiVersion": f"{GROUP}/v1alpha1",
                    "kind": kind,
                    "metadata": {"name": name, **where},
                    "spec": {
                        "supportedModelFormats": [{"name": name, "autoSelect": True}],
                        "protocolVersions": ["v1"],
                        "containers": [{"name": "kserve-container", "image": "a:1"}],
                    },
                }
            )

            def is_served(name: str = name) -> bool:
                return api.find("Deployment", f"{name}-predictor", running.namespace) is not None

            until(is_served, f"the {kind} is used")
        assert "forbidden" not in running.program.output


def words_of(missing: Right) -> tuple[str, ...]:
    """What the API server says where a right is missing."""
    told = f'cannot {missing.verb} resource "{missing.resource}"'
    if missing.resource == FINALIZERS:
        return ("cannot set blockOwnerDeletion",)
    if missing.verb == "delete":
        return (told, "cannot set an ownerRef on a resource you can't delete")
    return (told,)


def is_told_only(missing: Right) -> bool:
    """Whether what is made at the start can be made without it: changes would be missed."""
    return missing.verb == "watch"


DELETE_RUNTIME: Final = right(GROUP, "clusterservingruntimes", "delete", RUNTIME)


@pytest.mark.parametrize("missing", [r for r in RIGHTS if r != DELETE_RUNTIME], ids="-".join)
def test_each_right_is_needed(installation: Installation, missing: Right) -> None:
    api = installation.api
    with without(api, [role(api)], missing), trial(installation) as running:

        def is_missed() -> bool:
            running.is_done()
            return any(words in running.program.output for words in words_of(missing))

        until(is_missed, "the right is missed, and the operator says so")
        assert is_told_only(missing) or not running.is_done()


def test_a_runtime_that_is_not_wanted_takes_a_right_to_delete(
    installation: Installation, tmp_path: Path
) -> None:
    api = installation.api
    config_map = api.get("ConfigMap", f"{RELEASE}-runtimes", NAMESPACE)
    (document,) = yaml.safe_load_all(config_map["data"]["runtimes.yaml"])
    if not api.find("ClusterServingRuntime", RUNTIME):
        api.create(document)
    file = tmp_path / "runtimes.yaml"
    unwanted = {key: document[key] for key in ("apiVersion", "kind")}
    file.write_text(yaml.safe_dump({**unwanted, "metadata": {"name": RUNTIME}}))
    with without(api, [role(api)], DELETE_RUNTIME):
        with installation.start_operator(f"--cluster-runtimes={file}"):
            words = 'cannot delete resource "clusterservingruntimes"'
            until(lambda: words in installation.why_not_ready(), "the right is missed")
            assert api.find("ClusterServingRuntime", RUNTIME)
    with installation.start_operator(f"--cluster-runtimes={file}"):
        installation.wait_until_ready()
        assert not api.find("ClusterServingRuntime", RUNTIME)
