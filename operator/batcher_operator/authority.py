"""The certificate authority of the webhook: what `certs.plan` says, done on the API server.

Whatever it knows is on the API server. It may be stopped before and after each of its writes, and
two of them may work at once: each write names the resourceVersion that it replaces.
"""

import asyncio
import base64
import binascii
import copy
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, Protocol

from batcher_contract.names import ANNOTATION_PREFIX, WEBHOOK_CONFIGURATION
from batcher_operator.certs.plan import (
    Lifetimes,
    NewAuthority,
    NewCertificate,
    Plan,
    SetBundle,
    SetTrusted,
    Step,
    bundle_of,
    plan,
)
from batcher_operator.certs.scene import (
    AUTHORITY_CERTIFICATES,
    AUTHORITY_KEY,
    CERTIFICATE,
    KEY,
    Configuration,
    Kind,
    Names,
    Observed,
)
from batcher_operator.certs.x509 import make_authority, make_serving
from batcher_operator.kube import Conflict

__all__ = ["SINCE_ANNOTATION", "Authority", "Standing", "Store", "path_of", "secret_path"]

SINCE_ANNOTATION: Final = f"{ANNOTATION_PREFIX}ca-trusted-since"
"""Annotation of a webhook configuration: since when its caBundle has held which authority."""

_MAX_STEPS: Final = 16  # a rotation from end to end takes six
_SHORTEST_WAIT_S: Final = 0.05
_FIRST_RETRY_S: Final = 0.5

_RESOURCES: Final = {
    Kind.MUTATING: "mutatingwebhookconfigurations",
    Kind.VALIDATING: "validatingwebhookconfigurations",
}

_log = logging.getLogger(__name__)

Object = dict[str, Any]
"""An object as the API server's JSON has it."""


class Store(Protocol):
    """The API server. Each call is bounded in time and raises OSError with a sentence."""

    async def get(self, path: str) -> Object | None:
        """An object, or None where there is none."""

    async def put(self, path: str, body: Mapping[str, Any]) -> Object:
        """Replace an object; Conflict if its resourceVersion is not the one in `body`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things are, as of the last look."""

    why_not_ready: str
    """Why the API server cannot verify the webhook; empty if it can."""

    trouble: str = ""
    """What kept this from being looked at or written, in a sentence; empty if nothing did."""

    waiting: str = ""
    """What is not finished and goes its way; empty if there is nothing."""

    authority_serial: str = ""
    """Serial number of the authority that issues certificates, in hexadecimal."""

    authority_not_after_s: float = 0.0
    """When it ends, in seconds since the epoch; 0 if there is none."""

    certificate_serial: str = ""
    """Serial number of the serving certificate, in hexadecimal."""

    certificate_not_after_s: float = 0.0
    """When it ends, in seconds since the epoch; 0 if there is none."""

    look_again_s: float = 0.0
    """In how many seconds something is due; infinite if nothing is foreseen."""

    @property
    def converged(self) -> bool:
        """Whether there is nothing to do until something is due."""
        return not (self.why_not_ready or self.trouble)


@dataclass(frozen=True, slots=True)
class _Objects:
    """The four objects as they were read; None where there is none."""

    configurations: dict[Kind, Object]
    serving: Object | None
    authority: Object | None

    def observed(self, refused: Mapping[Kind, str]) -> Observed:
        return Observed(
            authority=_data(self.authority),
            serving=_data(self.serving),
            configurations={
                kind: Configuration(
                    bundles=tuple(
                        _decode((each.get("clientConfig") or {}).get("caBundle"))
                        for each in found.get("webhooks") or []
                    ),
                    since=(found["metadata"].get("annotations") or {}).get(SINCE_ANNOTATION, ""),
                    refused=kind in refused,
                )
                for kind, found in self.configurations.items()
            },
        )


