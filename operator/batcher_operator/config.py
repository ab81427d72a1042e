"""The operator's configuration, from its command line and its environment."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from batcher_contract import FIELDS, __version__
from batcher_contract.commandline import Parser, add_log_flags, reads
from batcher_contract.kinds import Number, Whole
from batcher_contract.quantities import parse_quantity
from batcher_contract.settings import Mode
from batcher_operator.standalone.storage import Initializer

__all__ = ["NAMESPACE_ENV", "OperatorConfig", "parse_args"]

NAMESPACE_ENV: Final = "POD_NAMESPACE"
"""Environment variable that holds the pod's own namespace."""

_PROGRAM: Final = "batcher-operator"
_PORT: Final = Whole(unit="", minimum=1, maximum=65535)
_LIFETIME: Final = Number(unit="seconds", minimum=1, maximum=10 * 366 * 86400)
_OVERLAP: Final = Number(unit="seconds", minimum=0, maximum=30 * 86400)
_INTERVAL: Final = Number(unit="seconds", minimum=0.05, maximum=3600)
_PARTS: Final = ("requests", "limits")
_EXAMPLE: Final = '{"limits": {"memory": "4Gi"}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """All that the operator's process is told."""

    namespace: str
    """Where the operator, the webhook and their Secrets are."""

    webhook_service: str
    """The webhook's Service, which its certificate is for."""

    ca_secret: str
    """The Secret that holds the certificate authority."""

    tls_secret: str
    """The Secret that holds the webhook's serving certificate."""

    mode: Mode = "kserve"
    """Whether KServe runs InferenceServices, or the operator does."""

    initializer: Initializer = field(default_factory=Initializer)
    """Fetches models in standalone mode."""

    cluster_runtimes: Path | None = None
    """ClusterServingRuntimes of standalone mode; see `default_runtimes.read_runtimes`."""

    sidecar_memory_limit: str = "1Gi"
    """What the webhook gives sidecars where no annotation says otherwise."""

    manages_certificates: bool = True
    """Whether certificates are the operator's; otherwise somebody else fills them in."""

    ca_lifetime_s: float = 365 * 86400.0
    """How long a certificate authority lives; it is renewed at two thirds of that."""

    certificate_lifetime_s: float = 30 * 86400.0
    """How long a serving certificate lives; it is renewed at two thirds of that."""

    certificate_overlap_s: float = 600.0
    """How long a new authority is trusted before it signs, and an old one after it did."""

    certificate_poll_s: float = 30.0
    """How often Secrets and webhook configurations are looked at."""

    sidecar_image: str = ""
    """The image that is injected now; empty where outdated ones are not to be told."""

    watch_check_s: float = 60.0
    """How often what is there is compared with what watch events brought."""

    host: str | None = None
    health_port: int = 9084
    kubeconfig: Path | None = None
    """None: as a pod of the cluster, else the KUBECONFIG of the environment."""

    log_level: str = "info"
    log_format: str = "text"


