"""Admission webhooks of the tests: one that serves from this process, and how any is registered."""

import base64
import copy
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import jsonpatch

from tests.apiserver.kit.api import Api, Manifest, until
from tests.apiserver.kit.authority import Authority

__all__ = ["AdmissionServer", "mutating_configuration", "registered", "to_url"]

_IDLE_S: Final = 60.0


class AdmissionServer:
    """A mutating webhook made of a function from object to object; a context manager."""

    def __init__(self, mutate: Callable[[Manifest], Manifest], authority: Authority) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(*authority.issue("webhook").write(Path(folder)))
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _IDLE_S

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(server._answer(review, mutate)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        # The handshake is made by the connection's thread, not by the one that accepts.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}/"

    def _answer(self, review: Manifest, mutate: Callable[[Manifest], Manifest]) -> Manifest:
        request = review["request"]
        response: Manifest = {"uid": request["uid"], "allowed": True}
        if request["operation"] == "CREATE":
            before = request["object"]
            patch = jsonpatch.make_patch(before, mutate(copy.deepcopy(before))).patch
            if patch:
                response["patchType"] = "JSONPatch"
                response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        pass


def mutating_configuration(
    name: str, url: str, authority: Authority, *, namespaces: Manifest, failure_policy: str
) -> Manifest:
    """Has a webhook called for pods of InferenceServices, and again if others change them."""
    entry = {
        "name": "pods.tests.example",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": url, "caBundle": authority.ca_bundle},
        "rules": [
            {
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
            }
        ],
        "objectSelector": {
            "matchExpressions": [
                {"key": "serving.kserve.io/inferenceservice", "operator": "Exists"}
            ]
        },
        "namespaceSelector": namespaces,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "failurePolicy": failure_policy,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry],
    }


@contextmanager
def registered(
    api: Api, configurations: Iterable[Manifest], is_called: Callable[[], bool]
) -> Iterator[None]:
    """Register webhook configurations; they are in force inside, and no longer afterwards.

    `is_called` tells which it is, by a request that is not persisted.
    """
    made = [api.create(configuration) for configuration in configurations]
    try:
        until(is_called, "the webhook is called")
        yield
    finally:
        for configuration in made:
            api.delete(configuration["kind"], configuration["metadata"]["name"])
    until(lambda: not is_called(), "the webhook is called no more")


def to_url(manifests: Iterable[Manifest], url: str, ca_bundle: str | None) -> list[Manifest]:
    """The webhook configurations among manifests, with a URL instead of a Service.

    The Service's path is kept. Without a `ca_bundle` whoever manages the certificates is to write
    it.
    """
    found = []
    for manifest in copy.deepcopy(list(manifests)):
        if not manifest["kind"].endswith("WebhookConfiguration"):
            continue
        for entry in manifest["webhooks"]:
            config = entry["clientConfig"]
            service = config.pop("service")
            config["url"] = url + service.get("path", "")
            if ca_bundle is not None:
                config["caBundle"] = ca_bundle
        found.append(manifest)
    return found
