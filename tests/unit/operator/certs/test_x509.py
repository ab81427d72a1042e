"""Certificates as other programs see them, and whatever may be in their place."""

import ssl
import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509 import verification
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher_operator.certs.scene import Names
from batcher_operator.certs.x509 import (
    BACKDATE_S,
    Certificate,
    Pair,
    make_authority,
    make_serving,
    read_certificates,
    read_pair,
    verifies,
)
from tests.unit.operator.tls import handshake

NOW_S = 1_800_000_000.5
NAMES = Names(namespace="serving", service="ib-webhook", ca_secret="ca", tls_secret="tls").dns
AUTHORITY = make_authority(NOW_S, 10_000)
OTHER = make_authority(NOW_S, 10_000)
SERVING = make_serving(AUTHORITY, NAMES, NOW_S, 1_000)


def test_the_names_of_a_service() -> None:
    assert NAMES == (
        "ib-webhook.serving.svc",
        "ib-webhook.serving.svc.cluster.local",
        "ib-webhook.serving",
        "ib-webhook",
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_chain_that_verifies(name: str) -> None:
    chain = (
        verification.PolicyBuilder()
        .store(verification.Store([OTHER.certificate.parsed, AUTHORITY.certificate.parsed]))
        .time(datetime.fromtimestamp(NOW_S, UTC))
        .build_server_verifier(x509.DNSName(name))
        .verify(SERVING.certificate.parsed, [])
    )
    assert chain == [SERVING.certificate.parsed, AUTHORITY.certificate.parsed]
    assert verifies(SERVING.certificate, [OTHER.certificate, AUTHORITY.certificate], name, NOW_S)


@pytest.mark.parametrize(
    ("authorities", "name", "at_s"),
    [
        ([], NAMES[0], 0),
        ([OTHER.certificate], NAMES[0], 0),
        ([SERVING.certificate], NAMES[0], 0),
        ([AUTHORITY.certificate], "other.serving.svc", 0),
        ([AUTHORITY.certificate], "not a name", 0),
        ([AUTHORITY.certificate], NAMES[0], 1_000.5),
        ([AUTHORITY.certificate], NAMES[0], -BACKDATE_S - 1),
    ],
)
def test_a_chain_that_does_not_verify(
    authorities: list[Certificate], name: str, at_s: float
) -> None:
    assert not verifies(SERVING.certificate, authorities, name, NOW_S + at_s)


def test_a_clock_that_is_behind() -> None:
    at_s = NOW_S - BACKDATE_S + 1
    assert verifies(SERVING.certificate, [AUTHORITY.certificate], NAMES[0], at_s)


def test_a_certificate_does_not_outlive_its_authority() -> None:
    late_s = NOW_S + 9_900
    serving = make_serving(AUTHORITY, NAMES, late_s, 1_000).certificate
    assert serving.not_after_s == AUTHORITY.certificate.not_after_s
    assert late_s < serving.due_s < serving.not_after_s


def test_life_counts_from_the_making() -> None:
    """The time before it, for clocks that are behind, takes nothing away."""
    created_s = NOW_S + 0.5
    assert SERVING.certificate.created_s == created_s
    assert SERVING.certificate.not_after_s == created_s + 1_000
    assert SERVING.certificate.due_s == pytest.approx(created_s + 1_000 * 2 / 3)
    short = make_serving(AUTHORITY, NAMES, NOW_S, 3).certificate
    assert short.due_s == pytest.approx(created_s + 2)


def test_an_authority_signs_servers_only() -> None:
    parsed = AUTHORITY.certificate.parsed
    constraints = parsed.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = parsed.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    served = SERVING.certificate.parsed.extensions
    purposes = served.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    issuer = served.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    key = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert issuer == key


def test_two_authorities_are_never_namesakes() -> None:
    assert AUTHORITY.certificate.parsed.subject != OTHER.certificate.parsed.subject


def test_the_longest_names() -> None:
    names = Names(namespace="n" * 63, service="s" * 63, ca_secret="ca", tls_secret="tls").dns
    serving = make_serving(AUTHORITY, names, NOW_S, 100).certificate
    assert all(verifies(serving, [AUTHORITY.certificate], name, NOW_S) for name in names)


@pytest.mark.parametrize("lifetime_s", [1, 60, 365 * 86_400, 40 * 365 * 86_400])
def test_lifetimes_from_a_second_to_decades(lifetime_s: int) -> None:
    authority = make_authority(NOW_S, lifetime_s)
    serving = make_serving(authority, NAMES, NOW_S, lifetime_s).certificate
    assert verifies(serving, [authority.certificate], NAMES[0], NOW_S)


def test_a_handshake() -> None:
    """As TLS libraries see it, with what `caBundle` holds while an authority changes."""
    now_s = time.time()
    new, old, foreign = (make_authority(now_s, 60) for _ in range(3))
    bundle = new.certificate.pem + old.certificate.pem
    for authority in (new, old):
        pair = make_serving(authority, NAMES, now_s, 60)
        for name in NAMES:
            assert handshake(pair.certificate.pem, pair.key_pem, bundle, name) == pair.certificate
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(pair.certificate.pem, pair.key_pem, bundle, "ib-other.serving.svc")
    pair = make_serving(foreign, NAMES, now_s, 60)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(pair.certificate.pem, pair.key_pem, bundle, NAMES[0])


def pem_of(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, secret: bytes = b""
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("certificate", "key", "fault"),
    [
        (b"", b"", "is empty"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", b"", "no certificate"),
        (SERVING.certificate.pem + OTHER.certificate.pem, SERVING.key_pem, "something besides"),
        (SERVING.certificate.pem + b"-----BEGIN", SERVING.key_pem, "something besides"),
        (SERVING.certificate.pem, b"", "no key"),
        (SERVING.certificate.pem, b"\xff", "no key"),
        (SERVING.certificate.pem, SERVING.key_pem[:-40], "no key"),
        (SERVING.certificate.pem, SERVING.key_pem + b"x", "another kind"),
        (SERVING.certificate.pem, pem_of(ed25519.Ed25519PrivateKey.generate()), "another kind"),
        (SERVING.certificate.pem, pem_of(SERVING.key, b"secret"), "no key"),
        (SERVING.certificate.pem, OTHER.key_pem, "belongs to another"),
    ],
)
def test_what_is_no_pair(certificate: bytes, key: bytes, fault: str) -> None:
    found = read_pair(certificate, key)
    assert isinstance(found, str)
    assert fault in found


def test_reading_what_was_written() -> None:
    found = read_pair(SERVING.certificate.pem, SERVING.key_pem)
    assert isinstance(found, Pair)
    assert found == SERVING
    assert found.key_pem == SERVING.key_pem
    assert found.certificate.dns_names == set(NAMES)
    assert found.certificate.not_before_s == SERVING.certificate.not_before_s


def test_reading_a_bundle_passes_over_the_rest() -> None:
    text = (
        b"# ours\r\n" + AUTHORITY.certificate.pem.replace(b"\n", b"\r\n")
        + b"-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
        + SERVING.key_pem + OTHER.certificate.pem + AUTHORITY.certificate.pem
    )  # fmt: skip
    assert read_certificates(text) == (AUTHORITY.certificate, OTHER.certificate)


PEM = SERVING.certificate.pem
KEY = SERVING.key_pem


@settings(max_examples=200)
@given(
    certificate=st.one_of(st.binary(max_size=80), st.just(PEM)),
    key=st.one_of(st.binary(max_size=80), st.just(KEY)),
    spots=st.lists(st.tuples(st.integers(0, len(PEM)), st.binary(max_size=3)), max_size=4),
)
def test_nothing_raises(certificate: bytes, key: bytes, spots: list[tuple[int, bytes]]) -> None:
    for spot, text in spots:
        certificate = certificate[:spot] + text + certificate[spot + len(text) :]
        key = key[:spot] + text + key[spot + len(text) :]
    found = read_pair(certificate, key)
    assert isinstance(found, str) or found == SERVING
