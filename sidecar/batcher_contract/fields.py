"""The one table of everything a user can set: its names, kind, default and meaning.

Flags, annotations, their messages and `--help` are all made from it, so that what is checked
when an InferenceService is applied is what the sidecar's process accepts.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from batcher_contract.kinds import (
    Choice,
    HeaderNames,
    Host,
    Kind,
    Number,
    Quantity,
    Size,
    Switch,
    Text,
    Whole,
)
from batcher_contract.names import ANNOTATION_PREFIX
from batcher_contract.settings import (
    BatcherSettings,
    LogFormat,
    LogLevel,
    PodOptions,
    ProcessOptions,
    RowSignature,
    Strategy,
)

__all__ = ["FIELDS", "ORDERS", "Field", "Group", "Order"]

Group = Literal["settings", "process", "pod"]

KIB: Final = 2**10
TIB: Final = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing a user can set."""

    group: Group
    """Where the value goes: BatcherSettings, ProcessOptions or PodOptions."""

    name: str
    """The attribute there; it carries the unit."""

    kind: Kind
    """Reads, bounds and writes the value."""

    meaning: str
    """For people, as the end of a sentence about the field."""

    default_note: str = ""
    """What else the default may be, or is where the table has none."""

    flag: str | None = None
    """The sidecar's flag without its dashes, or None."""

    annotation: str | None = None
    """The annotation's key without its prefix, or None."""

    section: str | None = None
    """The key in an InferenceService's `batcher` section, or None."""

    writer: str | None = None
    """Which of our programs writes it, so that nobody else need; None where users do."""

    @property
    def default(self) -> Any:
        """The value where nobody sets one."""
        return getattr(_DEFAULTS[self.group], self.name)

    @property
    def flag_key(self) -> str:
        """How the field is called among flags: `--max-latency`."""
        return f"--{self.flag or self.name}"

    @property
    def annotation_key(self) -> str:
        """How the field is called in an InferenceService: `inference-batcher.io/timeout`."""
        if self.annotation is None and self.section is not None:
            return self.section
        return f"{ANNOTATION_PREFIX}{self.annotation or self.name}"

    @property
    def default_text(self) -> str:
        """The default for people."""
        shown = "" if self.default in (None, ()) else self.show(self.default)
        return ", ".join(filter(None, (shown, self.default_note)))

    def show(self, value: Any) -> str:
        """A value for people, with its unit where there is one."""
        unit = getattr(self.kind, "unit", "")
        return f"{self.kind.render(value)} {unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Two fields of one group of which one may not exceed the other."""

    low: str
    high: str
    strict: bool = False
    """Whether they may not be equal either."""

    scale: int = 1
    """The high one's unit in units of the low one."""

    zero_is_none: bool = False
    """Whether 0 in the high field means that there is no bound."""

    low_gives_way: bool = False
    """Whether a low value that nobody set is lowered to the high one."""

    def holds(self, values: object) -> bool:
        """Whether the group's values (a BatcherSettings, ...) are in this order."""
        low, high = getattr(values, self.low), getattr(values, self.high)
        if low is None or high is None or (self.zero_is_none and not high):
            return True
        lower = FIELDS[self.low].kind.magnitude(low)
        higher = FIELDS[self.high].kind.magnitude(high) * self.scale
        return lower < higher if self.strict else lower <= higher


_DEFAULTS: Final = {
    "settings": BatcherSettings(),
    "process": ProcessOptions(),
    "pod": PodOptions(),
}


def _setting(name: str, key: str, kind: Kind, meaning: str, default_note: str = "") -> Field:
    return Field(
        group="settings",
        name=name,
        kind=kind,
        meaning=meaning,
        default_note=default_note,
        flag=key,
        annotation=key,
    )


def _section(name: str, flag: str, section: str, kind: Kind, meaning: str) -> Field:
    return Field(
        group="settings", name=name, kind=kind, meaning=meaning, flag=flag, section=section
    )


def _process(name: str, kind: Kind, meaning: str, default_note: str = "") -> Field:
    flag = name.replace("_", "-")
    return Field(
        group="process",
        name=name,
        kind=kind,
        meaning=meaning,
        default_note=default_note,
        flag=flag,
    )


def _pod(
    name: str, kind: Kind, meaning: str, default_note: str = "", writer: str | None = None
) -> Field:
    return Field(
        group="pod",
        name=name,
        kind=kind,
        meaning=meaning,
        default_note=default_note,
        annotation=name.replace("_", "-"),
        writer=writer,
    )


_PORT: Final = Whole(unit="", minimum=1, maximum=65535, metavar="PORT")
_INSTANCES_LIMIT: Final = 1_000_000
_CPU: Final = Quantity(what="cores", minimum="1m", example="500m")
_MEMORY: Final = Quantity(what="memory", minimum="16Mi", example="256Mi")
_RESOURCES: Final = "as KServe's agent has, else as the webhook is told"

