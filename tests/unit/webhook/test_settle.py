"""Resources and settings that come of several sources."""

from typing import Any

import pytest

from batcher_webhook.settle import Resources, settle

PREFIX = "inference-batcher.io/"


def resources(existing: dict[str, Any] | None = None, /, **wanted: str) -> dict[str, Any]:
    annotations = {PREFIX + key.replace("_", "-"): text for key, text in wanted.items()}
    return dict(settle({}, annotations, Resources(), existing).resources)


def amounts(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


def test_requests_and_limits_are_always_set() -> None:
    expected = {"requests": amounts("100m", "100Mi"), "limits": amounts("1", "1Gi")}
    assert resources() == resources({}) == resources({"requests": None}) == expected


def test_what_exists_is_kept_unless_it_is_overridden() -> None:
    existing: dict[str, Any] = {
        "requests": {"cpu": "5m", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "2Gi"},
        "claims": [{"name": "gpu"}],
    }
    assert resources(existing, cpu_request="7m") == {
        "requests": {"cpu": "7m", "memory": "100Mi", "ephemeral-storage": "1Gi"},
        "limits": {"cpu": "1", "memory": "2Gi"},
        "claims": [{"name": "gpu"}],
    }


@pytest.mark.parametrize(
    ("wanted", "request_", "limit"),
    [
        ({"cpu_request": "3"}, "3", "3"),
        ({"cpu_limit": "50m"}, "50m", "50m"),
        ({"cpu_request": "2", "cpu_limit": "4"}, "2", "4"),
        ({"cpu_request": "2", "cpu_limit": "1"}, "100m", "1"),
    ],
)
def test_a_request_never_exceeds_its_limit(
    wanted: dict[str, str], request_: str, limit: str
) -> None:
    settled = resources(**wanted)
    assert (settled["requests"]["cpu"], settled["limits"]["cpu"]) == (request_, limit)


def test_an_existing_container_whose_amounts_contradict_is_mended() -> None:
    broken: dict[str, Any] = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
    assert resources(broken)["requests"]["cpu"] == "1"


def test_only_what_was_given_is_set() -> None:
    settled = settle({"maxLatency": "50"}, {f"{PREFIX}memory-limit": "64Mi"}, Resources())
    assert settled.given == {"max_latency_ms", "memory_limit"}
    assert settled.settings.max_latency_ms == 50
    assert settled.settings.max_queue_bytes == 256 * 2**20


def test_a_body_must_fit_the_queue_that_the_memory_limit_allows() -> None:
    wanted: dict[str, str] = {f"{PREFIX}max-body-bytes": "64Mi", f"{PREFIX}memory-limit": "64Mi"}
    assert [fault.field for fault in settle({}, wanted, Resources()).faults] == [
        f"{PREFIX}max-body-bytes"
    ]
    wanted[f"{PREFIX}memory-limit"] = "1Gi"
    assert settle({}, wanted, Resources()).faults == ()
