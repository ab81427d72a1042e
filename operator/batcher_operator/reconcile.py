"""What there is to say about an InferenceService. Pure: from what is, to the Events it should have.

Nothing is written on InferenceServices that KServe owns: it copies their annotations into pod
templates, and its status update drops what it does not know.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from batcher_contract import (
    FIELDS,
    BatcherSettings,
    __version__,
    parse_flags,
    parse_settings_file,
    split_arguments,
)
from batcher_contract.kinds import plain
from batcher_contract.quantities import format_bytes, parse_quantity
from batcher_contract.settings import Mode
from batcher_operator.views import Key, Pod, Service, Sidecar

__all__ = ["Notice", "Shape", "reconcile", "shape_of"]

Shape = Literal["injected", "outdated", "declined", "missing", "unasked"]
"""How a pod stands: with our sidecar, with one of another version or image, left to KServe's agent
by our webhook, not seen by our webhook, or without batching."""

_AT_REST_BYTES: Final = 64 * 2**20  # of the sidecar's process, with room for what is being parsed
_MEMORY_SHARE: Final = 4  # of the limit that its queue takes, unless told otherwise
_ROLL: Final = FIELDS["restarted_at"].annotation_key
_WITHOUT: Final[Mapping[Mode, str]] = {
    "kserve": "KServe's agent batches",
    "standalone": "nothing batches",
}
_REMEDIES: Final = {
    "Waiting": "check that KServe's own webhook runs, then delete the pod",
    "ForeignAgent": "rename the container `agent`",
    "NameTaken": "rename that container or volume",
    "PortTaken": "move that container to another port",
    "HostNetwork": "turn hostNetwork off",
    "UnbatchedProtocol": "name the port http1 if the model server speaks HTTP/1.1 there",
    "PodResources": "set resources on the containers rather than on the pod",
}
"""What to do where our webhook left a pod alone, by the reason that it gave."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One Event: its type, a reason that people can search for, and what is so and what to do."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def reconcile(
    service: Service,
    pods: Iterable[Pod],
    image: str,
    mode: Mode = "kserve",
    files: Mapping[str, str] | None = None,
) -> tuple[Notice, ...]:
    """All Events that a service should have now, each once, whatever was said before.

    `image` is the sidecar's image that is injected now; empty where that is not known. `files` are
    the settings files of running sidecars, by component.
    """
    # Knative enforces it, and there is none where KServe is not.
    found = dict.fromkeys(_about_service(service) if mode == "kserve" else ())
    for pod in pods:
        if not pod.ending and pod.asked:
            file = (files or {}).get(pod.component, "")
            found.update(dict.fromkeys(_about_pod(pod, image, mode, file)))
    return tuple(found)


def shape_of(pod: Pod, image: str) -> Shape:
    """How a pod stands."""
    if pod.sidecar is not None:
        current = pod.sidecar.version == __version__ and image in ("", pod.sidecar.image)
        return "injected" if current else "outdated"
    if not pod.asked:
        return "unasked"
    return "declined" if pod.decision else "missing"


def _about_service(service: Service) -> Iterator[Notice]:
    for component in service.one_at_a_time:
        yield Notice(
            "Warning",
            "ContainerConcurrencyOne",
            f"spec.{component}.containerConcurrency 1 lets in one request at a time, so that "
            "nothing can be batched: leave it out or raise it",
        )


