"""The operator beside many objects: what it costs, and that it writes on none of them."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver.kit.installation import Installation, running_installation
from tests.apiserver.kit.kserve import CONFIGURATION, service_pod
from tests.apiserver.kit.programs import Program

SERVICES, PODS = 1000, 5000
STEADY_S = 20.0
MAX_RESIDENT_MIB = 150
MAX_CPU_SHARE = 0.02
"""Of one core, looks at everything included (`--watch-check`, every 10 s here, else every 60 s)."""

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation("operator.watchCheckSeconds=10") as installation:
        hook = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION},
            "webhooks": [],
        }
        installation.api.create(hook)
        yield installation


def service(number: int, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": f"iris-{number}",
            "namespace": namespace,
            "annotations": {"example.org/team": "x" * 500},
        },
        "spec": {
            "predictor": {
                "batcher": {"maxBatchSize": 32, "maxLatency": 50},
                "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/iris"},
            }
        },
    }


def unrelated_pod(number: int, namespace: str) -> dict[str, Any]:
    pod = service_pod(f"other-{number}", namespace, {})
    del pod["metadata"]["labels"]["serving.kserve.io/inferenceservice"]
    return pod


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def resident_mib_over(program: Program, seconds: float) -> float:
    """The most that it held while this time passed."""
    end_s = time.monotonic() + seconds
    most = 0.0
    while time.monotonic() < end_s:
        program.check()
        most = max(most, resident_mib(program.pid))
        time.sleep(0.1)
    return most


@pytest.mark.timeout(300)
def test_a_thousand_inferenceservices_among_five_thousand_other_pods(
    installation: Installation,
) -> None:
    api = installation.api
    namespace = installation.server.new_namespace(api)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: api.create(service(i, namespace)), range(SERVICES)))
        list(pool.map(lambda i: api.create(unrelated_pod(i, namespace)), range(PODS)))
    with installation.start_operator() as program:
        installation.wait_until_ready(within_s=60)
        name = "inference_batcher_operator_inferenceservices"
        assert installation.metric(name) == SERVICES
        assert installation.metric("inference_batcher_operator_pods") == 0
        begun_s = cpu_s(program.pid)
        assert resident_mib_over(program, STEADY_S) < MAX_RESIDENT_MIB
        assert (cpu_s(program.pid) - begun_s) / STEADY_S < MAX_CPU_SHARE
        assert not installation.why_not_alive()
    after = {found["metadata"]["uid"]: found for found in api.list("InferenceService", namespace)}
    for before in made:
        # managedFields and resourceVersion among them
        assert after[before["metadata"]["uid"]]["metadata"] == before["metadata"]
