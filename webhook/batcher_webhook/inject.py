"""Put the sidecar into a pod, as decided. Pure: the pod that comes in is not changed."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batcher_contract import FIELDS, __version__, settings_to_flags
from batcher_contract.names import (
    ADMIN_PORT,
    DATA_PORT,
    DATA_PORT_BEHIND_AGENT,
    DRAIN_HEADER,
    INFERENCE_PORT_NAME,
    MARKER_ENV,
    PROBE_HEADER,
    READINESS_PROBE_ENV,
    SETTINGS_FILE,
)
from batcher_webhook import pods
from batcher_webhook.decide import BATCHER, NO_TOKEN_VOLUME, SETTINGS_VOLUME, Action, Decision
from batcher_webhook.settle import Resources

__all__ = ["Sidecar", "inject"]

_TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105
_SETTINGS_PATH: Final = "/etc/inference-batcher/settings"
_DECISION: Final = FIELDS["decision"].annotation_key
_UID_WHERE_ROOT: Final = 65532
_QUEUE_PROXY_ADMIN_PORT: Final = 8022
_TAKES_VALUE: Final = {"--enable-batcher": False, "--max-batchsize": True, "--max-latency": True}
"""The agent's flags about batching, and whether a value follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What an installation says about the containers that it injects."""

    image: str
    image_pull_policy: str | None = None
    """None leaves it to the API server's default."""

    image_pull_secrets: tuple[str, ...] = ()
    uid: int | None = _UID_WHERE_ROOT
    """The user it runs as; None where the platform chooses one (OpenShift)."""

    resources: Resources = field(default_factory=Resources)
    """Where there is no agent of KServe to take them from."""


def inject(pod: Mapping[str, Any], decision: Decision, sidecar: Sidecar) -> dict[str, Any]:
    """The pod with its sidecar and the decision's annotation; all else as it was."""
    after = copy.deepcopy(dict(pod))
    if decision.action is Action.IGNORE:
        return after
    if not after["metadata"].get("annotations"):
        after["metadata"]["annotations"] = {}
    after["metadata"]["annotations"][_DECISION] = decision.text
    if decision.action.injects:
        _add_container(after, decision, sidecar)
        _mount_settings(after, decision)
        _drain_before_stop(after)
        spec = after["spec"]
        _append(spec, "volumes", {"name": NO_TOKEN_VOLUME, "emptyDir": {}})
        known = [secret.get("name") for secret in spec.get("imagePullSecrets") or ()]
        for name in sidecar.image_pull_secrets:
            if name not in known:
                _append(spec, "imagePullSecrets", {"name": name})
    return after


def _add_container(pod: pods.Json, decision: Decision, sidecar: Sidecar) -> None:
    containers: list[pods.Json] = pod["spec"]["containers"]
    agent = pods.container(pod, pods.AGENT)
    queue_proxy = pods.container(pod, pods.QUEUE_PROXY)
    ours = _container(pod, decision, sidecar, agent or queue_proxy)
    if _give_up_name(pod):
        ours["ports"][0]["name"] = INFERENCE_PORT_NAME
    if decision.action is Action.REPLACE and agent is not None:
        containers[containers.index(agent)] = ours
    else:
        containers.append(ours)
    if decision.action is Action.BEHIND and agent is not None:
        _put_behind(agent, decision.component_port)
    user_port = pods.env_entry(queue_proxy or {}, "USER_PORT")
    if user_port is not None:
        user_port["value"] = str(DATA_PORT)


