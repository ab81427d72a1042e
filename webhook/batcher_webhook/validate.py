"""What is wrong with an InferenceService's batching, told while somebody applies it.

Faults refuse the object, warnings do not. An object that was wrong before may still be changed and
deleted: finalizers are removed by an UPDATE, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from batcher_contract import FIELDS, Fault
from batcher_contract.kinds import BadValueError
from batcher_contract.names import ANNOTATION_PREFIX
from batcher_contract.settings import Mode
from batcher_contract.standalone import judge
from batcher_webhook.settle import Resources, Settled, settle

__all__ = ["Verdict", "validate"]

_BATCHED: Final = ("predictor", "transformer")
_SECTION: Final = {field.section: field for field in FIELDS.values() if field.section is not None}
_BY_KEY: Final = {field.annotation_key: field for field in FIELDS.values()}
_MODE: Final = "serving.kserve.io/deploymentMode"
_RAW_MODES: Final = ("RawDeployment", "Standard")
_KNATIVE_MODES: Final = ("Serverless", "Knative")
_DEFAULT_GRACE_S: Final = 30  # of Kubernetes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong, and what is allowed but of no use."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()


def validate(
    new: Mapping[str, Any],
    old: Mapping[str, Any],
    defaults: Resources,
    mode: Mode = "kserve",
) -> Verdict:
    """Judge an InferenceService (v1beta1); `old` is empty where it is created. Never raises."""
    if _map(new.get("metadata")).get("deletionTimestamp"):
        return Verdict()
    before = _faults(old, defaults, mode) if old else ()
    known = {(fault.field, fault.value) for fault in before}
    faults = [
        fault
        for fault in _faults(new, defaults, mode)
        if (fault.field, fault.value) not in known
    ]  # fmt: skip
    return Verdict(faults=tuple(faults), warnings=tuple(_warnings(new, defaults, mode)))


def _faults(service: Mapping[str, Any], defaults: Resources, mode: Mode) -> list[Fault]:
    found: dict[tuple[str, str | None, str], Fault] = {}
    for name in _BATCHED:
        component = _map(_map(service.get("spec")).get(name))
        if component or name == "predictor":
            for fault in _component_faults(service, name, component, defaults, mode):
                found.setdefault((fault.field, fault.value, fault.problem), fault)
    of_mode = judge(service).faults if mode == "standalone" else _explainer_faults(service)
    for fault in of_mode:
        found.setdefault((fault.field, fault.value, fault.problem), fault)
    return list(found.values())


def _component_faults(
    service: Mapping[str, Any],
    name: str,
    component: Mapping[str, Any],
    defaults: Resources,
    mode: Mode,
) -> Iterator[Fault]:
    section = component.get("batcher")
    where = f"spec.{name}.batcher"
    common, own = _annotations(service, component)
    for origin, path in (
        (_map(service.get("metadata")), "metadata"),
        (component, f"spec.{name}"),
    ):
        yield from _type_faults(origin.get("annotations"), f"{path}.annotations")
    if section is not None and not isinstance(section, dict):
        yield Fault(where, None, "is not an object", "give maxBatchSize and maxLatency in it")
        section = None
    texts, wrong = _section_texts(section or {}, where)
    yield from wrong
    timeout = _timeout(section, mode)
    for fault in settle(texts, {**timeout, **common, **own}, defaults).faults:
        if section is None and not _stands_alone(fault):
            # Values that would contradict each other, were there any batching.
            continue
        if fault.field in own:
            path = f"spec.{name}.annotations[{fault.field}]"
        elif fault.field in _SECTION:
            path = f"{where}.{fault.field}"
        elif fault.field in common:
            path = f"metadata.annotations[{fault.field}]"
        elif fault.field in timeout:
            path = f"{where}.timeout"
        else:
            path = fault.field
        yield replace(fault, field=path)


def _section_texts(section: Mapping[str, Any], where: str) -> tuple[dict[str, str], list[Fault]]:
    """The section's numbers as texts, without `timeout`; what is no number becomes a fault."""
    texts: dict[str, str] = {}
    faults = []
    for key, value in section.items():
        field = FIELDS["timeout_s"] if key == "timeout" else _SECTION.get(key)
        if field is None or value is None:
            # What KServe's schema does not know never comes this far.
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            remedy = f"give {field.kind.expected}, without quotes"
            faults.append(Fault(f"{where}.{key}", str(value), "is not a whole number", remedy))
        elif key != "timeout":
            texts[key] = str(value)
        else:
            try:
                field.kind.parse(str(value))
            except BadValueError as error:
                remedy = f"give {field.kind.expected}"
                faults.append(Fault(f"{where}.{key}", str(value), str(error), remedy))
    return texts, faults


