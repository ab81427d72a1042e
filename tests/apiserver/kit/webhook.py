"""Our webhook as a process, called by the chart's own configurations at its URL.

Lighter than an installation: no operator, no Secrets, on the API server that all tests share.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.apiserver.kit.admission import registered, to_url
from tests.apiserver.kit.api import Api, ApiError, Manifest, documents
from tests.apiserver.kit.authority import Authority
from tests.apiserver.kit.installation import CHART
from tests.apiserver.kit.kserve import service_pod
from tests.apiserver.kit.programs import ROOT, Program, program_path
from tests.ports import free_port

__all__ = [
    "PULL_SECRET",
    "RELEASE_NAMESPACE",
    "SIDECAR_IMAGE",
    "Webhook",
    "mutating",
    "registered_mutating",
    "registered_validating",
    "render",
    "validating",
]

RELEASE_NAMESPACE: Final = "inference-batcher"
"""Whose pods the webhooks leave alone."""

SIDECAR_IMAGE: Final = "example/batcher-sidecar:1"
PULL_SECRET: Final = "registry"

_DECISION: Final = "inference-batcher.io/decision"


def render(*values: str) -> list[Manifest]:
    """The chart's manifests, with values as `--set` takes them."""
    sets = [part for value in values for part in ("--set", value)]
    where = ("--namespace", RELEASE_NAMESPACE)
    done = subprocess.run(
        [program_path("helm"), "template", "inference-batcher", str(CHART), *where, *sets],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(documents(done.stdout))


class Webhook:
    """Our webhook as a process, with a certificate of an authority."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.ca_bundle = authority.ca_bundle
        self.port, self.health_port = free_port(), free_port()
        self.log = folder / "batcher-webhook.log"
        certificate, key = authority.issue("batcher-webhook").write(folder)
        self._command = [
            *(sys.executable, "-m", "batcher_webhook"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--health-port", str(self.health_port), "--shutdown-delay", "0"),
            *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
            *("--sidecar-image", SIDECAR_IMAGE, "--sidecar-image-pull-secret", PULL_SECRET),
        ]
        self._program: Program | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it serves."""
        if self._program is None:
            self.log.write_bytes(b"")
            path = os.pathsep.join(str(ROOT / name) for name in ("sidecar", "webhook"))
            self._program = Program(self._command, log=self.log, env={"PYTHONPATH": path})
            self._program.wait_for_output("serving on port")

    def stop(self) -> None:
        """End it, if it runs; AssertionError if it had a fault of its own."""
        if self._program is not None:
            code = self._program.stop()
            output, self._program = self._program.output, None
            assert code == 0, output
            assert "Traceback" not in output, output

    def prefer(self) -> None:
        """Have it run before what else the machine has to do, where that is allowed."""
        assert self._program is not None
        with suppress(PermissionError):
            os.sched_setscheduler(self._program.pid, os.SCHED_FIFO, os.sched_param(1))

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.stop()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it not running inside, and running again afterwards."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def metrics(self) -> dict[str, float]:
        """Every sample of its metrics, as `name{label="value"}`."""
        text = requests.get(f"http://127.0.0.1:{self.health_port}/metrics", timeout=10).text
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def reviews(self, path: str) -> float:
        """How many reviews it has answered on a path."""
        name = "inference_batcher_webhook_review_seconds_count"
        return self.metrics().get(f'{name}{{path="{path}"}}', 0)


def _labels(labels: Mapping[str, str]) -> str:
    text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{{{text}}}" if text else ""


def mutating(webhook: Webhook) -> Manifest:
    """The chart's configuration for pods, to be called at a process."""
    return _configuration(webhook, "MutatingWebhookConfiguration")


def validating(webhook: Webhook) -> Manifest:
    """The chart's configuration for InferenceServices, to be called at a process."""
    return _configuration(webhook, "ValidatingWebhookConfiguration")


def _configuration(webhook: Webhook, kind: str) -> Manifest:
    found = to_url(render(), webhook.url, webhook.ca_bundle)
    return next(configuration for configuration in found if configuration["kind"] == kind)


@contextmanager
def registered_mutating(api: Api, configuration: Manifest) -> Iterator[None]:
    """Have the running webhook called for pods."""
    with registered(api, [configuration], lambda: _injects(api)):
        yield


@contextmanager
def registered_validating(api: Api, configuration: Manifest) -> Iterator[None]:
    """Have the running webhook called for InferenceServices."""
    with registered(api, [configuration], lambda: _refuses(api)):
        yield


def _injects(api: Api) -> bool:
    pod = service_pod("probe", "default", {"internal.serving.kserve.io/batcher": "true"})
    return _DECISION in api.create(pod, dryRun="All")["metadata"]["annotations"]


def _refuses(api: Api) -> bool:
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"predictor": {"batcher": {"maxBatchSize": 0}}},
    }
    try:
        api.create(service, dryRun="All")
    except ApiError as error:
        assert "maxBatchSize" in error.message
        return True
    return False
