"""What to do with a pod, and why. Looks at the pod alone; changes nothing.

KServe's webhook may have seen the pod before or not, and both may be called twice, so the pod tells
which of four things is to be done:

1. Its own agent is there for batching only: take its place.
2. Its agent also logs or pulls models: stand behind it, and let it log each client's own request.
3. No agent yet and nothing but batching is asked for: be the agent. KServe adds none of its own to
   a pod that has a container of this name.
4. No agent yet and more is asked for: wait. The API server calls again after KServe's webhook.

In standalone mode there is no KServe, and only the third is left, whatever else is asked for.

Where KServe's agent, or no batching at all, serves better, the pod is left as it is. Nothing that
is found here ever refuses a pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from batcher_contract import FIELDS
from batcher_contract.flags import split_arguments
from batcher_contract.kinds import BadValueError, Switch
from batcher_contract.names import (
    ADMIN_PORT,
    BATCHER_ANNOTATION,
    DATA_PORT,
    DATA_PORT_BEHIND_AGENT,
    SERVICE_LABEL,
    is_http2_port,
)
from batcher_contract.settings import Mode
from batcher_webhook import pods
from batcher_webhook.settle import Resources, Settled, settle

__all__ = ["BATCHER", "NO_TOKEN_VOLUME", "SETTINGS_VOLUME", "Action", "Decision", "decide"]

BATCHER: Final = "batcher"
"""Our container's name where KServe's agent keeps its own."""

NO_TOKEN_VOLUME: Final = "inference-batcher-no-token"  # noqa: S105
"""An empty volume, mounted where an API token would be."""

SETTINGS_VOLUME: Final = "inference-batcher-settings"
"""The ConfigMap that settings reach a running sidecar by, where there is one."""

_DECISION: Final = FIELDS["decision"].annotation_key
_LONGEST_TEXT: Final = 4096  # all annotations together may have 256 KiB
_WITHOUT: Final[Mapping[Mode, str]] = {
    "kserve": "KServe's own agent batches",
    "standalone": "nothing batches",
}


class Action(Enum):
    """What to do with a pod."""

    IGNORE = "ignore"
    """Not ours to touch, or done already: no change at all."""

    LEAVE = "leave"
    """Only say why there is no sidecar."""

    REPLACE = "replace"
    """Take the place of KServe's agent."""

    BEHIND = "behind"
    """Stand between KServe's agent and the component."""

    ADD = "add"
    """Be the agent."""

    @property
    def injects(self) -> bool:
        """Whether the pod gets a sidecar."""
        return self in (Action.REPLACE, Action.BEHIND, Action.ADD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with a pod, and why."""

    action: Action
    reason: str
    """One word that people can search for."""

    sentence: str
    """The reason in a sentence, without its full stop."""

    settled: Settled | None = None
    """What the sidecar is told; None without one."""

    component_port: int = 0
    """Where the sidecar sends requests."""

    @property
    def text(self) -> str:
        """For the pod's annotation: the reason, the sentence and what was not applied."""
        faults = self.settled.faults if self.settled else ()
        ignored = "; ".join(str(fault) for fault in faults)
        text = f"{self.reason}: {self.sentence}" + (f"; not applied: {ignored}" if ignored else "")
        return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def decide(pod: Mapping[str, Any], defaults: Resources, mode: Mode = "kserve") -> Decision:
    """Decide about a pod; never raises, whatever the pod holds.

    `mode` tells whether KServe's own webhook may have been here, or may be called yet.
    """
    if not pods.is_well_formed(pod):
        return _ignore("Malformed", "this is no pod that Kubernetes could have sent")
    meta = pod["metadata"]
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    if BATCHER_ANNOTATION not in annotations:
        return _ignore("NotAsked", "its InferenceService has no batcher section")
    if SERVICE_LABEL not in (meta.get("labels") or {}):
        return _ignore("NotOfKServe", f"it has no label {SERVICE_LABEL}")
    if any(pods.is_ours(container) for container in pods.restartable(pod)):
        return _ignore("Injected", "it has its sidecar already")
    # Without KServe a container of that name is just another one.
    agent = pods.container(pod, pods.AGENT) if mode == "kserve" else None
    action = _action(annotations, agent) if mode == "kserve" else Action.ADD
    existing = agent.get("resources") if agent and action is Action.REPLACE else None
    settled = settle(_section(annotations), _without_ours(annotations), defaults, existing)
    port = _agent_component_port(agent) or pods.component_port(pod)
    obstacle = (
        _opt_out(settled, mode)
        or _foreign(agent)
        or _unbatchable(pod)
        or _taken(pod, action)
        or _too_early(pod, action, mode)
    )
    if obstacle is not None:
        return obstacle
    ours_or_kserves = {
        Action.REPLACE: "in the place of KServe's agent",
        Action.BEHIND: "behind KServe's agent",
        Action.ADD: "as the agent",
    }
    return Decision(
        action=action,
        reason="Injected",
        sentence=f"batches {ours_or_kserves[action]}, before port {port}",
        settled=settled,
        component_port=port,
    )


def _action(annotations: Mapping[str, str], agent: Mapping[str, Any] | None) -> Action:
    more = pods.LOGGER_ANNOTATION in annotations or pods.PULLER_ANNOTATION in annotations
    if agent is not None:
        return Action.BEHIND if more else Action.REPLACE
    return Action.LEAVE if more else Action.ADD


def _opt_out(settled: Settled, mode: Mode) -> Decision | None:
    if settled.options.inject:
        return None
    key = FIELDS["inject"].annotation_key
    return _leave("OptedOut", f"{key} is false, so {_WITHOUT[mode]}")


def _foreign(agent: Mapping[str, Any] | None) -> Decision | None:
    """Why an agent that is there is not KServe's batcher, if so."""
    if agent is None:
        return None
    port = pods.first_port(agent)
    args = agent.get("args") or []
    if (
        port.get("name") == "agent-port"
        and port.get("containerPort") == DATA_PORT
        and _batches(args)
    ):
        return None
    return _leave(
        "ForeignAgent",
        f'its container "{pods.AGENT}" is not KServe\'s batcher: rename it to be batched',
    )


def _unbatchable(pod: Mapping[str, Any]) -> Decision | None:
    if pod["spec"].get("hostNetwork"):
        return _leave("HostNetwork", "on the host's network the sidecar's ports may be taken")
    if (pod["spec"].get("os") or {}).get("name") == "windows":
        return _leave("Windows", "the sidecar runs on Linux only")
    component = pods.component_of(pod)
    if component is None and pods.container(pod, pods.WORKER) is not None:
        return _leave("Worker", "a worker of a multi-node service gets no requests of its own")
    name = pods.first_port(component or {}).get("name") or ""
    if is_http2_port(name):
        return _leave(
            "UnbatchedProtocol",
            f'its first port is named "{name}", and HTTP/2 is not batched by the sidecar yet',
        )
    return None


def _taken(pod: Mapping[str, Any], action: Action) -> Decision | None:
    """What the pod has that a sidecar would need: ports, a name, a volume."""
    needed = {ADMIN_PORT, DATA_PORT, DATA_PORT_BEHIND_AGENT}
    for container in pods.restartable(pod):
        if container["name"] == pods.AGENT:
            continue
        for port in container.get("ports") or ():
            if port["containerPort"] in needed:
                return _leave(
                    "PortTaken",
                    f'container "{container["name"]}" uses port {port["containerPort"]}: '
                    "give it another to have requests batched by the sidecar",
                )
    own = BATCHER if action is Action.BEHIND else pods.AGENT
    others = (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
    replaced = pods.container(pod, pods.AGENT) if action is Action.REPLACE else None
    if any(c["name"] == own and c is not replaced for c in others):
        return _leave("NameTaken", f'a container is named "{own}" already: rename it')
    for volume in pod["spec"].get("volumes") or ():
        if (name := volume.get("name")) in (NO_TOKEN_VOLUME, SETTINGS_VOLUME):
            return _leave("NameTaken", f'a volume is named "{name}" already: rename it')
    return None


def _too_early(pod: Mapping[str, Any], action: Action, mode: Mode) -> Decision | None:
    if action is Action.LEAVE:
        return _leave("Waiting", "KServe adds its agent, which also logs or pulls models, first")
    if pod["spec"].get("resources"):
        # A container more could exceed them, and the API server would refuse the pod.
        if action is Action.ADD and mode == "kserve":
            return _leave("Waiting", "KServe adds its agent within the pod's own resources first")
        if action is not Action.REPLACE:
            return _leave("PodResources", "the pod's own resources leave no room for a sidecar")
    return None


def _agent_component_port(agent: Mapping[str, Any] | None) -> int | None:
    if agent is None:
        return None
    text = split_arguments(agent.get("args") or [])[0].get("--component-port", "")
    return int(text) if text.isdecimal() and 0 < int(text[:6]) < 65536 else None


def _batches(args: list[str]) -> bool:
    text = split_arguments(args)[0].get("--enable-batcher", "false")
    try:
        return Switch().parse(text)
    except BadValueError:
        return False


def _section(annotations: Mapping[str, str]) -> dict[str, str]:
    return {
        key: annotations[annotation]
        for annotation, key in pods.SECTION_ANNOTATIONS.items()
        if annotation in annotations
    }


def _without_ours(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in annotations.items() if key != _DECISION}


def _ignore(reason: str, sentence: str) -> Decision:
    return Decision(action=Action.IGNORE, reason=reason, sentence=sentence)


def _leave(reason: str, sentence: str) -> Decision:
    return Decision(action=Action.LEAVE, reason=reason, sentence=sentence)
