"""Certificates change while pods are made: none fails, none is left without its sidecar."""

import base64
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from cryptography import x509

from batcher_contract.names import MARKER_ENV, WEBHOOK_CONFIGURATION
from tests.apiserver.kit import Api, ApiError
from tests.apiserver.kit.installation import (
    NAMESPACE,
    RELEASE,
    Installation,
    running_installation,
)
from tests.apiserver.kit.kserve import running_kserve, service_pod

PODS = 1000
LASTS_S = 40.0
SHORT = (
    "certificates.caLifetimeSeconds=15",
    "certificates.lifetimeSeconds=6",
    "certificates.overlapSeconds=1",
    "certificates.pollSeconds=0.2",
)
HOST = f"{RELEASE}-webhook.{NAMESPACE}.svc"


class Handshakes:
    """Handshakes with the webhooks by the serial number of the certificate that was served.

    Each trusts what the API server trusts at that moment, and is a connection of its own: one that
    is kept would hide a change.
    """

    def __init__(self, installation: Installation) -> None:
        self._api, self._webhooks = installation.api, installation.webhooks
        self.by_serial: Counter[int] = Counter()
        self.authorities: set[str] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()

    @contextmanager
    def counted(self) -> Iterator[None]:
        thread = threading.Thread(target=self._count)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _count(self) -> None:
        while not self._stop.wait(0.05):
            kind = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
            for each in kind:
                (entry,) = self._api.get(each, WEBHOOK_CONFIGURATION)["webhooks"]
                bundle = base64.b64decode(entry["clientConfig"]["caBundle"]).decode()
                self.authorities.update(bundle.split("-----END CERTIFICATE-----")[:-1])
                for webhook in self._webhooks:
                    self._shake(bundle, webhook.port)

    def _shake(self, bundle: str, port: int) -> None:
        context = ssl.create_default_context(cadata=bundle)
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=HOST) as secured,
            ):
                served = secured.getpeercert(binary_form=True)
        except OSError as error:
            self.failures.append(str(error))
            return
        assert served is not None
        self.by_serial[x509.load_der_x509_certificate(served).serial_number] += 1


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation(*SHORT) as installation:
        with (
            running_kserve(installation.api, installation.server.authority),
            installation.start_operator(),
            installation.webhook(),
            installation.webhook(),
        ):
            installation.wait_until_ready()
            yield installation


def make_pods(api: Api, namespace: str) -> list[str]:
    """Make the pods, evenly over the time; what went wrong with which."""
    begun_s = time.monotonic()

    def make(number: int) -> str:
        time.sleep(max(0.0, begun_s + LASTS_S * number / PODS - time.monotonic()))
        annotations = {"internal.serving.kserve.io/batcher": "true"}
        try:
            pod = api.create(service_pod(f"iris-{number}", namespace, annotations))
        except ApiError as error:
            return f"{number}: {error}"
        (agent,) = [c for c in pod["spec"]["containers"] if c["name"] == "agent"]
        ours = any(entry["name"] == MARKER_ENV for entry in agent.get("env", ()))
        return "" if ours else f"{number}: no sidecar"

    with ThreadPoolExecutor(8) as pool:
        return [fault for fault in pool.map(make, range(PODS)) if fault]


@pytest.mark.timeout(180)
def test_no_pod_is_lost_while_certificates_and_authorities_change(
    installation: Installation,
) -> None:
    namespace = installation.server.new_namespace(installation.api)
    handshakes = Handshakes(installation)
    with handshakes.counted():
        faults = make_pods(installation.api, namespace)
    assert faults == []
    assert handshakes.failures == []
    assert len(installation.api.list("Pod", namespace)) == PODS
    assert len(handshakes.by_serial) >= 5, handshakes.by_serial
    assert len(handshakes.authorities) >= 3
    assert min(handshakes.by_serial.values()) > 5
