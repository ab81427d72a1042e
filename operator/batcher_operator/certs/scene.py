"""What the Secrets and webhook configurations hold, understood.

See `plan` for what each object is for. Nothing that they may hold raises an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from batcher_contract.names import WEBHOOK_CONFIGURATION
from batcher_operator.certs.x509 import Certificate, Pair, read_certificates, read_pair, verifies

__all__ = [
    "AUTHORITY_CERTIFICATES",
    "AUTHORITY_KEY",
    "CERTIFICATE",
    "KEY",
    "MAX_TRUSTED",
    "Configuration",
    "Kind",
    "Names",
    "Observed",
    "Scene",
    "Served",
    "understand",
]

AUTHORITY_CERTIFICATES: Final = "ca.crt"
AUTHORITY_KEY: Final = "ca.key"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"

MAX_TRUSTED: Final = 8
"""How many authorities are trusted at most, should something keep on spoiling the Secret."""


class Kind(StrEnum):
    """The webhook configurations."""

    MUTATING = "MutatingWebhookConfiguration"
    VALIDATING = "ValidatingWebhookConfiguration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the objects are called."""

    namespace: str
    service: str
    """The Service through which the API server reaches the webhook."""

    ca_secret: str
    tls_secret: str

    @property
    def dns(self) -> tuple[str, ...]:
        """The names of the Service, that by which the API server calls the webhook first."""
        qualified = f"{self.service}.{self.namespace}"
        return (f"{qualified}.svc", f"{qualified}.svc.cluster.local", qualified, self.service)

    def secret(self, name: str) -> str:
        """A Secret as sentences call it."""
        return f"Secret {self.namespace}/{name}"

    @staticmethod
    def configuration(kind: Kind) -> str:
        """A webhook configuration as sentences call it."""
        return f"{kind} {WEBHOOK_CONFIGURATION}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A webhook configuration that exists."""

    bundles: tuple[bytes, ...]
    """The `caBundle` of each of its webhooks, empty where there is none."""

    since: str = ""
    """Its annotation, as `plan` had it written together with `caBundle`."""

    refused: bool = False
    """Whether it could not be written just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What there is."""

    authority: Mapping[str, bytes] | None
    """Data of the authority Secret; None if there is no such Secret."""

    serving: Mapping[str, bytes] | None
    """Data of the serving Secret; None if there is no such Secret."""

    configurations: Mapping[Kind, Configuration]
    """Those that exist."""


@dataclass(frozen=True, slots=True)
class Served:
    """A certificate that the webhook can serve, and the authority that has to be trusted for it."""

    leaf: Certificate
    issuer: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was observed, understood."""

    signer: Pair | str
    """The authority that issues certificates, or what is wrong with the Secret."""

    trusted: bytes
    """The text of `ca.crt` in the authority Secret."""

    older: tuple[Certificate, ...]
    """Authorities that were trusted besides the signer and have not expired, first that of the
    certificate which is served."""

    leaf: Certificate | None
    """The certificate in the serving Secret, if it can be read and its key is there."""

    served: Served | str
    """The same, if it can be used, or what is wrong with the Secret."""

    stored_issuer: bytes
    """The text of `ca.crt` in the serving Secret."""

    fault: str
    """Why the API server cannot verify the webhook, or will not be able to; empty if it can."""


def understand(observed: Observed, now_s: float, names: Names) -> Scene:
    """Read and verify everything, as of this time."""
    authority = observed.authority or {}
    serving = observed.serving or {}
    trusted = authority.get(AUTHORITY_CERTIFICATES, b"")
    in_secret = read_certificates(trusted)
    signer = _signer(in_secret, authority, now_s)
    stored_issuer = serving.get(AUTHORITY_CERTIFICATES, b"")
    pair = read_pair(serving.get(CERTIFICATE, b""), serving.get(KEY, b""))
    # What the serving Secret says about its authority counts if the signature confirms it: thus an
    # authority Secret that was emptied does not take the certificate with it.
    known = (*in_secret, *read_certificates(stored_issuer))
    served = _served(pair, known, now_s, names)
    issuer = served.issuer if isinstance(served, Served) else None
    older = {
        each: None
        for each in (*in_secret, *([] if issuer is None else [issuer]))
        if each.is_authority
        and each.not_after_s > now_s
        and not (isinstance(signer, Pair) and each == signer.certificate)
    }
    return Scene(
        signer=signer,
        trusted=trusted,
        older=tuple(sorted(older, key=lambda each: each != issuer)),
        leaf=pair.certificate if isinstance(pair, Pair) else None,
        served=served,
        stored_issuer=stored_issuer,
        fault=_fault(observed, signer, served, now_s, names),
    )


def _signer(
    in_secret: tuple[Certificate, ...], authority: Mapping[str, bytes], now_s: float
) -> Pair | str:
    if not in_secret:
        filled = any(text.strip() for text in authority.values())
        return "holds no certificate that can be read" if filled else "is empty"
    first = in_secret[0]
    if not first.is_authority:
        return "begins with a certificate that is not an authority's"
    if not first.valid_at(now_s):
        return "holds an authority that is not valid now"
    return read_pair(first.pem, authority.get(AUTHORITY_KEY, b""))


def _served(
    pair: Pair | str, known: tuple[Certificate, ...], now_s: float, names: Names
) -> Served | str:
    if isinstance(pair, str):
        return pair
    leaf = pair.certificate
    if not leaf.valid_at(now_s):
        return "holds a certificate that is not valid now"
    name = names.dns[0]
    if name not in leaf.dns_names:
        return f"holds a certificate that is not for {name}"
    for each in known:
        if verifies(leaf, (each,), name, now_s):
            return Served(leaf, each)
    return "holds a certificate whose authority is not known or not valid now"


def _fault(
    observed: Observed, signer: Pair | str, served: Served | str, now_s: float, names: Names
) -> str:
    for secret, data in (
        (names.ca_secret, observed.authority),
        (names.tls_secret, observed.serving),
    ):
        if data is None:
            return f"the {names.secret(secret)} does not exist: run helm upgrade, which creates it"
    if isinstance(signer, str):
        return f"the {names.secret(names.ca_secret)} {signer}"
    if isinstance(served, str):
        return f"the {names.secret(names.tls_secret)} {served}"
    for kind in Kind:
        configuration = observed.configurations.get(kind)
        if configuration is None or not configuration.bundles:
            what = "does not exist" if configuration is None else "holds no webhook"
            return f"the {names.configuration(kind)} {what}: run helm upgrade, which creates it"
        for bundle in configuration.bundles:
            if not verifies(served.leaf, read_certificates(bundle), names.dns[0], now_s):
                return f"the {names.configuration(kind)} does not trust the serving certificate yet"
    return ""
