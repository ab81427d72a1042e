"""The sidecar's configuration: from flags, the environment and the container's memory limit."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from batcher_contract import (
    FIELDS,
    BatcherSettings,
    Field,
    ProcessOptions,
    SettingsError,
    __version__,
    parse_flags,
    split_arguments,
)
from batcher_contract.kinds import Switch
from batcher_contract.names import READINESS_PROBE_ENV

__all__ = ["SidecarConfig", "container_memory_limit_bytes", "parse_args", "read_config"]

_PROGRAM: Final = "batcher-sidecar"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMORY_SHARE: Final = 4
# A v1 group without a limit says a number near 2**63.
_NO_LIMIT_BYTES: Final = 2**60


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfig(ProcessOptions):
    """All that the sidecar's process is told."""

    settings: BatcherSettings

    readiness_probe: str | None = None
    """The model server's probe as JSON, as KServe writes it; None where there is none."""


def container_memory_limit_bytes(cgroups: Path = _CGROUPS) -> int | None:
    """The memory limit of this container (cgroup v2, else v1), or None where there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((cgroups / name).read_text())
        except (OSError, ValueError):
            continue
        return limit if 0 < limit < _NO_LIMIT_BYTES else None
    return None


def parse_args(
    argv: Sequence[str],
    env: Mapping[str, str],
    memory_limit_bytes: Callable[[], int | None] = container_memory_limit_bytes,
) -> SidecarConfig:
    """The configuration that flags (without the program's name) and environment come to.

    Raises SystemExit as command lines do: 0 after `--help` and `--version`, which go to standard
    output; 2 after one sentence on standard error that names every fault.
    """
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(_help(shutil.get_terminal_size().columns))
        raise SystemExit(0)
    if "--version" in argv:
        sys.stdout.write(f"{_PROGRAM} {__version__}\n")
        raise SystemExit(0)
    try:
        return read_config(argv, env, memory_limit_bytes())
    except SettingsError as error:
        sys.stderr.write(f"{_PROGRAM}: {error}\n")
        raise SystemExit(2) from None


def read_config(
    argv: Sequence[str], env: Mapping[str, str], memory_limit_bytes: int | None
) -> SidecarConfig:
    """As `parse_args`, without its help; raises SettingsError with every fault."""
    base = BatcherSettings()
    if memory_limit_bytes is not None:
        base = replace(base, max_queue_bytes=memory_limit_bytes // _MEMORY_SHARE)
    texts, faults = split_arguments(argv)
    flags = parse_flags(texts, base)
    if faults or flags.faults:
        raise SettingsError([*faults, *flags.faults])
    return SidecarConfig(
        settings=flags.settings,
        readiness_probe=env.get(READINESS_PROBE_ENV) or None,
        **asdict(flags.process),
    )


def _help(columns: int) -> str:
    about = (
        f"usage: {_PROGRAM} [--flag value | --flag=value | --switch] ...\n\n"
        "Stands in front of a model server, gathers concurrent prediction requests into one\n"
        "and gives each caller its own part of the answer.\n"
    )
    groups = (("What runs where", "process"), ("How requests are batched", "settings"))
    parts = [about]
    for title, group in groups:
        fields = [field for field in FIELDS.values() if field.group == group]
        parts.append(f"\n{title}:\n" + "".join(_help_for(field, columns) for field in fields))
    parts.append("\n  --help\n      show this\n  --version\n      show the version\n")
    return "".join(parts)


def _help_for(field: Field, columns: int) -> str:
    text = f"{field.meaning}: {field.kind.expected} (default: {field.default_text})"
    indent = " " * 6
    lines = textwrap.fill(
        text,
        max(40, min(columns, 100)),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    metavar = field.kind.metavar
    value = f"[={metavar}]" if isinstance(field.kind, Switch) else f" {metavar}"
    return f"  {field.flag_key}{value}\n{lines}\n"
