"""An API server in memory: objects with resourceVersions, and who saw them when."""

import base64
import copy
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from batcher_contract.names import WEBHOOK_CONFIGURATION
from batcher_operator.authority import path_of, secret_path
from batcher_operator.certs.scene import Kind, Names
from batcher_operator.certs.x509 import Pair, read_certificates, read_pair, verifies
from batcher_operator.kube import Conflict, Refused

NAMES = Names(
    namespace="serving", service="ib-webhook", ca_secret="ib-ca", tls_secret="ib-webhook-tls"
)
CA_PATH = secret_path(NAMES, NAMES.ca_secret)
TLS_PATH = secret_path(NAMES, NAMES.tls_secret)
MUTATING_PATH = path_of(Kind.MUTATING)
VALIDATING_PATH = path_of(Kind.VALIDATING)
CONFIGURATIONS = (MUTATING_PATH, VALIDATING_PATH)
T = TypeVar("T")
START_S = 1_800_000_000.0


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


class Stopped(BaseException):
    """The operator was stopped: as with a real end, nothing of it runs on."""


async def nothing(path: str) -> None:
    """Do nothing before a call is answered."""


@dataclass
class FakeStore:
    """Holds copies, and refuses to replace what has been replaced since it was read."""

    clock: Clock
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, list[tuple[float, dict[str, Any]]]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    reads: int = 0
    refused: set[str] = field(default_factory=set)
    before_call: Callable[[str], Awaitable[None]] = nothing
    after_write: Callable[[str], None] = lambda path: None
    _version: int = 0

    async def get(self, path: str) -> dict[str, Any] | None:
        await self.before_call(path)
        self.reads += 1
        return copy.deepcopy(self.objects.get(path))

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await self.before_call(f"put {path}")
        if path in self.refused:
            raise Refused(403, "not allowed")
        if path not in self.objects:
            raise Refused(404, "not found")
        version = self.objects[path]["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise Conflict(409, "the object has been modified")
        self.force(path, body)
        self.writes.append(path)
        self.after_write(path)
        return copy.deepcopy(self.objects[path])

    def force(self, path: str, body: Mapping[str, Any]) -> None:
        """Write as somebody else."""
        self._version += 1
        stored = copy.deepcopy(dict(body))
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = stored
        self.history.setdefault(path, []).append((self.clock.now_s, stored))

    def delete(self, path: str) -> None:
        """Delete as somebody else."""
        self.objects.pop(path, None)

    def copied(self) -> "FakeStore":
        """Another one that holds the same, with nothing of the past."""
        other = FakeStore(Clock(self.clock.now_s))
        for path, stored in self.objects.items():
            other.force(path, stored)
        return other

    def data(self, path: str) -> dict[str, bytes]:
        """What a Secret holds."""
        return _data(self.objects[path])

    def bundles(self, path: str) -> list[bytes]:
        """What the webhooks of a configuration hold."""
        return _bundles(self.objects[path])

    def verify(self, api_server_late_s: float, webhook_late_s: float) -> int:
        """Assert that whatever was served verified, at every moment, under whatever was trusted.

        API servers use a bundle until that long after it was replaced, and webhooks a certificate.
        Returns the number of meetings of certificates and bundles.
        """
        meetings = 0
        for path in CONFIGURATIONS:
            for shown_s, hidden_s, configuration in self._lives(path, api_server_late_s):
                for served_s, ended_s, secret in self._lives(TLS_PATH, webhook_late_s):
                    first_s, last_s = max(shown_s, served_s), min(hidden_s, ended_s)
                    if first_s > last_s:
                        continue
                    leaf = read_leaf(secret)
                    for bundle in _bundles(configuration):
                        roots = read_certificates(bundle)
                        # Validity is an interval: its ends tell of all that is between them.
                        for now_s in (first_s, last_s):
                            assert verifies(leaf.certificate, roots, NAMES.dns[0], now_s), (
                                path,
                                now_s - START_S,
                            )
                    meetings += 1
        return meetings

    def _lives(self, path: str, late_s: float) -> list[tuple[float, float, dict[str, Any]]]:
        end: tuple[float, dict[str, Any]] = (self.clock.now_s, {})
        versions = [*self.history[path], end]
        return [
            (since_s, min(until_s + late_s, self.clock.now_s), stored)
            for (since_s, stored), (until_s, _) in pairwise(versions)
        ]


def read_leaf(secret: dict[str, Any]) -> Pair:
    """What the webhook loads."""
    data = _data(secret)
    pair = read_pair(data["tls.crt"], data["tls.key"])
    assert isinstance(pair, Pair), pair
    return pair


def empty_secret(name: str) -> dict[str, Any]:
    """A Secret as the chart writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMES.namespace, "labels": {"of": "chart"}},
        "type": "Opaque",
    }


def secret_of(name: str, data: Mapping[str, bytes]) -> dict[str, Any]:
    """A Secret that holds this."""
    encoded = {key: base64.b64encode(text).decode() for key, text in data.items()}
    return {**empty_secret(name), "data": encoded}


def configuration_of(kind: Kind, *bundles: bytes, since: str = "") -> dict[str, Any]:
    """A webhook configuration; as the chart writes it if the bundles are empty."""
    webhooks: list[dict[str, Any]] = []
    for number, bundle in enumerate(bundles):
        to: dict[str, Any] = {"service": {"name": NAMES.service, "namespace": NAMES.namespace}}
        if bundle:
            to["caBundle"] = base64.b64encode(bundle).decode()
        webhooks.append({"name": f"w{number}.inference-batcher.io", "clientConfig": to})
    annotations = {"meta.helm.sh/release-name": "ib"}
    if since:
        annotations["inference-batcher.io/ca-trusted-since"] = since
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": str(kind),
        "metadata": {"name": WEBHOOK_CONFIGURATION, "annotations": annotations},
        "webhooks": webhooks,
    }


def installed(clock: Clock) -> FakeStore:
    """What the chart creates."""
    store = FakeStore(clock)
    store.force(CA_PATH, empty_secret(NAMES.ca_secret))
    store.force(TLS_PATH, empty_secret(NAMES.tls_secret))
    store.force(MUTATING_PATH, configuration_of(Kind.MUTATING, b""))
    store.force(VALIDATING_PATH, configuration_of(Kind.VALIDATING, b""))
    return store


class Turn:
    """Awaited, it hands control to whoever runs the coroutine, once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing but turns."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            value: T = end.value
            return value


def _data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}


def _bundles(configuration: Mapping[str, Any]) -> list[bytes]:
    return [
        base64.b64decode(each["clientConfig"].get("caBundle", ""))
        for each in configuration["webhooks"]
    ]
