"""The API server, in the objects' own JSON; each wait is bounded."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import aiohttp
import kopf
from kubernetes.aio import client, config

from batcher_operator.resources import KINDS, Kind, is_straight, path_of

__all__ = ["Conflict", "Kube", "Refused", "configure", "connection_of"]

_TIMEOUT_S: Final = 15.0
_PAGE: Final = 500
_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON: Final = "application/json"
_APPLY: Final = "application/apply-patch+yaml"  # of which JSON is a part
_TOKEN: Final = "BearerToken"  # noqa: S105 - the name of a kind of credential


class Refused(OSError):
    """The API server refused; its words, with the status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"the API server answered {status}: {words}")
        self.status = status


class Conflict(Refused):
    """Somebody else wrote the object since it was read, or one of that name exists."""


class _Connection(kopf.ConnectionInfo):
    """For kopf, which has no setting for it: TLS as `configure` has it for our own requests."""

    def as_ssl_context(self) -> ssl.SSLContext:
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


async def configure(kubeconfig: Path | None) -> client.Configuration:
    """How to reach the cluster: as a pod of it, or as a file says.

    Raises ValueError with a sentence where neither is possible.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is None:
            try:
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                await config.load_kube_config(client_configuration=configuration)
        else:
            await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise ValueError(
            f"no cluster to be reached ({error}): run in a pod, set KUBECONFIG or give --kubeconfig"
        ) from error
    # From Python 3.13 on, certificates must by default be strictly as RFC 5280 has them, down to an
    # Authority Key Identifier. Those of many clusters are not, and client-go takes them. Chain,
    # names and times are verified all the same.
    configuration.disable_strict_ssl_verification = True
    return configuration


async def connection_of(configuration: client.Configuration) -> kopf.ConnectionInfo:
    """The same for kopf, with the credentials as they are now."""
    header = await configuration.get_api_key_with_prefix(_TOKEN) or ""
    scheme, _, token = header.rpartition(" ")
    return _Connection(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme.capitalize() or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


class Kube:
    """Requests to one API server; close it in the end.

    Paths are as `path_of` makes them: ValueError for one that leads elsewhere than it seems to.
    """

    def __init__(self, configuration: client.Configuration) -> None:
        self._client = client.ApiClient(configuration)

    async def close(self) -> None:
        """End the connections."""
        await self._client.close()

    async def get(self, path: str) -> dict[str, Any] | None:
        """An object, or None where there is none. Raises OSError."""
        try:
            return await self._call("GET", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object as its resourceVersion was; raises Conflict, else OSError."""
        return await self._call("PUT", path, body=body)

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        """Server-side apply, also against other managers; raises OSError."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", path, query=query, body=body, content_type=_APPLY)

    async def delete(self, path: str, uid: str) -> None:
        """Delete an object if it is still the one of this uid; raises OSError."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            await self._call("DELETE", path, body=body)
        except Refused as error:
            if error.status not in (404, 409):
                raise

    async def list_items(self, path: str, labels: str = "") -> list[dict[str, Any]]:
        """The objects of a collection, or those that a selector of labels fits.

        None where there is no such kind. Raises OSError.
        """
        items: list[dict[str, Any]] = []
        query = {"limit": str(_PAGE), "labelSelector": labels}
        while True:
            try:
                page = await self._call("GET", path, query=query)
            except Refused as error:
                if error.status == 404:
                    return []
                raise
            items += page.get("items") or ()
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return items

    async def create_event(self, event: Mapping[str, Any]) -> None:
        """Create an Event of core/v1; one of its name is as good.

        Raises PermissionError where the namespace takes none, else OSError.
        """
        namespace = event["metadata"]["namespace"]
        try:
            await self._call("POST", path_of("v1", "events", namespace), body=event)
        except Conflict:
            return
        except Refused as error:
            if error.status in (403, 404):
                raise PermissionError(str(error)) from error
            raise

    async def serves(self, group: str, version: str, plural: str) -> bool:
        """Whether the API server tells of a kind, which it may serve already. Raises OSError."""
        groups = await self._call("GET", "/apis")
        if group not in (each["name"] for each in groups["groups"]):
            return False
        found = await self.get(f"/apis/{group}/{version}") or {"resources": ()}
        return plural in (each["name"] for each in found["resources"])

    async def versions(self, kind: Kind) -> dict[str, str] | None:
        """The resourceVersion of each object by uid; None where there is no such kind.

        Raises OSError.
        """
        resource = KINDS[kind]
        path = path_of(resource.api_version, resource.plural)
        versions: dict[str, str] = {}
        query = {"limit": str(_PAGE), "labelSelector": resource.labels}
        while True:
            try:
                page = await self._call("GET", path, query=query, accept=_METADATA)
            except Refused as error:
                if error.status == 404:
                    return None
                raise
            for item in page.get("items") or ():
                versions[item["metadata"]["uid"]] = item["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return versions

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = _JSON,
        content_type: str = _JSON,
    ) -> dict[str, Any]:
        if not is_straight(unquote(path)):
            raise ValueError(f"{path} leads elsewhere: quote what it is made of")
        request = await self._client.param_serialize(
            method,
            path,
            query_params=[(key, value) for key, value in (query or {}).items() if value],
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=[_TOKEN],
        )
        try:
            response = await self._client.call_api(*request, _request_timeout=_TIMEOUT_S)
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"the API server gives no answer ({error or 'too late'})") from error
        answer: Any = None
        if response.headers.get("Content-Type", "").startswith(_JSON):
            answer = json.loads(text)
        if 200 <= response.status < 300 and isinstance(answer, dict):
            return answer
        words = answer.get("message", "") if isinstance(answer, dict) else ""
        refusal = Conflict if response.status == 409 else Refused
        raise refusal(response.status, words or text[:200].decode(errors="replace"))