def _container(
    pod: pods.Json, decision: Decision, sidecar: Sidecar, template: pods.Json | None
) -> pods.Json:
    """Our container; the template is KServe's agent, else Knative's proxy, if there is either."""
    assert decision.settled is not None  # noqa: S101 - an invariant of decisions that inject
    behind = decision.action is Action.BEHIND
    port = DATA_PORT_BEHIND_AGENT if behind else DATA_PORT
    settled = decision.settled
    args = [
        "--enable-batcher",
        *settings_to_flags(settled.settings, settled.given),
        f"--component-port={decision.component_port}",
        *([f"--port={port}"] if behind else []),
    ]
    probe_env = pods.env_entry(template or {}, READINESS_PROBE_ENV)
    if probe_env is None and (text := pods.probe_text(pod)) is not None:
        probe_env = {"name": READINESS_PROBE_ENV, "value": text}
    container: pods.Json = {
        "name": BATCHER if behind else pods.AGENT,
        "image": sidecar.image,
        "args": args,
        "env": [
            {"name": MARKER_ENV, "value": __version__},
            *([copy.deepcopy(probe_env)] if probe_env else []),
        ],
        "ports": [
            {
                "name": "batcher-port" if behind else "agent-port",
                "containerPort": port,
                "protocol": "TCP",
            },
            {"name": "batcher-admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": _readiness_probe(pod, port),
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": ADMIN_PORT, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "resources": dict(settled.resources),
        "securityContext": _security_context(pod, sidecar.uid),
        "volumeMounts": [{"name": NO_TOKEN_VOLUME, "mountPath": _TOKEN_PATH, "readOnly": True}],
    }
    if sidecar.image_pull_policy is not None:
        container["imagePullPolicy"] = sidecar.image_pull_policy
    own_hook = _own_hook(pod)
    if own_hook is not None:
        container["lifecycle"] = {"preStop": own_hook}
    return container


def _readiness_probe(pod: pods.Json, port: int) -> pods.Json:
    """As KServe's agent has it, on our port."""
    agent = pods.container(pod, pods.AGENT) or {}
    probe: pods.Json = copy.deepcopy(agent.get("readinessProbe") or {})
    if not isinstance(probe.get("httpGet"), dict):
        own = (pods.serving(pod).get("readinessProbe") or {}).get("httpGet")
        path = own.get("path") if isinstance(own, dict) else None
        probe = {
            "httpGet": {
                "path": path or "/",
                "scheme": "HTTP",
                "httpHeaders": [{"name": PROBE_HEADER, "value": "queue"}],
            }
        }
    probe["httpGet"]["port"] = port
    return probe


def _security_context(pod: pods.Json, uid: int | None) -> pods.Json:
    """The restricted profile of the Pod Security Standards."""
    context: pods.Json = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if uid is None and (pod["spec"].get("securityContext") or {}).get("runAsUser") == 0:
        # It would inherit root, and be kept from starting.
        uid = _UID_WHERE_ROOT
    if uid is not None:
        context["runAsUser"] = uid
    return context


def _put_behind(agent: pods.Json, component_port: int) -> None:
    """Have KServe's agent batch no more and send requests to the sidecar."""
    args: list[str] = []
    waiting = list(reversed(agent.get("args") or []))
    while waiting:
        arg = waiting.pop()
        key, equals, _ = arg.partition("=")
        if key in _TAKES_VALUE or key == "--component-port":
            if not equals and waiting and _TAKES_VALUE.get(key, True):
                waiting.pop()
            continue
        args.append(arg)
    agent["args"] = [*args, "--component-port", str(DATA_PORT_BEHIND_AGENT)]
    if pods.env_entry(agent, READINESS_PROBE_ENV) is None:
        # Without one it exits; KServe writes none for exec and gRPC probes.
        text = json.dumps({"tcpSocket": {"port": component_port}}, separators=(",", ":"))
        _append(agent, "env", {"name": READINESS_PROBE_ENV, "value": text})


def _give_up_name(pod: pods.Json) -> bool:
    """Take the name that a Service goes by from the model server's port, if it has it.

    What else goes by that name in the same container, probes and hooks, gets the number.
    """
    for model in _models(pod):
        for port in model.get("ports") or ():
            if port.get("name") == INFERENCE_PORT_NAME:
                del port["name"]
                for owner in ("readinessProbe", "livenessProbe", "startupProbe", "lifecycle"):
                    if owner in model:
                        model[owner] = _numbered(model[owner], port["containerPort"])
                return True
    return False


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {
            key: number
            if key == "port" and inner == INFERENCE_PORT_NAME
            else _numbered(inner, number)
            for key, inner in value.items()
        }
    return value


def _mount_settings(pod: pods.Json, decision: Decision) -> None:
    """Have the sidecar follow the ConfigMap that the pod names, if it names one."""
    assert decision.settled is not None  # noqa: S101 - an invariant of decisions that inject
    name = decision.settled.options.settings_config_map
    if not name:
        return
    for container in pod["spec"]["containers"]:
        if pods.is_ours(container):
            container["args"].append(f"--settings-file={_SETTINGS_PATH}/{SETTINGS_FILE}")
            mount = {"name": SETTINGS_VOLUME, "mountPath": _SETTINGS_PATH, "readOnly": True}
            _append(container, "volumeMounts", mount)
    # Optional: a pod starts without it, with what its flags say.
    volume = {"name": SETTINGS_VOLUME, "configMap": {"name": name, "optional": True}}
    _append(pod["spec"], "volumes", volume)


def _drain_hook() -> pods.Json:
    return {
        "httpGet": {
            "path": "/drain",
            "port": ADMIN_PORT,
            "scheme": "HTTP",
            "httpHeaders": [{"name": DRAIN_HEADER, "value": "true"}],
        }
    }


def _models(pod: pods.Json) -> list[pods.Json]:
    found = (pods.container(pod, name) for name in pods.MODEL_CONTAINERS)
    return [c for c in found if c is not None] or pod["spec"]["containers"][:1]


def _pre_stop(candidate: pods.Json) -> Any:
    return (candidate.get("lifecycle") or {}).get("preStop")


def _own_hook(pod: pods.Json) -> pods.Json | None:
    """Our own preStop, where the model's containers cannot be made to wait for the drain."""
    if pods.container(pod, pods.QUEUE_PROXY) is not None:
        # Knative's proxy holds the user's containers until it has no request left.
        inherited = next((hook for c in _models(pod) if (hook := _pre_stop(c))), None)
        if isinstance(inherited, dict) and "wait-for-drain" in json.dumps(inherited):
            return copy.deepcopy(inherited)
        hook = {"path": "/wait-for-drain", "port": _QUEUE_PROXY_ADMIN_PORT, "scheme": "HTTP"}
        return {"httpGet": hook}
    return _drain_hook() if any(_pre_stop(c) for c in _models(pod)) else None


def _drain_before_stop(pod: pods.Json) -> None:
    """Keep each model's container alive until the sidecar has answered what it holds."""
    if pods.container(pod, pods.QUEUE_PROXY) is not None:
        return
    for model in _models(pod):
        if not _pre_stop(model):
            model["lifecycle"] = {**(model.get("lifecycle") or {}), "preStop": _drain_hook()}


def _append(owner: pods.Json, key: str, item: pods.Json) -> None:
    # A field may be absent or null.
    owner[key] = [*(owner.get(key) or []), item]