class Authority:
    """Keeps the certificates of one installation.

    `clock` gives the time in seconds since the epoch; `on_write` is told the kind of each object
    that was written.
    """

    def __init__(
        self,
        store: Store,
        names: Names,
        lifetimes: Lifetimes,
        *,
        on_write: Callable[[str], object] = lambda kind: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._names = names
        self._lifetimes = lifetimes
        self._on_write = on_write
        self._clock = clock
        self._standing = Standing(why_not_ready="certificates have not been looked at yet")

    @property
    def standing(self) -> Standing:
        """The last one, corrected by what time has done to it."""
        standing = self._standing
        if not standing.why_not_ready and standing.certificate_not_after_s <= self._clock():
            secret = self._names.secret(self._names.tls_secret)
            fault = f"the {secret} holds a certificate that has expired"
            return replace(standing, why_not_ready=fault)
        return standing

    def why_not_ready(self) -> str:
        """Why the API server cannot verify the webhook, as far as is known; empty if it can."""
        standing = self.standing
        if not standing.why_not_ready:
            return ""
        return f"{standing.trouble} {standing.why_not_ready}".strip()

    async def converge(self) -> Standing:
        """Write what has to be written now, one step after the other.

        Raises OSError if the API server cannot be asked, or refuses a Secret. If it refuses a
        webhook configuration, all the rest is done nevertheless.
        """
        refused: dict[Kind, str] = {}
        for _ in range(_MAX_STEPS):
            objects = await self._read()
            now_s = self._clock()
            verdict = plan(objects.observed(refused), now_s, self._lifetimes, self._names)
            if verdict.step is None:
                self._standing = _standing(verdict, now_s, " ".join(refused.values()))
                return self._standing
            try:
                await self._write(verdict.step, objects, now_s)
            except Conflict as error:
                _log.info("something else has written at the same time, looking again: %s", error)
            except OSError as error:
                if not isinstance(verdict.step, SetBundle):
                    raise
                kind = verdict.step.kind
                what = f"cannot write the {self._names.configuration(kind)}"
                refused[kind] = f"{what}: {_sentence(error)}"
        trouble = "something else keeps on changing the Secrets or webhook configurations."
        self._standing = _standing(verdict, now_s, trouble)
        return self._standing

    async def keep(
        self, poll_s: float, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> NoReturn:
        """Look when something is due, and every `poll_s` seconds: clocks and objects may jump.

        After failures, and while the API server cannot verify the webhook, it looks sooner, at
        growing intervals. What is wrong is logged when it changes.
        """
        retry_s = _FIRST_RETRY_S
        told = ""
        while True:
            try:
                await self.converge()
            except OSError as error:
                self._standing = replace(self._standing, trouble=_sentence(error))
            standing = self.standing
            told = _tell(standing, told)
            if standing.converged:
                retry_s = _FIRST_RETRY_S
                wait_s = standing.look_again_s
            else:
                wait_s = retry_s
                retry_s = min(retry_s * 2, poll_s)
            await sleep(min(max(wait_s, _SHORTEST_WAIT_S), poll_s))

    async def _read(self) -> _Objects:
        # In this order: see `certs.plan`.
        configurations = {}
        for kind in Kind:
            found = await self._store.get(path_of(kind))
            if found is not None:
                configurations[kind] = found
        serving = await self._store.get(secret_path(self._names, self._names.tls_secret))
        authority = await self._store.get(secret_path(self._names, self._names.ca_secret))
        return _Objects(configurations, serving, authority)

    async def _write(self, step: Step, objects: _Objects, now_s: float) -> None:
        match step:
            case NewAuthority(older, why):
                pair = make_authority(now_s, self._lifetimes.authority_s)
                data = {
                    AUTHORITY_CERTIFICATES: bundle_of((pair.certificate, *older)),
                    AUTHORITY_KEY: pair.key_pem,
                }
                await self._put_secret(self._names.ca_secret, objects.authority, data)
                _log.info("new certificate authority %s: %s", pair.certificate.serial, why)
            case SetTrusted(trusted, why):
                data = {AUTHORITY_CERTIFICATES: bundle_of(trusted)}
                await self._put_secret(self._names.ca_secret, objects.authority, data)
                _log.info("certificate authorities trusted: %d: %s", len(trusted), why)
            case SetBundle(kind, bundle, since, why):
                changed = copy.deepcopy(objects.configurations[kind])
                for each in changed["webhooks"]:
                    each["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
                annotations = changed["metadata"].get("annotations") or {}
                changed["metadata"]["annotations"] = {**annotations, SINCE_ANNOTATION: since}
                await self._store.put(path_of(kind), changed)
                self._on_write(kind)
                _log.info("new caBundle of the %s: %s", self._names.configuration(kind), why)
            case NewCertificate(signer, why):
                lifetime_s = self._lifetimes.certificate_s
                pair = make_serving(signer, self._names.dns, now_s, lifetime_s)
                data = {
                    CERTIFICATE: pair.certificate.pem,
                    KEY: pair.key_pem,
                    AUTHORITY_CERTIFICATES: signer.certificate.pem,
                }
                await self._put_secret(self._names.tls_secret, objects.serving, data)
                _log.info("new serving certificate %s: %s", pair.certificate.serial, why)

    async def _put_secret(self, name: str, found: Object | None, data: dict[str, bytes]) -> None:
        secret = dict(found or {})
        encoded = {key: base64.b64encode(text).decode() for key, text in data.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}
        try:
            await self._store.put(secret_path(self._names, name), secret)
        except Conflict:
            raise
        except OSError as error:
            raise OSError(f"cannot write the {self._names.secret(name)}: {error}") from error
        self._on_write("Secret")


def path_of(kind: Kind) -> str:
    """Where the API server has our webhook configuration of this kind."""
    return f"/apis/admissionregistration.k8s.io/v1/{_RESOURCES[kind]}/{WEBHOOK_CONFIGURATION}"


def secret_path(names: Names, secret: str) -> str:
    """Where the API server has a Secret of ours."""
    return f"/api/v1/namespaces/{names.namespace}/secrets/{secret}"


def _standing(verdict: Plan, now_s: float, trouble: str) -> Standing:
    authority, certificate = verdict.authority, verdict.certificate
    return Standing(
        why_not_ready=verdict.fault,
        trouble=trouble,
        waiting=verdict.waiting,
        authority_serial=authority.serial if authority else "",
        authority_not_after_s=authority.not_after_s if authority else 0.0,
        certificate_serial=certificate.serial if certificate else "",
        certificate_not_after_s=certificate.not_after_s if certificate else 0.0,
        look_again_s=verdict.look_again_at_s - now_s,
    )


def _tell(standing: Standing, told: str) -> str:
    """Log what has changed since it was told last; return what is told now."""
    now = f"{standing.trouble} {standing.why_not_ready}".strip()
    if now and now != told:
        _log.warning("certificates: %s", now)
    elif told and not now:
        _log.info("certificates: the API server can verify the webhook now")
    return now


def _sentence(error: OSError) -> str:
    return f"{str(error).rstrip('.')}."


def _data(secret: Object | None) -> dict[str, bytes] | None:
    if secret is None:
        return None
    return {key: _decode(text) for key, text in (secret.get("data") or {}).items()}


def _decode(text: object) -> bytes:
    if not isinstance(text, str):
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