def parse_args(argv: Sequence[str], env: Mapping[str, str]) -> OperatorConfig:
    """The configuration that flags (without the program's name) and environment come to.

    Raises SystemExit as command lines do: 0 after `--help`, 2 after a sentence that names a fault.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    namespace = given.namespace or env.get(NAMESPACE_ENV, "")
    if not namespace:
        parser.error(f"--namespace is missing: give it, or set {NAMESPACE_ENV}")
    if given.certificate_lifetime > given.ca_lifetime:
        parser.error(
            f"--certificate-lifetime {given.certificate_lifetime:g} exceeds --ca-lifetime "
            f"{given.ca_lifetime:g}: lower it"
        )
    if given.certificate_overlap > given.certificate_lifetime / 3:
        parser.error(
            f"--certificate-overlap {given.certificate_overlap:g} exceeds a third of "
            f"--certificate-lifetime {given.certificate_lifetime:g}: lower it"
        )
    return OperatorConfig(
        namespace=namespace,
        mode=given.mode,
        initializer=Initializer(
            image=given.storage_initializer_image,
            resources=given.storage_initializer_resources,
        ),
        cluster_runtimes=given.cluster_runtimes,
        sidecar_memory_limit=given.sidecar_memory_limit,
        webhook_service=given.webhook_service,
        ca_secret=given.ca_secret,
        tls_secret=given.tls_secret,
        manages_certificates=given.certificates == "managed",
        ca_lifetime_s=given.ca_lifetime,
        certificate_lifetime_s=given.certificate_lifetime,
        certificate_overlap_s=given.certificate_overlap,
        certificate_poll_s=given.certificate_poll,
        sidecar_image=given.sidecar_image,
        watch_check_s=given.watch_check,
        host=given.host,
        health_port=given.health_port,
        kubeconfig=given.kubeconfig,
        log_level=given.log_level,
        log_format=given.log_format,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=_PROGRAM,
        allow_abbrev=False,
        description="Keeps the certificates of batcher-webhook, and tells by Events what became "
        "of batching in InferenceServices.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{_PROGRAM} {__version__}")
    add("--namespace", metavar="NAME", default=None,
        help=f"namespace of operator and webhook; without it that of {NAMESPACE_ENV}")  # fmt: skip
    for flag, default, meaning in (
        ("--webhook-service", "inference-batcher-webhook", "Service of the webhook"),
        ("--ca-secret", "inference-batcher-ca", "Secret for the certificate authority"),
        ("--tls-secret", "inference-batcher-webhook-tls", "Secret for the serving certificate"),
    ):
        add(flag, metavar="NAME", default=default, help=meaning)
    add("--mode", choices=get_args(Mode), default="kserve",
        help="who runs InferenceServices: KServe, or (standalone) this operator")  # fmt: skip
    fetching = Initializer()
    add("--storage-initializer-image", metavar="IMAGE", default=fetching.image,
        help="image that fetches models in standalone mode")  # fmt: skip
    add("--storage-initializer-resources", type=_resources, metavar="JSON",
        default=json.dumps(fetching.resources),
        help="requests and limits of the containers that fetch models")  # fmt: skip
    add("--cluster-runtimes", type=Path, metavar="FILE", default=None,
        help="YAML of the ClusterServingRuntimes to have in standalone mode; one without spec is "
        "deleted, if it was made so")  # fmt: skip
    add("--sidecar-memory-limit", type=reads(FIELDS["memory_limit"].kind), metavar="QUANTITY",
        default="1Gi", help="the webhook's flag of that name, in standalone mode")  # fmt: skip
    add("--certificates", choices=("managed", "external"), default="managed",
        help="whether the operator makes them, or somebody else does, as cert-manager")  # fmt: skip
    for flag, kind, seconds, meaning in (
        ("--ca-lifetime", _LIFETIME, 365 * 86400.0, "seconds that an authority lives"),
        ("--certificate-lifetime", _LIFETIME, 30 * 86400.0,
         "seconds that a serving certificate lives; renewed at two thirds, as is an authority"),
        ("--certificate-overlap", _OVERLAP, 600.0,
         "seconds that a new authority is trusted before it signs, and an old one afterwards"),
        ("--certificate-poll", _INTERVAL, 30.0,
         "seconds between looks at the Secrets and webhook configurations"),
        ("--watch-check", _INTERVAL, 60.0,
         "seconds between comparisons of what is with what watch events brought"),
    ):  # fmt: skip
        add(flag, type=reads(kind), metavar="S", default=seconds, help=meaning)
    add("--sidecar-image", metavar="IMAGE", default="",
        help="image that the webhook injects, to tell outdated sidecars by")  # fmt: skip
    add("--host", metavar="HOST", default=None,
        help="address to listen on; without it every address family")  # fmt: skip
    add("--health-port", type=reads(_PORT), metavar="PORT", default=9084,
        help="plain HTTP port for /livez, /readyz and /metrics")  # fmt: skip
    add("--kubeconfig", type=Path, metavar="FILE", default=None,
        help="how to reach the cluster; without it as a pod, else by KUBECONFIG")  # fmt: skip
    add_log_flags(parser)
    return parser


def _resources(text: str) -> dict[str, Any]:
    """Read what a container requests and is limited to.

    Raises argparse.ArgumentTypeError, which argparse tells with the flag's name.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error}): give an object") from None
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is no object of objects: give {_EXAMPLE}")
    for part, quantities in given.items():
        if part not in _PARTS:
            raise argparse.ArgumentTypeError(f"{part!r} is not known: give `requests` and `limits`")
        for name, quantity in quantities.items():
            number = parse_quantity(str(quantity))
            if number is None or number < 0:
                raise argparse.ArgumentTypeError(
                    f"{part}.{name} {quantity!r} is no quantity: give one such as 500m or 1Gi"
                )
    return given
