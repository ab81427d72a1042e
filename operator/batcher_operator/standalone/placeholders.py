"""Placeholders in a runtime's container: `{{.Name}}`, `{{.Labels.x}}`.

KServe reads them as Go templates over the InferenceService's metadata. These are the ones that its
runtimes and documentation use; a label or annotation that is not there is empty, as it is there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from batcher_contract import Fault, SettingsError

__all__ = ["Metadata", "filled"]

# The dashes trim the white space next to them.
_PLACEHOLDER: Final = re.compile(
    r"(?:(?:(?<!\s)\s+)?\{\{-\s|\{\{)(?P<expression>[^{}]*?)(?:\s-\}\}\s*|\}\})"
)
_FIELD: Final = re.compile(r"\.(Name|Namespace)")
_ENTRY: Final = re.compile(r"\.(Labels|Annotations)\.([A-Za-z_][A-Za-z0-9_]*)")
_INDEX: Final = re.compile(r'index\s+\.(Labels|Annotations)\s+(?:"([^"\\]+)"|`([^`]+)`)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What placeholders may stand for."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def filled(value: Any, metadata: Metadata, where: str) -> Any:
    """The value with all placeholders in its texts replaced.

    Raises SettingsError for one that is unknown; `where` is what the value belongs to.
    """
    if isinstance(value, str) and "{{" in value:
        left_over = _PLACEHOLDER.sub("", value)
        if "{{" in left_over:
            raise SettingsError([_unknown(left_over[left_over.index("{{") :], where)])
        return _PLACEHOLDER.sub(lambda match: _meaning(match, metadata, where), value)
    if isinstance(value, dict):
        return {key: filled(each, metadata, where) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, metadata, where) for each in value]
    return value


def _meaning(match: re.Match[str], metadata: Metadata, where: str) -> str:
    expression = match["expression"].strip()
    if found := _FIELD.fullmatch(expression):
        return metadata.name if found[1] == "Name" else metadata.namespace
    if found := _ENTRY.fullmatch(expression) or _INDEX.fullmatch(expression):
        entries = metadata.labels if found[1] == "Labels" else metadata.annotations
        key = next(group for group in found.groups()[1:] if group is not None)
        return entries.get(key, "")
    raise SettingsError([_unknown(match[0].strip(), where)])


def _unknown(placeholder: str, where: str) -> Fault:
    remedy = "use {{.Name}}, {{.Namespace}}, {{.Labels.x}} or {{.Annotations.x}}"
    return Fault(where, placeholder, "is an unknown placeholder", remedy)
