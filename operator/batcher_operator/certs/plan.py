"""What has to be written next, so that the API server always trusts what the webhook serves.

Three kinds of objects are involved, and nothing else holds any state:

- the authority Secret: `ca.crt`, all trusted certificate authorities, the *signer* first; `ca.key`,
  the signer's key;
- the serving Secret, which the webhook's pods mount: `tls.crt`, `tls.key`, and `ca.crt`, the
  authority of `tls.crt`;
- the webhook configurations, whose `caBundle` the API server verifies the webhook with. An
  annotation, written together with `caBundle`, says since when it has held the signer.

The rules, each of which is safe to stop after:

1. A signer that is past two thirds of its life, or that cannot be used, is replaced. Older
   authorities stay trusted, among them always that of the certificate which is served.
2. `caBundle` follows the authority Secret.
3. The certificate is renewed at two thirds of its life. While it comes from another authority than
   the signer, it stays until `caBundle` has held the signer for the overlap, because API servers
   learn of a change late; if it cannot be used anyway, it is replaced at once.
4. When the certificate has come from the signer for the overlap, older authorities are no longer
   trusted. Until then webhooks that learn of a change late may still serve the one before.

The world must be observed in this order: configurations, serving Secret, authority Secret. Then
whoever acts on an old observation of the first two is refused by their resourceVersions, and nobody
takes an authority out of `caBundle` that another operator has just put there.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from batcher_operator.certs.scene import (
    MAX_TRUSTED,
    Configuration,
    Kind,
    Names,
    Observed,
    Scene,
    Served,
    understand,
)
from batcher_operator.certs.x509 import Certificate, Pair, read_certificates

__all__ = [
    "Lifetimes",
    "NewAuthority",
    "NewCertificate",
    "Plan",
    "SetBundle",
    "SetTrusted",
    "Step",
    "bundle_of",
    "plan",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long things last.

    Raises ValueError if one of the lifetimes is less than a second, or the overlap is negative.
    """

    authority_s: float = 365 * 86_400
    certificate_s: float = 30 * 86_400
    """Never longer than what is left of its authority's."""

    overlap_s: float = 600
    """How long API servers and webhooks may take to learn of a change. Where what is served would
    end too soon for that, API servers get half of the time that is left."""

    def __post_init__(self) -> None:
        if not (self.authority_s >= 1 and self.certificate_s >= 1):
            raise ValueError("a certificate has to last for a second at least")
        if not self.overlap_s >= 0:
            raise ValueError("an overlap cannot be negative")


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """Put a new authority into the authority Secret, in front of these."""

    older: tuple[Certificate, ...]
    why: str


@dataclass(frozen=True, slots=True)
class SetTrusted:
    """Write these as `ca.crt` of the authority Secret."""

    trusted: tuple[Certificate, ...]
    why: str


@dataclass(frozen=True, slots=True)
class SetBundle:
    """Write the `caBundle` of all webhooks of a configuration, and its annotation."""

    kind: Kind
    bundle: bytes
    since: str
    why: str


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """Put a new certificate of this signer into the serving Secret."""

    signer: Pair
    why: str


