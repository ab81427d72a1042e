"""The webhook's configuration, from its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from batcher_contract import FIELDS, __version__
from batcher_contract.commandline import Parser, add_log_flags, reads
from batcher_contract.kinds import Number, Whole
from batcher_contract.quantities import parse_quantity
from batcher_contract.settings import Mode
from batcher_webhook.inject import Sidecar
from batcher_webhook.settle import Resources

__all__ = ["WebhookConfig", "parse_args"]

_PROGRAM: Final = "batcher-webhook"
_PORT: Final = Whole(unit="", minimum=1, maximum=65535)
_POLL: Final = Number(unit="seconds", minimum=0.05, maximum=3600)
_DELAY: Final = Number(unit="seconds", minimum=0, maximum=3600)
_UID: Final = Whole(unit="", minimum=1, maximum=2**31 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """All that the webhook's process is told."""

    sidecar: Sidecar
    mode: Mode = "kserve"
    """Whose InferenceServices are checked: KServe's, or those that our operator runs."""

    certificate: Path
    key: Path
    certificate_poll_s: float = 1.0
    """How often the certificate's files are looked at."""

    host: str | None = None
    """Address that both listeners bind; None for all address families."""

    port: int = 10250
    """HTTPS, for the API server. Private clusters often let it reach this port and 443 only."""

    health_port: int = 9084
    """Plain HTTP: liveness, readiness, metrics."""

    shutdown_delay_s: float = 5.0
    """How long reviews are still taken once the pod is told to end: the news travels slowly."""

    log_level: str = "info"
    log_format: str = "text"


def parse_args(argv: Sequence[str]) -> WebhookConfig:
    """The configuration that flags (without the program's name) come to.

    Raises SystemExit as command lines do: 0 after `--help`, 2 after a sentence that names a fault.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if given.port == given.health_port:
        parser.error(f"--health-port {given.health_port} is also --port: give each its own")
    resources = Resources(
        cpu_request=given.sidecar_cpu_request,
        cpu_limit=given.sidecar_cpu_limit,
        memory_request=given.sidecar_memory_request,
        memory_limit=given.sidecar_memory_limit,
    )
    for name in ("cpu", "memory"):
        request = getattr(resources, f"{name}_request")
        limit = getattr(resources, f"{name}_limit")
        if (parse_quantity(request) or 0) > (parse_quantity(limit) or 0):
            flag = f"--sidecar-{name}-request"
            parser.error(f"{flag} {request} exceeds --sidecar-{name}-limit {limit}: lower it")
    return WebhookConfig(
        sidecar=Sidecar(
            image=given.sidecar_image,
            image_pull_policy=given.sidecar_image_pull_policy,
            image_pull_secrets=tuple(dict.fromkeys(given.sidecar_image_pull_secret)),
            uid=given.sidecar_uid,
            resources=resources,
        ),
        mode=given.mode,
        certificate=given.tls_cert_file,
        key=given.tls_key_file,
        certificate_poll_s=given.tls_poll,
        host=given.host,
        port=given.port,
        health_port=given.health_port,
        shutdown_delay_s=given.shutdown_delay,
        log_level=given.log_level,
        log_format=given.log_format,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=_PROGRAM,
        allow_abbrev=False,
        description="Puts the batching sidecar into pods of KServe, and checks what "
        "InferenceServices say about batching.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    defaults = Resources()
    add("--version", action="version", version=f"{_PROGRAM} {__version__}")
    add("--mode", choices=get_args(Mode), default="kserve",
        help="who runs InferenceServices: KServe, or (standalone) batcher-operator")  # fmt: skip
    add("--tls-cert-file", type=Path, required=True, metavar="FILE",
        help="serving certificate with its chain, PEM")  # fmt: skip
    add("--tls-key-file", type=Path, required=True, metavar="FILE",
        help="its key, PEM, without a password")  # fmt: skip
    add("--tls-poll", type=reads(_POLL), metavar="S", default=1.0,
        help="seconds between looks at these files")  # fmt: skip
    add("--host", metavar="HOST", default=None,
        help="address to listen on; without it every address family")  # fmt: skip
    add("--port", type=reads(_PORT), metavar="PORT", default=10250,
        help="HTTPS port for the API server")  # fmt: skip
    add("--health-port", type=reads(_PORT), metavar="PORT", default=9084,
        help="plain HTTP port for /livez, /readyz and /metrics")  # fmt: skip
    add("--shutdown-delay", type=reads(_DELAY), metavar="S", default=5.0,
        help="seconds to serve on, not ready, when told to end")  # fmt: skip
    add("--sidecar-image", required=True, metavar="IMAGE", type=_image,
        help="image of the sidecar that is injected")  # fmt: skip
    add("--sidecar-image-pull-policy", choices=("Always", "IfNotPresent", "Never"), default=None,
        help="its pull policy; without it Kubernetes' default")  # fmt: skip
    add("--sidecar-image-pull-secret", action="append", default=[], metavar="NAME",
        help="Secret in each service's namespace to pull it with; may be repeated")  # fmt: skip
    add("--sidecar-uid", type=_uid, metavar="UID", default="65532",
        help="user it runs as; an empty text lets the platform choose (OpenShift)")  # fmt: skip
    for name in ("cpu_request", "cpu_limit", "memory_request", "memory_limit"):
        add(f"--sidecar-{name.replace('_', '-')}", type=reads(FIELDS[name].kind),
            metavar="QUANTITY", default=getattr(defaults, name),
            help=f"{FIELDS[name].meaning} where nobody sets one")  # fmt: skip
    add_log_flags(parser)
    return parser


def _uid(text: str) -> int | None:
    uid: int | None = reads(_UID)(text) if text else None
    return uid


def _image(text: str) -> str:
    if not text or any(c.isspace() for c in text):
        raise argparse.ArgumentTypeError("is no image: give its full name")
    return text