def _timeout(section: object, mode: Mode) -> dict[str, str]:
    """`batcher.timeout` as the annotation that comes before it; KServe passes it to nobody."""
    value = _map(section).get("timeout")
    field = FIELDS["timeout_s"]
    if mode == "kserve" or isinstance(value, bool) or not isinstance(value, int):
        return {}
    try:
        field.kind.parse(str(value))
    except BadValueError:
        return {}  # told already
    return {field.annotation_key: str(value)}


def _type_faults(annotations: object, path: str) -> Iterator[Fault]:
    for key, value in _map(annotations).items():
        if key.startswith(ANNOTATION_PREFIX) and not isinstance(value, str):
            yield Fault(f"{path}[{key}]", str(value), "is not a text", "put it in quotes")


def _stands_alone(fault: Fault) -> bool:
    """Whether a value is wrong by itself, whatever the others are."""
    field = _BY_KEY.get(fault.field)
    if field is None or fault.value is None:
        return True
    try:
        field.kind.parse(fault.value)
    except BadValueError:
        return True
    return False


def _explainer_faults(service: Mapping[str, Any]) -> Iterator[Fault]:
    explainer = _map(_map(service.get("spec")).get("explainer"))
    if explainer.get("batcher") is not None and _mode(service) in _RAW_MODES:
        yield Fault(
            "spec.explainer.batcher",
            None,
            f"makes KServe's Service point at a port that nobody serves in {_mode(service)} mode",
            "remove it, and put the batcher section under spec.predictor",
        )


def _warnings(service: Mapping[str, Any], defaults: Resources, mode: Mode) -> Iterator[str]:
    spec = _map(service.get("spec"))
    if mode == "standalone":
        yield from judge(service).warnings
    else:
        yield from _kserve_warnings(service)
    for key, field in _BY_KEY.items():
        if field.writer is not None and key in _annotations(service, {})[0]:
            yield f"{key} has no effect here: the {field.writer} writes it"
    for name in _BATCHED:
        component = _map(spec.get(name))
        section = component.get("batcher")
        if not isinstance(section, dict):
            continue
        common, own = _annotations(service, component)
        texts = _section_texts(section, "")[0]
        settled = settle(texts, {**_timeout(section, mode), **common, **own}, defaults)
        yield from _drain_warnings(service, name, component, settled)


def _kserve_warnings(service: Mapping[str, Any]) -> Iterator[str]:
    """What KServe and Knative make of no use."""
    spec = _map(service.get("spec"))
    explainer = _map(spec.get("explainer"))
    if explainer.get("batcher") is not None and _mode(service) not in _RAW_MODES:
        yield "spec.explainer.batcher has no effect: KServe passes it to nobody"
    for name in _BATCHED:
        component = _map(spec.get(name))
        section = component.get("batcher")
        if not isinstance(section, dict):
            continue
        if component.get("containerConcurrency") == 1:
            yield (
                f"spec.{name}.containerConcurrency 1 lets in one request at a time, so that "
                "nothing can be batched: leave it out or raise it"
            )
        if section.get("timeout") is not None:
            yield (
                f"spec.{name}.batcher.timeout has no effect, as KServe passes it to nobody: use "
                f"the annotation {FIELDS['timeout_s'].annotation_key}"
            )


def _drain_warnings(
    service: Mapping[str, Any], name: str, component: Mapping[str, Any], settled: Settled
) -> Iterator[str]:
    grace = component.get("terminationGracePeriodSeconds")
    if grace is None:
        # Knative sets it from the revision's timeout.
        grace = None if _mode(service) in _KNATIVE_MODES else _DEFAULT_GRACE_S
    if isinstance(grace, bool) or not isinstance(grace, int):
        return
    settings = settled.settings
    need_s = Decimal(settings.max_latency_ms) / 1000 + Decimal(str(settings.drain_quiet_s))
    if need_s > grace:
        yield (
            f"a stopping pod of spec.{name} needs {need_s.normalize():f} s (maxLatency and the "
            f"quiet time of a drain), but gets {grace} s: raise terminationGracePeriodSeconds"
        )


def _mode(service: Mapping[str, Any]) -> str:
    """KServe's deployment mode; its defaulter notes it, unless it is Knative."""
    annotation = _map(_map(service.get("metadata")).get("annotations")).get(_MODE)
    mode = annotation or _map(service.get("status")).get("deploymentMode")
    return mode if isinstance(mode, str) else ""


def _annotations(
    service: Mapping[str, Any], component: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Those of the service, and those of the component, which override them."""
    common, own = (
        {key: text for key, text in _map(origin).items() if isinstance(text, str)}
        for origin in (
            _map(service.get("metadata")).get("annotations"),
            component.get("annotations"),
        )
    )
    return common, own


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
