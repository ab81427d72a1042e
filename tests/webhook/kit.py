"""Certificates, reviews and a running webhook for these tests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from batcher_webhook.config import WebhookConfig
from batcher_webhook.inject import Sidecar
from batcher_webhook.server import WebhookServer

__all__ = ["HOST", "Pair", "client_context", "make_pair", "review", "running", "serial_of"]

HOST = "batcher-webhook.default.svc"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A serving certificate and its key, as PEM."""

    certificate: bytes
    key: bytes
    serial: int

    def write(self, folder: Path) -> None:
        (folder / "tls.crt").write_bytes(self.certificate)
        (folder / "tls.key").write_bytes(self.key)


@cache
def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    certificate = (
        _builder(name, name, key).add_extension(constraints, critical=True).sign(
            key, hashes.SHA256()
        )
    )  # fmt: skip
    return certificate, key


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def make_pair(kind: str = "ec", password: bytes | None = None) -> Pair:
    """A fresh serving certificate with an EC or RSA key."""
    authority, authority_key = _authority()
    key: Key = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    names = x509.SubjectAlternativeName([x509.DNSName(HOST)])
    certificate = (
        _builder(subject, authority.subject, key)
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ),
        certificate.serial_number,
    )


def client_context() -> ssl.SSLContext:
    """Trusts the test authority alone."""
    pem = _authority()[0].public_bytes(serialization.Encoding.PEM).decode()
    return ssl.create_default_context(cadata=pem)


async def serial_of(port: int, *, name: str | None = HOST) -> int:
    """Make one new handshake; the serial number of the certificate that was shown."""
    context = client_context()
    if name is None:
        context.check_hostname = False
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name or ""
        )
        shown: Any = writer.get_extra_info("ssl_object")
        der = shown.getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


def review(kind: str, new: dict[str, Any], old: dict[str, Any] | None = None) -> bytes:
    request = {
        "uid": "u-1",
        "kind": {"kind": kind},
        "operation": "UPDATE" if old else "CREATE",
        "namespace": "default",
        "object": new,
        "oldObject": old,
    }
    version = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return json.dumps({**version, "request": request}).encode()


@asynccontextmanager
async def running(folder: Path, poll_s: float = 0.05) -> AsyncIterator[WebhookServer]:
    """A webhook on free ports, with its certificate in a folder."""
    server = WebhookServer(
        WebhookConfig(
            sidecar=Sidecar(image="example/sidecar:1"),
            certificate=folder / "tls.crt",
            key=folder / "tls.key",
            certificate_poll_s=poll_s,
            host="127.0.0.1",
            port=0,
            health_port=0,
        )
    )
    await server.start()
    try:
        yield server
    finally:
        await server.close()


def client(server: WebhookServer) -> aiohttp.ClientSession:
    """A client of the webhook's HTTPS port that keeps its connections."""
    return aiohttp.ClientSession(
        f"https://127.0.0.1:{server.port}",
        connector=aiohttp.TCPConnector(ssl=client_context()),
        timeout=aiohttp.ClientTimeout(total=10),
    )
