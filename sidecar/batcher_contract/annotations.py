"""Our annotations on an InferenceService or a pod: `inference-batcher.io/timeout: "30"`."""

from collections.abc import Mapping
from dataclasses import dataclass

from batcher_contract.faults import Fault
from batcher_contract.fields import FIELDS
from batcher_contract.names import ANNOTATION_PREFIX
from batcher_contract.parsing import Reading, nearest
from batcher_contract.settings import BatcherSettings, PodOptions

__all__ = ["ParsedAnnotations", "parse_annotations"]

_BY_KEY = {field.annotation_key: field for field in FIELDS.values() if field.annotation is not None}
_SECTION = {field.section: field.name for field in FIELDS.values() if field.section is not None}
_IN_SECTION = {
    f"{ANNOTATION_PREFIX}{word}": field.section
    for field in FIELDS.values()
    if field.section is not None
    for word in (field.flag, field.section)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAnnotations:
    """What annotations and a section come to. With faults, the values at fault were not applied."""

    settings: BatcherSettings
    extras: PodOptions
    given: frozenset[str]
    """Names of the fields that they set."""

    faults: tuple[Fault, ...]


def parse_annotations(
    annotations: Mapping[str, str],
    base: BatcherSettings | None = None,
    section: Mapping[str, str] | None = None,
) -> ParsedAnnotations:
    """Read our annotations over the base (by default the fields' defaults); skip all others.

    `section` holds the texts of a `batcher` section by their keys there (`maxLatency`). They are
    read together with the annotations, because the two may contradict each other.
    """
    ours = {key: text for key, text in annotations.items() if key.startswith(ANNOTATION_PREFIX)}
    known = {_BY_KEY[key].name: text for key, text in ours.items() if key in _BY_KEY}
    for key, text in (section or {}).items():
        if key in _SECTION:
            known[_SECTION[key]] = text
    reading = Reading.read(known, lambda field: field.annotation_key)
    settings = reading.apply(base or BatcherSettings(), "settings")
    extras = reading.apply(PodOptions(), "pod")
    unknown = [_unknown(key) for key in ours if key not in _BY_KEY]
    return ParsedAnnotations(
        settings=settings,
        extras=extras,
        given=frozenset(reading.values),
        faults=(*unknown, *reading.faults),
    )


def _unknown(key: str) -> Fault:
    users = [known for known, field in _BY_KEY.items() if field.writer is None]
    close = nearest(key, (*users, *_IN_SECTION), ANNOTATION_PREFIX)
    if close is None:
        remedy = "remove it, or use one of " + ", ".join(users)
    elif close in _IN_SECTION:
        remedy = f"set {_IN_SECTION[close]} in the batcher section instead"
    else:
        remedy = f"did you mean {close}?"
    return Fault(key, None, "is an unknown annotation", remedy)
