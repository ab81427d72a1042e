"""A client of the API server that speaks in plain dictionaries, as manifests do."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import requests
import yaml

__all__ = ["Api", "ApiError", "Manifest", "documents", "until"]

Manifest = dict[str, Any]

_TIMEOUT_S: Final = 30.0
_PATCHES: Final = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ApiError(Exception):
    """The API server refused; its text is the server's message."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {body.get('message')}")
        self.status = status
        self.reason: str = body.get("reason") or ""
        self.message: str = body.get("message") or ""


class Api:
    """One user's view of the API server. Threads may share it.

    Objects are named by their manifests, or by kind (`Pod`, or `Deployment.apps` where several
    groups have the kind), name and namespace.
    """

    def __init__(
        self,
        url: str,
        authority: Path,
        *,
        certificate: tuple[Path, Path] | None = None,
        token: str | None = None,
    ) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=32))
        self._session.trust_env = False
        self._session.verify = str(authority)
        if certificate:
            self._session.cert = (str(certificate[0]), str(certificate[1]))
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._resources: dict[tuple[str, str], tuple[str, str, bool]] = {}

    def close(self) -> None:
        self._session.close()

    # Requests

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
        *,
        content_type: str = "application/json",
    ) -> Manifest:
        """Make any request; raises ApiError for an answer other than 2xx.

        The other methods make a query of their further keywords: `dryRun="All"`.
        """
        end_s = time.monotonic() + _TIMEOUT_S
        while True:
            response = self._session.request(
                method,
                f"{self.url}{path}" + (f"?{urlencode(query)}" if query else ""),
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type},
                timeout=_TIMEOUT_S,
            )
            # While the storage of a kind is made, nothing is done, and the server says so.
            initializing = response.status_code == 429 and "initializing" in response.text
            if not initializing or time.monotonic() > end_s:
                break
            time.sleep(0.1)
        try:
            answer: Any = response.json()
        except ValueError:  # as of /readyz
            answer = {"message": response.text}
        if not response.ok:
            raise ApiError(response.status_code, answer)
        return dict(answer)

    def create(self, manifest: Manifest, **query: object) -> Manifest:
        """POST an object; the object as the server made it."""
        return self.call("POST", self._path_of(manifest, named=False), manifest, query)

    def apply(
        self, manifest: Manifest, *, manager: str = "tests", force: bool = False, **query: object
    ) -> Manifest:
        """Server-side apply."""
        return self.call(
            "PATCH",
            self._path_of(manifest),
            manifest,
            {"fieldManager": manager, "force": str(force).lower(), **query},
            content_type="application/apply-patch+yaml",
        )

    def replace(self, manifest: Manifest, **query: object) -> Manifest:
        """PUT an object."""
        return self.call("PUT", self._path_of(manifest), manifest, query)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest:
        return self.call("GET", self.path(kind, name, namespace))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """The object, or None if there is none."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, **query: object) -> list[Manifest]:
        """All objects of a kind, in one namespace or in all."""
        items = self.call("GET", self.path(kind, None, namespace), None, query)["items"]
        return list(items)

    def patch(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        body: object,
        *,
        style: str = "merge",
        **query: object,
    ) -> Manifest:
        """PATCH an object; styles are `merge`, `json` and `strategic`."""
        path = self.path(kind, name, namespace)
        return self.call("PATCH", path, body, query, content_type=_PATCHES[style])

    def delete(self, kind: str, name: str, namespace: str | None = None, **query: object) -> None:
        """Delete an object at once; one that is not there is fine."""
        query.setdefault("gracePeriodSeconds", 0)
        try:
            self.call("DELETE", self.path(kind, name, namespace), None, query)
        except ApiError as error:
            if error.status != 404:
                raise

    def delete_all(self, kind: str, namespace: str) -> None:
        """Delete every object of a kind in a namespace, its finalizers first."""
        now = {"gracePeriodSeconds": 0}
        self.call("DELETE", self.path(kind, None, namespace), None, now)
        for item in self.list(kind, namespace):
            if item["metadata"].get("finalizers"):
                body = {"metadata": {"finalizers": None}}
                self.patch(kind, item["metadata"]["name"], namespace, body)

    def token(self, service_account: str, namespace: str, seconds: int = 3600) -> str:
        """A token to act as a ServiceAccount with (TokenRequest)."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token: str = self.call("POST", path, body)["status"]["token"]
        return token

    # Paths

    def path(self, kind: str, name: str | None, namespace: str | None = None) -> str:
        """The path of an object, or of a kind's collection."""
        kind, _, group = kind.partition(".")
        return self._join(*self._resource(kind, group or None), name, namespace)

    def _path_of(self, manifest: Mapping[str, Any], *, named: bool = True) -> str:
        group = manifest["apiVersion"].rpartition("/")[0]
        meta = manifest["metadata"]
        resource = self._resource(manifest["kind"], group)
        return self._join(*resource, meta["name"] if named else None, meta.get("namespace"))

    @staticmethod
    def _join(
        prefix: str, plural: str, namespaced: bool, name: str | None, namespace: str | None
    ) -> str:
        where = f"/namespaces/{namespace}" if namespaced and namespace else ""
        return f"{prefix}{where}/{plural}" + (f"/{name}" if name else "")

    def _resource(self, kind: str, group: str | None) -> tuple[str, str, bool]:
        for again in (False, True):
            if again:
                self._discover()
            for (known_group, known_kind), resource in self._resources.items():
                if known_kind == kind and group in (None, known_group):
                    return resource
        raise LookupError(f"the API server knows no kind {kind} of group {group!r}")

    def _discover(self) -> None:
        prefixes = [("", "/api/v1")]
        for group in self.call("GET", "/apis")["groups"]:
            # The preferred one comes last: where several have a kind, it stays.
            versions = reversed(group["versions"])
            prefixes += [(group["name"], f"/apis/{each['groupVersion']}") for each in versions]
        for name, prefix in prefixes:
            for resource in self.call("GET", prefix)["resources"]:
                if "/" not in resource["name"]:
                    found = (prefix, resource["name"], resource["namespaced"])
                    self._resources[name, resource["kind"]] = found


def documents(text: str) -> Iterator[Manifest]:
    """The manifests of a YAML stream."""
    return (document for document in yaml.safe_load_all(text) if document)


def until(reached: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    """Look again and again until `reached`; AssertionError if it takes longer than `within_s`."""
    end_s = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < end_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
