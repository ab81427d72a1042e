"""The rights of the chart's ServiceAccounts: each is needed, and nothing more is granted."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.apiserver.kit import Api, ApiError, until
from tests.apiserver.kit.installation import (
    NAMESPACE,
    RELEASE,
    Installation,
    running_installation,
)
from tests.apiserver.kit.rights import Right, rights_in, without

OPERATOR, WEBHOOK = f"{RELEASE}-operator", f"{RELEASE}-webhook"
OURS, KSERVES = "inferenceservices.inference-batcher.io", "inferenceservice.serving.kserve.io"
CRD = "inferenceservices.serving.kserve.io"
ADMISSION = "admissionregistration.k8s.io"
Json = dict[str, Any]


RIGHTS = [
    Right("ClusterRole", "serving.kserve.io", "inferenceservices", "list"),
    Right("ClusterRole", "serving.kserve.io", "inferenceservices", "watch"),
    Right("ClusterRole", "", "pods", "list"),
    Right("ClusterRole", "", "pods", "watch"),
    Right("ClusterRole", "", "events", "create"),
    Right("ClusterRole", ADMISSION, "mutatingwebhookconfigurations", "get", OURS),
    Right("ClusterRole", ADMISSION, "mutatingwebhookconfigurations", "get", KSERVES),
    Right("ClusterRole", ADMISSION, "mutatingwebhookconfigurations", "update", OURS),
    Right("ClusterRole", ADMISSION, "validatingwebhookconfigurations", "get", OURS),
    Right("ClusterRole", ADMISSION, "validatingwebhookconfigurations", "update", OURS),
    Right("Role", "", "secrets", "get", f"{RELEASE}-ca"),
    Right("Role", "", "secrets", "get", f"{RELEASE}-webhook-tls"),
    Right("Role", "", "secrets", "update", f"{RELEASE}-ca"),
    Right("Role", "", "secrets", "update", f"{RELEASE}-webhook-tls"),
]
"""All that the operator may do; the webhook may do nothing."""


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation() as installation:
        hook = {"apiVersion": f"{ADMISSION}/v1", "kind": "MutatingWebhookConfiguration"}
        installation.api.create({**hook, "metadata": {"name": KSERVES}, "webhooks": []})
        yield installation


def roles(api: Api) -> list[Json]:
    return [
        {"kind": "ClusterRole", **api.get("ClusterRole", OPERATOR)},
        {"kind": "Role", **api.get("Role", OPERATOR, NAMESPACE)},
    ]


def test_the_rights_are_those_listed_here(installation: Installation) -> None:
    assert sorted(right for role in roles(installation.api) for right in rights_in(role)) == sorted(
        RIGHTS
    )


@pytest.mark.parametrize("account", [OPERATOR, WEBHOOK])
def test_nobody_else_grants_more(installation: Installation, account: str) -> None:
    """What a ServiceAccount may do beyond what every one may."""
    api = installation.api
    common = {"name": "nobody", "namespace": NAMESPACE}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": common})

    def review(who: str) -> list[Json]:
        with closing(installation.server.client(api.token(who, NAMESPACE))) as client:
            answer = client.call(
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                {"spec": {"namespace": NAMESPACE}},
            )
        rules: list[Json] = answer["status"]["resourceRules"]
        return rules

    everybodys = review("nobody")
    more = [rule for rule in review(account) if rule not in everybodys]
    found = {
        right._replace(kind="")
        for right in rights_in({"kind": "", "rules": more})
    }  # fmt: skip
    expected = RIGHTS if account == OPERATOR else []
    assert found == {right._replace(kind="") for right in expected}


FORBIDDEN = [
    ("GET", "/api/v1/secrets"),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/another"),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-ca"),
    ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-ca"),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
    ("GET", f"/api/v1/namespaces/kube-system/secrets/{RELEASE}-ca"),
    ("POST", "/api/v1/namespaces/default/pods"),
    ("DELETE", "/api/v1/namespaces/default/pods/any"),
    ("POST", "/api/v1/namespaces/default/pods/any/exec"),
    ("GET", "/api/v1/namespaces/default/pods/any/log"),
    ("PATCH", "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/any"),
    ("PUT", "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/any"),
    ("PATCH", "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/any/status"),
    ("DELETE", "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/any"),
    ("GET", f"/apis/{ADMISSION}/v1/mutatingwebhookconfigurations"),
    ("PUT", f"/apis/{ADMISSION}/v1/mutatingwebhookconfigurations/{KSERVES}"),
    ("PATCH", f"/apis/{ADMISSION}/v1/mutatingwebhookconfigurations/{OURS}"),
    ("DELETE", f"/apis/{ADMISSION}/v1/validatingwebhookconfigurations/{OURS}"),
    ("POST", f"/apis/{ADMISSION}/v1/validatingwebhookconfigurations"),
    ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{OPERATOR}/token"),
    ("GET", "/api/v1/namespaces"),
    ("GET", "/api/v1/nodes"),
    ("GET", "/api/v1/namespaces/default/configmaps"),
    ("GET", "/api/v1/namespaces/default/events"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments"),
]


@pytest.mark.parametrize("account", [OPERATOR, WEBHOOK])
@pytest.mark.parametrize(("method", "path"), FORBIDDEN)
def test_what_is_refused(
    installation: Installation, account: str, method: str, path: str
) -> None:
    body: Json | None = {} if method in ("POST", "PUT", "PATCH") else None
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with closing(installation.server.client(installation.api.token(account, NAMESPACE))) as client:
        with pytest.raises(ApiError) as refused:
            client.call(method, path, body, content_type=kind)
    assert refused.value.status == 403


def test_the_webhook_has_no_token(installation: Installation) -> None:
    spec = installation.deployment("webhook")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False


# Each is needed


class Trial:
    """The operator, from nothing to all that it does."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.api = installation.api
        self.namespace = installation.server.new_namespace(installation.api)
        for name in (f"{RELEASE}-ca", f"{RELEASE}-webhook-tls"):
            self.api.patch("Secret", name, NAMESPACE, {"data": None})
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            found = self.api.get(kind, OURS)
            for webhook in found["webhooks"]:
                webhook["clientConfig"].pop("caBundle", None)
            self.api.replace(found)

    def begin(self) -> None:
        """What the operator is to notice while it runs."""
        meta = {"name": "iris", "namespace": self.namespace}
        self.api.create(
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": meta,
                "spec": {"predictor": {"batcher": {}, "containerConcurrency": 1}},
            }
        )
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    **meta,
                    "labels": {"serving.kserve.io/inferenceservice": "iris"},
                    "annotations": {"internal.serving.kserve.io/batcher": "true"},
                },
                "spec": {"containers": [{"name": "kserve-container", "image": "a:1"}]},
            }
        )

    def is_done(self) -> bool:
        """Whether all that the operator is for has been done."""
        reasons = {event["reason"] for event in self.api.list("Event", self.namespace)}
        return not self.installation.why_not_ready() and reasons == {
            "ContainerConcurrencyOne",
            "SidecarMissing",
        }

    def is_missed(self) -> str:
        """What the operator says of a right that it lacks; empty as long as it says nothing."""
        if "forbidden" in (why := self.installation.why_not_ready()):
            return why
        if self.installation.metric("inference_batcher_operator_event_failures_total"):
            return "Events are refused"
        return self.installation.why_not_alive()


    def is_missed_after_a_change(self) -> bool:
        """As `is_missed`; what is there may have come by a list, before any watch."""
        body = {"metadata": {"annotations": {"example.org/at": str(time.monotonic_ns())}}}
        for kind in ("InferenceService", "Pod"):
            self.api.patch(kind, "iris", self.namespace, body)
        return bool(self.is_missed())


