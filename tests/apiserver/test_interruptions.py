"""The operator, killed at any write of certificates, and started again."""

import base64
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batcher_contract.names import WEBHOOK_CONFIGURATION
from batcher_operator.certs.scene import Names
from batcher_operator.certs.x509 import make_authority, make_serving, read_certificates
from tests.apiserver.kit import until
from tests.apiserver.kit.installation import (
    NAMESPACE,
    RELEASE,
    Installation,
    running_installation,
)
from tests.apiserver.kit.kserve import CONFIGURATION
from tests.apiserver.kit.writes import When, counted_writes

SERVICE = f"{RELEASE}-webhook"
CA, TLS = f"{RELEASE}-ca", f"{RELEASE}-webhook-tls"
KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
OVERLAP_S = 0.3
FLAGS = (f"--certificate-overlap={OVERLAP_S}", "--certificate-poll=0.2", "--watch-check=5")
FIRST_WRITES = 4
"""The authority, its bundle in two configurations, the certificate."""

ROTATION_WRITES = 7
"""A new authority, both bundles, a new certificate, the old authority out, both bundles again."""


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running_installation() as installation:
        hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": KINDS[0]}
        installation.api.create({**hook, "metadata": {"name": CONFIGURATION}, "webhooks": []})
        yield installation


def put(
    installation: Installation, authority: dict[str, bytes], serving: dict[str, bytes]
) -> None:
    """Have this in the Secrets, and the authority in both configurations."""
    for name, data in ((CA, authority), (TLS, serving)):
        secret = installation.api.get("Secret", name, NAMESPACE)
        secret["data"] = {key: base64.b64encode(text).decode() for key, text in data.items()}
        installation.api.replace(secret)
    for kind in KINDS:
        found = installation.api.get(kind, WEBHOOK_CONFIGURATION)
        (webhook,) = found["webhooks"]
        webhook["clientConfig"].pop("caBundle", None)
        if authority:
            bundle = base64.b64encode(authority["ca.crt"]).decode()
            webhook["clientConfig"]["caBundle"] = bundle
        installation.api.replace(found)


def put_nothing(installation: Installation) -> None:
    """As helm leaves it."""
    put(installation, {}, {})


def put_what_is_due(installation: Installation) -> None:
    """An authority and a certificate past two thirds of their lives, good for a while yet."""
    life_s = 3600.0
    then_s = time.time() - 0.8 * life_s
    authority = make_authority(then_s, life_s)
    names = Names(namespace=NAMESPACE, service=SERVICE, ca_secret=CA, tls_secret=TLS)
    serving = make_serving(authority, names.dns, then_s, life_s)
    assert serving.certificate.due_s < time.time() < serving.certificate.not_after_s
    put(
        installation,
        {"ca.crt": authority.certificate.pem, "ca.key": authority.key_pem},
        {
            "tls.crt": serving.certificate.pem,
            "tls.key": serving.key_pem,
            "ca.crt": authority.certificate.pem,
        },
    )


def verify(installation: Installation, folder: Path) -> int:
    """Shake hands as API server and webhook would; how many authorities are trusted."""
    secret = installation.api.get("Secret", TLS, NAMESPACE)["data"]
    for key in ("tls.crt", "tls.key"):
        (folder / key).write_bytes(base64.b64decode(secret[key]))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    trusted = b""
    for kind in KINDS:
        (webhook,) = installation.api.get(kind, WEBHOOK_CONFIGURATION)["webhooks"]
        trusted = base64.b64decode(webhook["clientConfig"]["caBundle"])
        client = ssl.create_default_context(cadata=trusted.decode())
        shake_hands(server, client)
    return len(read_certificates(trusted))


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Raises SSLError where the client does not trust the server."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=f"{SERVICE}.{NAMESPACE}.svc"),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].getpeercert()


def by_way_of(installation: Installation, url: str) -> Path:
    """A kubeconfig of the operator that leads through the proxy."""
    path = installation.kubeconfig()
    other = path.with_name("proxied.kubeconfig")
    other.write_text(path.read_text().replace(installation.server.url, url))
    return other


def interrupted(installation: Installation, number: int, when: When) -> None:
    """Start the operator and kill it at this write."""
    with counted_writes(installation.server) as (url, writes):
        way = f"--kubeconfig={by_way_of(installation, url)}"
        with installation.start_operator(*FLAGS, way) as program:
            writes.end_at(number, when, program.kill)
            until(lambda: writes.ended, f"write {number} has come")
            until(lambda: program.exit_code is not None, "it is dead")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(FIRST_WRITES))
def test_the_first_certificates(
    installation: Installation, number: int, when: When, tmp_path: Path
) -> None:
    put_nothing(installation)
    interrupted(installation, number, when)
    with installation.start_operator(*FLAGS):
        installation.wait_until_ready()
        assert verify(installation, tmp_path) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(ROTATION_WRITES))
def test_a_new_authority_and_a_new_certificate(
    installation: Installation, number: int, when: When, tmp_path: Path
) -> None:
    put_what_is_due(installation)
    interrupted(installation, number, when)
    verify(installation, tmp_path)  # also while nobody is at work
    with installation.start_operator(*FLAGS):
        installation.wait_until_ready()
        until(lambda: verify(installation, tmp_path) == 1, "only the new authority is trusted")


@pytest.mark.parametrize(
    ("prepare", "count"), [(put_nothing, FIRST_WRITES), (put_what_is_due, ROTATION_WRITES)]
)
def test_there_are_no_other_writes(
    installation: Installation, prepare: Callable[[Installation], None], count: int
) -> None:
    prepare(installation)
    with counted_writes(installation.server) as (url, writes):
        with installation.start_operator(*FLAGS, f"--kubeconfig={by_way_of(installation, url)}"):
            until(lambda: writes.count == count, "all is written")
            installation.wait_until_ready()
            assert writes.count == count
