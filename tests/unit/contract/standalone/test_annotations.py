"""Annotations of KServe and Knative."""

import pytest

from tests.unit.contract.standalone.services import warnings


@pytest.mark.parametrize(
    "key",
    [
        "autoscaling.knative.dev/target",
        "serving.knative.dev/rollout-duration",
        "queue.sidecar.serving.knative.dev/cpu-resource-limit",
        "serving.kserve.io/enable-prometheus-scraping",
        "internal.serving.kserve.io/logger",
        "internal.serving.kserve.io/batcher",
    ],
)
def test_what_only_kserve_or_knative_read(key: str) -> None:
    said = f"annotations[{key}] has no effect without KServe"
    assert warnings({key: "x"}) == (f"metadata.{said}",)
    assert warnings(annotations=None, **{"labels": {key: "x"}}) == ()


@pytest.mark.parametrize(
    "key",
    [
        "serving.kserve.io/autoscalerClass",
        "serving.kserve.io/stop",
        "serving.kserve.io/deploymentMode",
    ],
)
def test_what_is_read_of_the_service_is_not_read_of_a_component(key: str) -> None:
    value = "Standard" if key.endswith("Mode") else "none"
    assert warnings({key: value}) == ()


@pytest.mark.parametrize(
    "key",
    [
        "storage.kserve.io/readonly",
        "prometheus.io/scrape",
        "knative.dev",
        "mykserve.io/x",
        "modelFormat",
    ],
)
def test_what_is_honoured_or_none_of_theirs(key: str) -> None:
    assert warnings({key: "false"}) == ()