@contextmanager
def trial(installation: Installation, crd_comes_later: bool = False) -> Iterator[Trial]:
    """A running operator, and all that it is to notice."""
    trial = Trial(installation)
    if crd_comes_later:
        installation.api.delete("CustomResourceDefinition", CRD)
    with installation.start_operator("--certificate-poll=0.3", "--watch-check=0.5"):
        until(lambda: "refused" not in installation.why_not_ready(), "it answers")
        if crd_comes_later:
            until(
                lambda: "no InferenceService of" in installation.why_not_ready(),
                "it misses InferenceServices",
            )
            installation.server.install_inferenceservices(installation.api)
        # Not before: the list that comes before a watch would bring it.
        until(lambda: bool(trial.is_missed() or not installation.why_not_ready()), "it has begun")
        trial.begin()
        yield trial
    for kind in ("InferenceService", "Pod"):
        installation.api.delete_all(kind, trial.namespace)


@pytest.mark.parametrize("crd_comes_later", [False, True])
def test_with_all_rights_all_is_done(installation: Installation, crd_comes_later: bool) -> None:
    with trial(installation, crd_comes_later) as running:
        until(running.is_done, "all is done")
        assert not running.is_missed()


@pytest.mark.parametrize("missing", RIGHTS, ids="-".join)
def test_each_right_is_needed(installation: Installation, missing: Right) -> None:
    api = installation.api
    with without(api, roles(api), missing), trial(installation) as running:
        until(running.is_missed_after_a_change, "the right is missed")
        # kopf lists anew after each watch that is refused, so what is there comes all the same.
        assert missing.verb == "watch" or not running.is_done()