Step = NewAuthority | SetTrusted | SetBundle | NewCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The next write, and how things are before it."""

    step: Step | None
    """None: there is nothing to write now."""

    fault: str
    """Why the API server cannot verify the webhook, or will not be able to; empty if it can."""

    waiting: str
    """What is not finished and goes its way; empty if there is nothing."""

    authority: Certificate | None
    """The signer, if it can be used."""

    certificate: Certificate | None
    """The serving certificate, if it can be read."""

    look_again_at_s: float
    """When something is due; infinite if nothing is foreseen."""


def bundle_of(authorities: tuple[Certificate, ...]) -> bytes:
    """Authorities as the text of `ca.crt` and `caBundle`."""
    return b"".join(each.pem for each in authorities)


def plan(observed: Observed, now_s: float, lifetimes: Lifetimes, names: Names) -> Plan:
    """Say what to write next. Writing it, and asking again, comes to an end after a few steps."""
    scene = understand(observed, now_s, names)
    # One that holds no webhook cannot be written, nor does it matter.
    configurations = {
        kind: configuration
        for kind, configuration in sorted(observed.configurations.items())
        if configuration.bundles
    }
    planner = _Planner(scene, configurations, now_s, lifetimes, names)
    step = planner.step()
    if (isinstance(step, NewAuthority | SetTrusted) and observed.authority is None) or (
        isinstance(step, NewCertificate) and observed.serving is None
    ):
        step = None
    return Plan(
        step=step,
        fault=scene.fault,
        waiting=planner.waiting(),
        authority=scene.signer.certificate if isinstance(scene.signer, Pair) else None,
        certificate=scene.leaf,
        look_again_at_s=min(
            (time_s for time_s in planner.times() if time_s > now_s), default=float("inf")
        ),
    )


class _Planner:
    def __init__(
        self,
        scene: Scene,
        configurations: dict[Kind, Configuration],
        now_s: float,
        lifetimes: Lifetimes,
        names: Names,
    ) -> None:
        self._scene = scene
        self._configurations = configurations
        self._now_s = now_s
        self._lifetimes = lifetimes
        self._names = names

    def step(self) -> Step | None:
        signer, served = self._scene.signer, self._scene.served
        if isinstance(signer, str):
            return NewAuthority(self._scene.older[: MAX_TRUSTED - 1], f"the Secret {signer}")
        authority = signer.certificate
        # No caBundle has to change before what the signer has issued is renewed.
        if (
            isinstance(served, Served)
            and served.issuer == authority
            and (why := self._shortcoming(served))
        ):
            return NewCertificate(signer, why)
        if authority.due_s <= self._now_s:
            older = (authority, *self._scene.older)[: MAX_TRUSTED - 1]
            return NewAuthority(older, "two thirds of the life of the one before are over")
        trusted = (authority, *self._older(authority))
        if self._scene.trusted != bundle_of(trusted):
            return SetTrusted(trusted, "an older one has served its time")
        for kind, configuration in self._configurations.items():
            if not configuration.refused and set(configuration.bundles) != {bundle_of(trusted)}:
                since = self._since_text(configuration, authority)
                return SetBundle(kind, bundle_of(trusted), since, "it did not hold what is trusted")
        if isinstance(served, str):
            return NewCertificate(signer, f"the Secret {served}")
        if served.issuer != authority and self._now_s >= self._switch_s(authority, served):
            return NewCertificate(signer, "its new authority is trusted by now")
        return None

    def _shortcoming(self, served: Served) -> str:
        """Why the signer should renew what it has issued, though it can be served as it is."""
        if served.leaf.dns_names != set(self._names.dns):
            return "its names were not the Service's"
        if self._scene.stored_issuer != served.issuer.pem:
            return "ca.crt beside it was not its authority"
        # If a new signer is due as well, this is done first, because that takes its time. But
        # something has to be won by it.
        signer_stays = served.issuer.due_s > self._now_s
        if served.leaf.due_s <= self._now_s and (
            signer_stays or served.issuer.not_after_s > served.leaf.not_after_s
        ):
            return "two thirds of its life are over"
        return ""

    def _older(self, signer: Certificate) -> tuple[Certificate, ...]:
        """Authorities besides the signer that stay trusted."""
        served = self._scene.served
        if (
            isinstance(served, Served)
            and served.issuer == signer
            and self._settled_s(served) <= self._now_s
        ):
            return ()
        return self._scene.older[: MAX_TRUSTED - 1]

    def _settled_s(self, served: Served) -> float:
        """When no webhook serves an earlier certificate any more."""
        return served.leaf.created_s + self._lifetimes.overlap_s

    def _switch_s(self, signer: Certificate, served: Served) -> float:
        """When the signer may replace a certificate that comes from another authority."""
        if any(configuration.refused for configuration in self._configurations.values()):
            return float("inf")
        since_s = max(
            (self._since_s(each, signer) for each in self._configurations.values()),
            default=signer.created_s,
        )
        left_s = max(0.0, served.leaf.not_after_s - since_s)
        return since_s + min(self._lifetimes.overlap_s, left_s / 2)

    def _since_text(self, configuration: Configuration, signer: Certificate) -> str:
        held = all(signer in read_certificates(bundle) for bundle in configuration.bundles)
        if held and _parse_since(configuration.since, signer) is not None:
            return configuration.since
        date = datetime.fromtimestamp(self._now_s, UTC).isoformat(timespec="milliseconds")
        return f"{date} {_mark(signer)}"

    def _since_s(self, configuration: Configuration, signer: Certificate) -> float:
        """Since when its caBundle has held the signer, as far as that can be known."""
        since_s = _parse_since(configuration.since, signer)
        return signer.created_s if since_s is None or since_s > self._now_s else since_s

    def times(self) -> list[float]:
        """When things change by themselves."""
        signer, served = self._scene.signer, self._scene.served
        times = [each.not_after_s for each in self._scene.older]
        if isinstance(served, Served):
            times += (served.leaf.due_s, served.leaf.not_after_s)
        if isinstance(signer, Pair):
            times.append(signer.certificate.due_s)
            if isinstance(served, Served) and served.issuer != signer.certificate:
                times.append(self._switch_s(signer.certificate, served))
            elif isinstance(served, Served) and self._scene.older:
                times.append(self._settled_s(served))
        return times

    def waiting(self) -> str:
        signer, served = self._scene.signer, self._scene.served
        if isinstance(signer, str) or isinstance(served, str):
            return ""
        if served.issuer != signer.certificate:
            return "a new certificate authority waits until every API server trusts it"
        if self._scene.older:
            return "an old certificate authority is trusted until no webhook needs it any more"
        return ""


def _mark(signer: Certificate) -> str:
    return signer.fingerprint[:32]


def _parse_since(text: str, signer: Certificate) -> float | None:
    date, _, mark = text.partition(" ")
    if mark != _mark(signer):
        return None
    try:
        return datetime.fromisoformat(date).timestamp()
    except (ValueError, OverflowError):
        return None
