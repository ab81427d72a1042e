"""What a component's `batcher` section and annotations come to, for its running sidecars."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from batcher_contract import (
    FIELDS,
    BatcherSettings,
    Fault,
    parse_annotations,
    parse_settings_file,
    render_settings_file,
)
from batcher_contract.fields import ORDERS
from batcher_contract.names import ANNOTATION_PREFIX
from batcher_contract.quantities import parse_quantity
from batcher_operator.standalone.looks import mapping

__all__ = ["Batching", "Origins", "read_batching", "template_annotations"]

_SECTION: Final = {field.section: field for field in FIELDS.values() if field.section is not None}
_TIMEOUT: Final = FIELDS["timeout_s"]
_BY_SECTION: Final = {**_SECTION, "timeout": _TIMEOUT}
_BY_KEY: Final = {field.annotation_key: field for field in FIELDS.values() if field.annotation}
_OURS_TO_WRITE: Final = tuple(key for key, field in _BY_KEY.items() if field.writer is not None)
_MEMORY_SHARE: Final = 4  # of a sidecar's memory limit, which is what it takes for its queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """What a component's sidecars are told."""

    text: str
    """The file of settings."""

    faults: tuple[Fault, ...]
    """What was not applied, each with its path from the InferenceService's root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where a component's annotations come from; the later override the earlier."""

    runtime: Mapping[str, str]
    service: Mapping[str, str]
    component: Mapping[str, str]

    @property
    def merged(self) -> dict[str, str]:
        """All of them."""
        return {**self.runtime, **self.service, **self.component}


def read_batching(
    component: Mapping[str, Any],
    name: str,
    origins: Origins,
    memory_limit: str,
    last: str | None = None,
) -> Batching:
    """The settings of `spec.<name>`; what is at fault stays as the `last` file had it.

    Never raises. `batcher.timeout` counts, unless the annotation says otherwise. `memory_limit` is
    the sidecars' where no annotation sets it.
    """
    section, faults = _section(component, name)
    asked = {
        _BY_SECTION[key].name for key in mapping(component.get("batcher")) if key in _BY_SECTION
    }
    annotations = {
        key: text
        for key, text in origins.merged.items()
        if key.startswith(ANNOTATION_PREFIX) and key not in _OURS_TO_WRITE
    }
    if "timeout" in section:
        annotations = {_TIMEOUT.annotation_key: section.pop("timeout"), **annotations}
    asked |= {_BY_KEY[key].name for key in annotations if key in _BY_KEY}
    base = _base(annotations, memory_limit)
    parsed = parse_annotations(annotations, base, section)
    faults += [replace(f, field=_path(f.field, name, origins)) for f in parsed.faults]
    chosen = _chosen(parsed.settings, parsed.given)
    if last is not None and faults:
        before = parse_settings_file(last, base)
        kept = _chosen(before.settings, before.given & (asked - parsed.given))
        standing = replace(base, **kept)
        if not _is_ordered(standing):
            # What is kept needs other settings of its time.
            standing, kept = before.settings, _chosen(before.settings, before.given)
        parsed = parse_annotations(annotations, standing, section)
        chosen = {**kept, **_chosen(parsed.settings, parsed.given)}
    return Batching(
        text=render_settings_file(replace(BatcherSettings(), **chosen), chosen.keys()),
        faults=tuple(dict.fromkeys(faults)),
    )


def template_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Those for the pod template: what reaches running pods otherwise would only roll them."""
    return {
        key: text
        for key, text in annotations.items()
        if not key.startswith(ANNOTATION_PREFIX)
        or (key in _BY_KEY and _BY_KEY[key].group == "pod" and key not in _OURS_TO_WRITE)
    }


def _section(component: Mapping[str, Any], name: str) -> tuple[dict[str, str], list[Fault]]:
    """The section's numbers as texts; the API server lets nothing else through."""
    found: dict[str, str] = {}
    faults = []
    for key, value in mapping(component.get("batcher")).items():
        field = _BY_SECTION.get(key)
        if value is None:
            continue
        path = f"spec.{name}.batcher.{key}"
        if field is None:
            known = ", ".join(_BY_SECTION)
            faults.append(Fault(path, None, "is unknown", f"use one of {known}"))
        elif isinstance(value, bool) or not isinstance(value, int):
            remedy = f"give {field.kind.expected}, without quotes"
            faults.append(Fault(path, str(value), "is not a whole number", remedy))
        else:
            found[str(key)] = str(value)
    return found, faults


def _base(annotations: Mapping[str, str], memory_limit: str) -> BatcherSettings:
    """The defaults as a sidecar has them, whose queue takes a share of its memory."""
    own = parse_annotations(annotations).extras.memory_limit
    limit = parse_quantity(own or memory_limit)
    base = BatcherSettings()
    return base if limit is None else replace(base, max_queue_bytes=int(limit) // _MEMORY_SHARE)


def _chosen(settings: BatcherSettings, names: Collection[str]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names if hasattr(settings, name)}


def _is_ordered(settings: BatcherSettings) -> bool:
    orders = (order for order in ORDERS if FIELDS[order.low].group == "settings")
    return all(order.holds(settings) or order.low_gives_way for order in orders)


def _path(key: str, name: str, origins: Origins) -> str:
    if key in origins.component:
        return f"spec.{name}.annotations[{key}]"
    if key in origins.service:
        return f"metadata.annotations[{key}]"
    if key in origins.runtime:
        return f"the runtime's spec.annotations[{key}]"
    if key == _TIMEOUT.annotation_key:
        return f"spec.{name}.batcher.timeout"
    return f"spec.{name}.batcher.{key}" if key in _SECTION else key
