"""Certificates: made for the webhook, and read from whatever a Secret holds.

Nothing here reads a clock. Times are seconds since the epoch, as `time.time()` counts them.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "BACKDATE_S",
    "Certificate",
    "Pair",
    "make_authority",
    "make_serving",
    "read_certificates",
    "read_pair",
    "verifies",
]

BACKDATE_S: Final = 3600
"""How long before its making a certificate's validity begins, for clocks that are behind ours."""

_BLOCK: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, read completely: nothing about it can fail later. Equal by its content."""

    pem: bytes = field(repr=False)
    parsed: x509.Certificate = field(repr=False, compare=False)
    fingerprint: str = field(compare=False)
    """SHA-256 of its DER form, in hexadecimal."""
    serial: str = field(compare=False)
    """Its serial number in hexadecimal."""
    not_before_s: float = field(compare=False)
    not_after_s: float = field(compare=False)
    dns_names: frozenset[str] = field(compare=False)
    is_authority: bool = field(compare=False)
    """Whether it may sign certificates."""

    @property
    def created_s(self) -> float:
        """When it was made, rounded up to the second. Its life counts from here."""
        return self.not_before_s + BACKDATE_S

    @property
    def due_s(self) -> float:
        """When two thirds of its life are over."""
        return min(self.not_after_s, self.created_s + (self.not_after_s - self.created_s) * 2 / 3)

    def valid_at(self, now_s: float) -> bool:
        """Whether its dates allow its use."""
        return self.not_before_s <= now_s < self.not_after_s


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @property
    def key_pem(self) -> bytes:
        """The key as PKCS #8, not encrypted."""
        return _key_pem(self.key)


def make_authority(now_s: float, lifetime_s: float) -> Pair:
    """A certificate authority that signs serving certificates and nothing below them.

    Its name is unlike that of any other, because verifiers find issuers by name.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    created_s = ceil(now_s)
    name = _name(f"inference-batcher CA {_date(created_s):%Y%m%dT%H%M%SZ} {serial:040x}"[:64])
    certificate = (
        _builder(name, name, key, serial, created_s, created_s + max(1, int(lifetime_s)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(_read(certificate), key)


def make_serving(
    authority: Pair, dns_names: Sequence[str], now_s: float, lifetime_s: float
) -> Pair:
    """A certificate for a server of these names, which ends no later than its authority."""
    issuer = authority.certificate
    key = ec.generate_private_key(ec.SECP256R1())
    created_s = ceil(now_s)
    not_after_s = min(created_s + max(1, int(lifetime_s)), int(issuer.not_after_s))
    # The names may be longer than a common name can be: they are in the extension alone.
    subject = _name("inference-batcher webhook")
    certificate = (
        _builder(
            subject,
            issuer.parsed.subject,
            key,
            x509.random_serial_number(),
            created_s,
            not_after_s,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(_read(certificate), key)


def read_certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Every certificate that can be read from the text, each once; the rest is passed over."""
    found: dict[Certificate, None] = {}
    for block in _BLOCK.findall(pem):
        try:
            certificate = _read(x509.load_pem_x509_certificate(block))
        # Its parser raises errors of many kinds, and more when a field is looked at.
        except Exception:  # noqa: S112
            continue
        found[certificate] = None
    return tuple(found)


def read_pair(certificate_pem: bytes, key_pem: bytes) -> Pair | str:
    """The pair, or what is wrong with it.

    Both must be written just as this module writes them: other programs may stumble over text that
    is passed over here.
    """
    certificates = read_certificates(certificate_pem)
    if not certificates:
        return "holds no certificate" if certificate_pem.strip() else "is empty"
    certificate = certificates[0]
    if certificate_pem.strip() != certificate.pem.strip():
        return "holds something besides its certificate"
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key_pem.strip() != _key_pem(key).strip()
        ):
            return "holds a key of another kind"
        matches = key.public_key() == certificate.parsed.public_key()
    except Exception:  # as above: errors of many kinds
        return "holds no key that can be read"
    return Pair(certificate, key) if matches else "holds a key that belongs to another certificate"


def verifies(
    certificate: Certificate, authorities: Iterable[Certificate], dns_name: str, now_s: float
) -> bool:
    """Whether a client that trusts these authorities accepts the server as the one so named."""
    roots = [each.parsed for each in authorities if each.is_authority and each.valid_at(now_s)]
    if not roots or not certificate.valid_at(now_s):
        return False
    try:
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(roots))
            .time(_date(now_s))
            .build_server_verifier(x509.DNSName(dns_name))
        )
        verifier.verify(certificate.parsed, [])
    except (verification.VerificationError, ValueError):
        return False
    return True


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    created_s: int,
    not_after_s: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_date(created_s - BACKDATE_S))
        .not_valid_after(_date(not_after_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read(parsed: x509.Certificate) -> Certificate:
    names: frozenset[str] = frozenset()
    is_authority = signs = False
    for extension in parsed.extensions:
        match extension.value:
            case x509.SubjectAlternativeName() as alternatives:
                names = frozenset(alternatives.get_values_for_type(x509.DNSName))
            case x509.BasicConstraints(ca=ca):
                is_authority = ca
            case x509.KeyUsage(key_cert_sign=may_sign):
                signs = may_sign
    return Certificate(
        pem=parsed.public_bytes(serialization.Encoding.PEM),
        parsed=parsed,
        fingerprint=hashlib.sha256(parsed.public_bytes(serialization.Encoding.DER)).hexdigest(),
        serial=f"{parsed.serial_number:x}",
        not_before_s=parsed.not_valid_before_utc.timestamp(),
        not_after_s=parsed.not_valid_after_utc.timestamp(),
        dns_names=names,
        is_authority=is_authority and signs,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
