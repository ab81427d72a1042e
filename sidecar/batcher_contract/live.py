"""Settings that change while a sidecar runs: the file that tells them.

A JSON object of flags without their dashes to texts: `{"max-latency": "50"}`. The operator writes
it, into a ConfigMap, and the sidecar reads it.
"""

import json
from collections.abc import Collection

from batcher_contract.faults import Fault
from batcher_contract.fields import FIELDS
from batcher_contract.flags import ParsedFlags, parse_flags
from batcher_contract.settings import BatcherSettings

__all__ = ["parse_settings_file", "render_settings_file"]

_LIVE = {field.flag: field for field in FIELDS.values() if field.group == "settings"}


def parse_settings_file(text: str, base: BatcherSettings) -> ParsedFlags:
    """Read a file over the base; never raises: what cannot be read at all is a fault, too."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        content, problem = None, f"is no JSON ({error})"
    else:
        problem = "is no JSON object of texts"
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        fault = Fault("the settings file", None, problem, 'write {"max-latency": "50"}')
        return _with_faults(parse_flags({}, base), fault)
    texts = {f"--{key}": value for key, value in content.items()}
    others = [key for key in texts if key.removeprefix("--") not in _LIVE and _is_flag(key)]
    faults = [
        Fault(key, texts.pop(key), "cannot change while the sidecar runs", "leave it out")
        for key in others
    ]
    return _with_faults(parse_flags(texts, base), *faults)


def render_settings_file(settings: BatcherSettings, given: Collection[str]) -> str:
    """The file that tells these settings: those named in `given`, and what is no default."""
    texts = {
        flag: field.kind.render(getattr(settings, field.name))
        for flag, field in _LIVE.items()
        if field.name in given or getattr(settings, field.name) != field.default
    }
    return json.dumps(texts, indent=1) + "\n"


def _is_flag(key: str) -> bool:
    return any(field.flag_key == key for field in FIELDS.values() if field.flag is not None)


def _with_faults(parsed: ParsedFlags, *faults: Fault) -> ParsedFlags:
    return ParsedFlags(
        settings=parsed.settings,
        process=parsed.process,
        given=parsed.given,
        faults=(*faults, *parsed.faults),
    )
