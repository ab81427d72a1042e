"""Where requests go: the port that a Service goes by, and the other ports of its pods.

The Service's first port leads to a port by its name, which the container that serves holds, and
which the webhook moves to the sidecar where there is one. So endpoints lead to whichever stands in
front, pod by pod.
"""

from collections.abc import Iterator
from typing import Any, Final

from batcher_contract.names import COMPONENT_PORT, INFERENCE_PORT_NAME, is_http2_port
from batcher_contract.standalone import MODEL_CONTAINER, TRANSFORMER_CONTAINER
from batcher_operator.standalone.looks import Json, mapping, named, objects, text, whole

__all__ = ["serve_by_name"]

_SERVICE_PORT: Final = 80
_PROBES: Final = ("readinessProbe", "livenessProbe", "startupProbe")
_HTTP2: Final = "kubernetes.io/h2c"


def serve_by_name(pod: Json, service_name: str) -> list[Json]:
    """Name the port of a pod's spec that requests are for; the ports of its Service.

    As in KServe, requests are for the first port of the transformer if one stands in the pod, else
    of the model server, and for 8080 where the container names no port. A port for HTTP/2 keeps its
    name, and so stays the model server's.
    """
    containers = objects(pod.get("containers"))
    front = named(containers, TRANSFORMER_CONTAINER) or named(containers, MODEL_CONTAINER)
    if front is None:
        return []
    for container in containers:
        if container.get("name") in (TRANSFORMER_CONTAINER, MODEL_CONTAINER):
            _default_probe(container)
    ports = [{"protocol": "TCP", **port} for port in objects(front.get("ports"))]
    front["ports"] = ports or [{"containerPort": COMPONENT_PORT, "protocol": "TCP"}]
    first = front["ports"][0]
    name = text(first.get("name"))
    target = INFERENCE_PORT_NAME
    if is_http2_port(name):
        target = name
    else:
        _number_probes(front, {name, INFERENCE_PORT_NAME} - {""}, first.get("containerPort"))
        front["ports"][0] = {**first, "name": INFERENCE_PORT_NAME}
    served: Json = {
        "name": name or service_name,
        "port": _SERVICE_PORT,
        "targetPort": target,
        "protocol": first["protocol"],
    }
    if is_http2_port(name):
        served["appProtocol"] = _HTTP2
    return [served, *_others(ports[1:], {served["name"]})]


def _others(ports: list[Json], names: set[str]) -> Iterator[Json]:
    """The container's further ports, which lead past the sidecar."""
    taken = {(_SERVICE_PORT, "TCP")}
    for port in ports:
        number, protocol = whole(port.get("containerPort")), text(port.get("protocol"))
        if number is None or (number, protocol) in taken:
            continue
        taken.add((number, protocol))
        given = text(port.get("name"))
        name = given if given and given not in names else f"port-{number}"
        names.add(name)
        other: Json = {"name": name, "port": number, "targetPort": number, "protocol": protocol}
        if is_http2_port(given):
            other["appProtocol"] = _HTTP2
        yield other


def _default_probe(container: Json) -> None:
    """KServe's readiness probe where the container has none."""
    if not mapping(container.get("readinessProbe")):
        ports = objects(container.get("ports")) or [{}]
        container["readinessProbe"] = {
            "tcpSocket": {"port": whole(ports[0].get("containerPort")) or COMPONENT_PORT},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        }


def _number_probes(container: Json, names: set[str], number: Any) -> None:
    """Have probes and hooks call a port by its number: its name may move to the sidecar."""
    lifecycle = mapping(container.get("lifecycle"))
    actions = [mapping(container.get(key)) for key in _PROBES]
    actions += [mapping(lifecycle.get(key)) for key in ("preStop", "postStart")]
    for action in actions:
        for handler in (action.get("httpGet"), action.get("tcpSocket")):
            if isinstance(handler, dict) and text(handler.get("port")) in names:
                handler["port"] = number