def _about_pod(pod: Pod, image: str, mode: Mode, file: str) -> Iterator[Notice]:
    shape = shape_of(pod, image)
    where = f"pods of spec.{pod.component}" if pod.component else "pods"
    reason, _, sentence = pod.decision.partition(": ")
    sentence, _, ignored = sentence.partition("; not applied: ")
    if shape == "missing":
        yield Notice(
            "Warning",
            "SidecarMissing",
            f"{where} run without the batching sidecar, as they came into being while its webhook "
            f"was not there; {_WITHOUT[mode]} in them: {_roll(pod.key)}",
        )
    elif shape == "declined" and reason == "OptedOut":
        yield Notice("Normal", "SidecarOptedOut", f"{where} run without the sidecar: {sentence}")
    elif shape == "declined":
        remedy = _REMEDIES.get(reason, "")
        yield Notice(
            "Warning",
            "SidecarNotInjected",
            f"{where} run without the sidecar, so that {_WITHOUT[mode]} ({reason}): {sentence}"
            + (f"; {remedy}" if remedy else ""),
        )
    elif shape == "outdated" and pod.sidecar is not None:
        now = f"version {__version__}" + (f" of {image}" if image else "")
        yield Notice(
            "Normal",
            "SidecarOutdated",
            f"{where} run the sidecar's version {pod.sidecar.version} of {pod.sidecar.image}, "
            f"and {now} is injected now: {_roll(pod.key)}",
        )
    elif shape == "injected" and pod.decision:
        yield Notice("Normal", "SidecarInjected", f"{where}: {sentence}")
    if ignored:
        yield Notice(
            "Warning", "SettingIgnored", f"{where} run without what cannot be applied: {ignored}"
        )
    if pod.sidecar is not None:
        settings, given = _settings(pod.sidecar, file)
        yield from _about_grace(pod, settings, where)
        yield from _about_memory(pod.sidecar, settings, given, where)


def _about_grace(pod: Pod, settings: BatcherSettings, where: str) -> Iterator[Notice]:
    need_s = Decimal(settings.max_latency_ms) / 1000 + Decimal(str(settings.drain_quiet_s))
    if need_s > pod.grace_s:
        yield Notice(
            "Warning",
            "GracePeriodTooShort",
            f"{where} have {pod.grace_s} s to end and need {plain(need_s)} s (maxLatency and the "
            "quiet time of a drain): raise terminationGracePeriodSeconds, or lower maxLatency or "
            f"{FIELDS['drain_quiet_s'].annotation_key}",
        )


def _about_memory(
    sidecar: Sidecar, settings: BatcherSettings, given: frozenset[str], where: str
) -> Iterator[Notice]:
    limit = parse_quantity(sidecar.memory_limit or "")
    if limit is None:
        return
    queue = settings.max_queue_bytes
    if "max_queue_bytes" not in given:
        queue = int(limit) // _MEMORY_SHARE
    if queue + _AT_REST_BYTES > limit:
        need = format_bytes(queue + _AT_REST_BYTES)
        yield Notice(
            "Warning",
            "MemoryLimitTooLow",
            f"the sidecar in {where} has a memory limit of {sidecar.memory_limit} and may need "
            f"{need}, {format_bytes(queue)} of it for requests that wait: raise "
            f"{FIELDS['memory_limit'].annotation_key}, or lower "
            f"{FIELDS['max_queue_bytes'].annotation_key}",
        )
    elif settings.max_body_bytes > queue and "max_body_bytes" in given:
        yield Notice(
            "Warning",
            "MemoryLimitTooLow",
            f"the sidecar in {where} takes bodies of {format_bytes(settings.max_body_bytes)}, and "
            f"has room for {format_bytes(queue)} of requests that wait: raise "
            f"{FIELDS['memory_limit'].annotation_key}, or lower "
            f"{FIELDS['max_body_bytes'].annotation_key}",
        )


def _settings(sidecar: Sidecar, file: str) -> tuple[BatcherSettings, frozenset[str]]:
    texts, _ = split_arguments(sidecar.args)
    told = parse_flags(texts)
    if not file:
        return told.settings, told.given
    live = parse_settings_file(file, told.settings)
    return live.settings, told.given | live.given


def _roll(key: Key) -> str:
    return (
        f"roll them with `kubectl annotate isvc {key.name} -n {key.namespace} --overwrite "
        f'{_ROLL}="$(date -Iseconds)"`'
    )
