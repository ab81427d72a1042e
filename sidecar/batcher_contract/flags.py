"""The sidecar's flags: argument lists to settings and back.

The syntax is that of KServe's agent (Go's pflag): `--flag value`, `--flag=value`, and for
switches `--flag` or `--flag=true`.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batcher_contract.faults import Fault
from batcher_contract.fields import FIELDS
from batcher_contract.kinds import Switch
from batcher_contract.parsing import Reading, nearest
from batcher_contract.settings import BatcherSettings, ProcessOptions

__all__ = ["ParsedFlags", "parse_flags", "settings_to_flags", "split_arguments"]

_BY_KEY = {field.flag_key: field for field in FIELDS.values() if field.flag is not None}
_OF_THE_AGENT = frozenset(
    "--" + name
    for name in (
        "component config-dir enable-puller endpoint inference-service log-batch-interval "
        "log-batch-size log-marshaller-port log-marshaller-url log-mode log-store-format "
        "log-store-path log-url logger-ca-cert-file logger-tls-skip-verify metadata-annotations "
        "metadata-headers model-dir namespace probe-period source-uri workers"
    ).split()
)
"""Flags of KServe's agent (`cmd/agent/main.go`) that have nothing to do with batching."""

_LOCAL_HOSTS = ("127.", "::1", "localhost", "0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFlags:
    """What flags come to. With faults, the values at fault were not applied."""

    settings: BatcherSettings
    process: ProcessOptions
    given: frozenset[str]
    """Names of the fields that flags set."""

    faults: tuple[Fault, ...]


def split_arguments(arguments: Sequence[str]) -> tuple[dict[str, str], list[Fault]]:
    """Take an argument list apart into flags and their texts: `{"--port": "9081"}`.

    Faults are what is no flag, a flag that is repeated, and a flag without its value.
    """
    texts: dict[str, str] = {}
    faults: list[Fault] = []
    waiting = list(reversed(arguments))
    while waiting:
        key, equals, text = waiting.pop().partition("=")
        field = _BY_KEY.get(key)
        if field is None:
            faults.append(_unknown(key))
            # What follows an unknown flag is most likely its value, not a fault of its own.
            if not equals and key.startswith("-") and waiting and not waiting[-1].startswith("-"):
                waiting.pop()
            continue
        if not equals:
            if isinstance(field.kind, Switch):
                text = "true"
            elif waiting and waiting[-1].partition("=")[0] not in _BY_KEY:
                text = waiting.pop()
            else:
                faults.append(Fault(key, None, "has no value", f"give {field.kind.expected}"))
                continue
        if key in texts:
            faults.append(Fault(key, None, "is given more than once", "give it once"))
        texts[key] = text
    return texts, faults


def parse_flags(texts: Mapping[str, str], base: BatcherSettings | None = None) -> ParsedFlags:
    """Read flags (`{"--max-latency": "50"}`) over the base, by default the fields' defaults."""
    known = {_BY_KEY[key].name: text for key, text in texts.items() if key in _BY_KEY}
    reading = Reading.read(known, lambda field: field.flag_key)
    settings = reading.apply(base or BatcherSettings(), "settings")
    process = reading.apply(ProcessOptions(), "process")
    unknown = [_unknown(key) for key in texts if key not in _BY_KEY]
    return ParsedFlags(
        settings=settings,
        process=process,
        given=frozenset(reading.values),
        faults=(*unknown, *reading.faults, *_port_faults(process, known)),
    )


def settings_to_flags(settings: BatcherSettings, given: Collection[str] = ()) -> list[str]:
    """Flags that give the sidecar these settings, as `--flag=value`.

    A field that has its default is left out unless it is named in `given`: the sidecar's own
    default may depend on its container.
    """
    flags = []
    for field in FIELDS.values():
        if field.group == "settings":
            value: Any = getattr(settings, field.name)
            if field.name in given or value != field.default:
                flags.append(f"{field.flag_key}={field.kind.render(value)}")
    return flags


def _unknown(key: str) -> Fault:
    if not key.startswith("-"):
        remedy = "write switches as --flag=true, all else as --flag value"
        return Fault(key, None, "is no flag", remedy)
    if key in _OF_THE_AGENT:
        remedy = "leave logging and pulling to the agent, with this program behind it"
        return Fault(key, None, "is a flag of KServe's agent only", remedy)
    close = nearest(key, _BY_KEY, "--")
    remedy = f"did you mean {close}?" if close else "see --help for those there are"
    return Fault(key, None, "is an unknown flag", remedy)


def _port_faults(process: ProcessOptions, given: Collection[str]) -> list[Fault]:
    """Listeners that would meet, told of the flag that was given."""
    names = ["port", "admin_port"]
    if process.component_host.startswith(_LOCAL_HOSTS):
        names.append("component_port")
    faults = []
    for first, second in itertools.combinations(names, 2):
        port = getattr(process, first)
        if port == getattr(process, second):
            own, other = (first, second) if second not in given else (second, first)
            problem = f"is also {FIELDS[other].flag_key}"
            remedy = "give each a port of its own"
            faults.append(Fault(FIELDS[own].flag_key, str(port), problem, remedy))
    return faults