_TABLE: Final = (
    _section(
        "max_batch_size",
        "max-batchsize",
        "maxBatchSize",
        Whole(unit="instances", minimum=1, maximum=_INSTANCES_LIMIT),
        "how many instances make a batch leave; a trigger, not a cap",
    ),
    _section(
        "max_latency_ms",
        "max-latency",
        "maxLatency",
        Whole(unit="milliseconds", minimum=1, maximum=3_600_000, metavar="MS"),
        "how long a request may wait for others, from the arrival of its last byte",
    ),
    _setting(
        "timeout_s",
        "timeout",
        Number(unit="seconds", minimum=0.001, maximum=86_400, metavar="S"),
        "how long a batched request may take before it is answered 504; must exceed the latency",
    ),
    _setting(
        "strategy",
        "strategy",
        Choice(get_args(Strategy)),
        "how the moment to cut a batch is chosen",
    ),
    _setting(
        "max_concurrency",
        "max-concurrency",
        Whole(unit="batches", minimum=1, maximum=10_000),
        "how many batches may be in flight per path",
    ),
    _setting(
        "hard_max_batch_size",
        "hard-max-batch-size",
        Whole(unit="instances", minimum=0, maximum=_INSTANCES_LIMIT),
        "how many instances no batch may exceed; 0 for no bound, else at least the batch size",
    ),
    _setting(
        "max_queue_size",
        "max-queue-size",
        Whole(unit="requests", minimum=1, maximum=10_000_000),
        "how many requests may wait for a batch before more are answered 429",
    ),
    _setting(
        "max_queue_bytes",
        "max-queue-bytes",
        Size(minimum=KIB, maximum=TIB),
        "how much memory requests and their answers may hold before more are answered 429",
        "or a quarter of the container's memory limit where there is one",
    ),
    _setting(
        "max_body_bytes",
        "max-body-bytes",
        Size(minimum=KIB, maximum=TIB),
        "how long the body of one request to be batched may be before it is answered 413",
        "or --max-queue-bytes where that is less",
    ),
    _setting(
        "isolate_failures",
        "isolate-failures",
        Switch(),
        "whether a batch that failed is halved until the request at fault stands alone",
    ),
    _setting(
        "batch_key_headers",
        "batch-key-headers",
        HeaderNames(),
        "headers whose values requests must agree on to share a batch",
        "none",
    ),
    _setting(
        "row_signature",
        "row-signature",
        Choice(get_args(RowSignature)),
        "what rows must agree on to share a batch: shape, or type for models that pad",
    ),
    _setting(
        "drain_quiet_s",
        "drain-quiet",
        Number(unit="seconds", minimum=0, maximum=3600, metavar="S"),
        "how long no request may have come before a drain stops listening",
        "or --drain-timeout where that is less",
    ),
    _setting(
        "drain_timeout_s",
        "drain-timeout",
        Number(unit="seconds", minimum=0, maximum=3600, metavar="S"),
        "how long a drain keeps listening at most",
    ),
    _process("enable_batcher", Switch(), "whether to batch; without it all is only forwarded"),
    _process("component_host", Host(), "the model server's host"),
    _process("component_port", _PORT, "the model server's port"),
    _process("host", Host(), "the address to listen on", "every address family"),
    _process("port", _PORT, "the port for requests"),
    _process("admin_port", _PORT, "the port for liveness, readiness, metrics, settings and drain"),
    _process("log_level", Choice(get_args(LogLevel)), "the least severity that is logged"),
    _process(
        "log_format", Choice(get_args(LogFormat)), "lines for people, or one JSON object a line"
    ),
    _process(
        "settings_file",
        Text(metavar="FILE", expected="the name of a file"),
        "a JSON object of the flags below, without dashes, to texts; wins over them, also when it "
        "changes while this runs",
        "none",
    ),
    _pod("inject", Switch(), "whether the sidecar may be put into the pods of this service"),
    _pod("cpu_request", _CPU, "the sidecar's CPU request", _RESOURCES),
    _pod("cpu_limit", _CPU, "the sidecar's CPU limit", _RESOURCES),
    _pod("memory_request", _MEMORY, "the sidecar's memory request", _RESOURCES),
    _pod("memory_limit", _MEMORY, "the sidecar's memory limit", _RESOURCES),
    _pod("restarted_at", Text(), "any new text here rolls the pods of this service", "none"),
    _pod(
        "settings_config_map",
        Text(),
        "the ConfigMap that settings reach running pods by",
        writer="operator",
    ),
    _pod("decision", Text(), "what was done to a pod and why", writer="webhook"),
)

FIELDS: Final = {field.name: field for field in _TABLE}
"""Every field by its attribute's name, in the order in which they are shown."""

ORDERS: Final = (
    Order(low="max_latency_ms", high="timeout_s", strict=True, scale=1000),
    Order(low="max_batch_size", high="hard_max_batch_size", zero_is_none=True),
    Order(low="max_body_bytes", high="max_queue_bytes", low_gives_way=True),
    Order(low="drain_quiet_s", high="drain_timeout_s", low_gives_way=True),
    Order(low="cpu_request", high="cpu_limit"),
    Order(low="memory_request", high="memory_limit"),
)
"""What must hold between fields."""
