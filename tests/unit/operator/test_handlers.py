"""What is watched is narrowed down by the API server."""

import pytest
from kopf._cogs.structs.references import Resource

from batcher_operator.handlers import build_settings


def selectors_of(group: str, version: str, plural: str) -> list[str]:
    settings = build_settings()
    resource = Resource(group, version, plural, namespaced=True)
    return list(settings.watching.label_selectors.collect(resource))


def test_only_pods_of_inferenceservices_are_watched() -> None:
    assert selectors_of("", "v1", "pods") == ["serving.kserve.io/inferenceservice"]


@pytest.mark.parametrize(
    ("group", "version", "plural"),
    [
        ("", "v1", "services"),
        ("", "v1", "configmaps"),
        ("apps", "v1", "deployments"),
        ("autoscaling", "v2", "horizontalpodautoscalers"),
    ],
)
def test_only_what_is_ours_is_watched_of_common_kinds(
    group: str, version: str, plural: str
) -> None:
    assert selectors_of(group, version, plural) == [
        "serving.kserve.io/inferenceservice,app.kubernetes.io/managed-by=inference-batcher"
    ]
