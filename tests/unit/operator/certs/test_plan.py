"""Each rule alone, in pictures of the world that were taken at one moment."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from batcher_operator.certs.plan import (
    Lifetimes,
    NewAuthority,
    NewCertificate,
    Plan,
    SetBundle,
    SetTrusted,
    plan,
)
from batcher_operator.certs.scene import MAX_TRUSTED, Configuration, Kind, Names, Observed
from batcher_operator.certs.x509 import Pair, make_authority, make_serving

NOW_S = 1_800_000_000.0
NAMES = Names(namespace="serving", service="hook", ca_secret="ib-ca", tls_secret="ib-tls")
LIFETIMES = Lifetimes(authority_s=9_000, certificate_s=900, overlap_s=60)
AUTHORITY = make_authority(NOW_S, 9_000)
OLD = make_authority(NOW_S - 5_000, 9_000)
EXPIRED = make_authority(NOW_S - 10_000, 9_000)
FUTURE = make_authority(NOW_S + 10_000, 9_000)
DUE = make_authority(NOW_S - 6_000, 9_000)
LEAF = make_serving(AUTHORITY, NAMES.dns, NOW_S, 900)
OLD_LEAF = make_serving(OLD, NAMES.dns, NOW_S - 500, 900)


def authority_secret(signer: Pair, *older: Pair) -> dict[str, bytes]:
    pem = b"".join(each.certificate.pem for each in (signer, *older))
    return {"ca.crt": pem, "ca.key": signer.key_pem}


def serving_secret(leaf: Pair, issuer: Pair) -> dict[str, bytes]:
    return {"tls.crt": leaf.certificate.pem, "tls.key": leaf.key_pem,
            "ca.crt": issuer.certificate.pem}  # fmt: skip


def trusting(*authorities: Pair, since: str = "") -> dict[Kind, Configuration]:
    bundle = b"".join(each.certificate.pem for each in authorities)
    return {kind: Configuration(bundles=(bundle, bundle), since=since) for kind in Kind}


SETTLED = Observed(
    authority=authority_secret(AUTHORITY),
    serving=serving_secret(LEAF, AUTHORITY),
    configurations=trusting(AUTHORITY),
)
BOTH = Observed(
    authority=authority_secret(AUTHORITY, OLD),
    serving=serving_secret(OLD_LEAF, OLD),
    configurations=trusting(AUTHORITY, OLD),
)


def planned(observed: Observed, after_s: float = 0, lifetimes: Lifetimes = LIFETIMES) -> Plan:
    return plan(observed, NOW_S + after_s, lifetimes, NAMES)


def test_settled() -> None:
    later = planned(SETTLED, 599)
    assert (later.step, later.fault, later.waiting) == (None, "", "")
    assert later.authority == AUTHORITY.certificate
    assert later.certificate == LEAF.certificate
    assert later.look_again_at_s == pytest.approx(NOW_S + 600)


def test_a_certificate_is_renewed_at_two_thirds_of_its_life() -> None:
    step = planned(SETTLED, 600).step
    assert isinstance(step, NewCertificate)
    assert step.signer == AUTHORITY
    assert "two thirds" in step.why


def test_an_authority_is_replaced_at_two_thirds_of_its_life() -> None:
    leaf = make_serving(DUE, NAMES.dns, NOW_S, 900)
    observed = Observed(
        authority=authority_secret(DUE),
        serving=serving_secret(leaf, DUE),
        configurations=trusting(DUE),
    )
    assert planned(observed, -1).step is None
    step = planned(observed).step
    assert isinstance(step, NewAuthority)
    assert step.older == (DUE.certificate,)
    assert "two thirds" in step.why


@pytest.mark.parametrize(
    ("authority", "older", "why"),
    [
        ({}, (), "is empty"),
        ({"ca.crt": b"", "ca.key": b""}, (), "is empty"),
        ({"ca.crt": b"x", "ca.key": b"y"}, (), "no certificate that can be read"),
        (authority_secret(LEAF), (), "not an authority's"),
        (authority_secret(EXPIRED), (), "not valid now"),
        (authority_secret(FUTURE, OLD), (FUTURE, OLD), "not valid now"),
        ({**authority_secret(OLD), "ca.key": b""}, (OLD,), "no key"),
        ({**authority_secret(AUTHORITY, OLD), "ca.key": OLD.key_pem}, (AUTHORITY, OLD), "another"),
    ],
)
def test_an_authority_that_cannot_be_used_is_replaced(
    authority: Mapping[str, bytes], older: tuple[Pair, ...], why: str
) -> None:
    """What it was trusted for stays trusted, as long as it is valid or will be."""
    found = planned(Observed(authority=authority, serving={}, configurations={}))
    assert isinstance(found.step, NewAuthority)
    assert found.step.older == tuple(each.certificate for each in older)
    assert why in found.step.why
    assert why in found.fault
    assert found.fault.startswith("the Secret serving/ib-ca ")


def test_the_authority_of_what_is_served_is_known_from_beside_it() -> None:
    step = planned(replace(SETTLED, authority={})).step
    assert isinstance(step, NewAuthority)
    assert step.older == (AUTHORITY.certificate,)


def test_an_authority_beside_a_certificate_of_another_is_nothing() -> None:
    step = planned(
        Observed(authority={}, serving=serving_secret(LEAF, OLD), configurations={})
    ).step
    assert isinstance(step, NewAuthority)
    assert step.older == ()


@pytest.mark.parametrize("bundles", [(b"",), (OLD.certificate.pem,), (b"x",), (b"", b"y")])
@pytest.mark.parametrize("kind", Kind)
def test_bundles_are_repaired(kind: Kind, bundles: tuple[bytes, ...]) -> None:
    """Whoever set them back."""
    configurations = {**trusting(AUTHORITY), kind: Configuration(bundles=bundles)}
    found = planned(replace(SETTLED, configurations=configurations))
    assert isinstance(found.step, SetBundle)
    assert (found.step.kind, found.step.bundle) == (kind, AUTHORITY.certificate.pem)
    assert f"{kind} inferenceservices.inference-batcher.io does not trust" in found.fault


def test_a_configuration_that_is_not_there_is_left_alone() -> None:
    found = planned(replace(SETTLED, configurations={}))
    assert found.step is None
    assert "does not exist: run helm upgrade" in found.fault
    empty = {**trusting(AUTHORITY), Kind.VALIDATING: Configuration(bundles=())}
    found = planned(replace(SETTLED, configurations=empty))
    assert found.step is None
    assert "holds no webhook" in found.fault


@pytest.mark.parametrize(
    ("observed", "secret"),
    [
        (replace(SETTLED, authority=None), "ib-ca"),
        (replace(SETTLED, serving=None), "ib-tls"),
    ],
)
def test_a_secret_that_is_not_there_is_not_written(observed: Observed, secret: str) -> None:
    found = planned(observed)
    assert found.step is None
    assert found.fault == (
        f"the Secret serving/{secret} does not exist: run helm upgrade, which creates it"
    )


@pytest.mark.parametrize(
    ("serving", "why"),
    [
        ({}, "is empty"),
        ({"tls.crt": b"x", "tls.key": b"y"}, "holds no certificate"),
        (serving_secret(make_serving(EXPIRED, NAMES.dns, NOW_S - 2000, 900), EXPIRED), "not valid"),
        (serving_secret(make_serving(AUTHORITY, ["a.b.svc"], NOW_S, 900), AUTHORITY), "is not for"),
        ({**serving_secret(LEAF, AUTHORITY), "tls.key": OLD_LEAF.key_pem}, "another certificate"),
        ({**serving_secret(OLD_LEAF, OLD), "ca.crt": b""}, "authority is not known"),
    ],
)
def test_what_cannot_be_served_is_replaced_at_once(serving: dict[str, bytes], why: str) -> None:
    observed = replace(SETTLED, serving=serving)
    found = planned(observed)
    assert isinstance(found.step, NewCertificate)
    assert why in found.step.why
    assert why in found.fault
    # But API servers are told first.
    told_first = planned(replace(observed, configurations=trusting(OLD)))
    assert isinstance(told_first.step, SetBundle)


@pytest.mark.parametrize(
    ("serving", "why"),
    [
        (serving_secret(make_serving(AUTHORITY, NAMES.dns[:1], NOW_S, 900), AUTHORITY), "names"),
        (serving_secret(make_serving(AUTHORITY, (*NAMES.dns, "x"), NOW_S, 900), AUTHORITY),
         "names"),
        (serving_secret(LEAF, OLD), "ca.crt beside it"),
    ],
)  # fmt: skip
def test_what_could_be_served_better_is_replaced(serving: dict[str, bytes], why: str) -> None:
    found = planned(replace(SETTLED, serving=serving))
    assert isinstance(found.step, NewCertificate)
    assert why in found.step.why
    assert found.fault == ""


def test_a_new_authority_signs_when_it_was_trusted_for_the_overlap() -> None:
    step = planned(replace(BOTH, configurations=trusting(OLD))).step
    assert isinstance(step, SetBundle)
    assert step.bundle == AUTHORITY.certificate.pem + OLD.certificate.pem
    observed = replace(BOTH, configurations=trusting(AUTHORITY, OLD, since=step.since))
    waiting = planned(observed, 59.9)
    assert (waiting.step, waiting.fault) == (None, "")
    assert "waits" in waiting.waiting
    assert waiting.look_again_at_s == pytest.approx(NOW_S + 60)
    assert isinstance(planned(observed, 60).step, NewCertificate)


def test_the_overlap_counts_from_the_last_bundle() -> None:
    first = planned(replace(BOTH, configurations=trusting(OLD))).step
    assert isinstance(first, SetBundle)
    half = trusting(AUTHORITY, OLD, since=first.since)
    half[Kind.VALIDATING] = trusting(OLD)[Kind.VALIDATING]
    second = planned(replace(BOTH, configurations=half), 40).step
    assert isinstance(second, SetBundle)
    assert second.kind == Kind.VALIDATING
    bundle = (second.bundle, second.bundle)
    whole = {**half, Kind.VALIDATING: Configuration(bundles=bundle, since=second.since)}
    assert planned(replace(BOTH, configurations=whole), 99).step is None
    assert isinstance(planned(replace(BOTH, configurations=whole), 100).step, NewCertificate)


@pytest.mark.parametrize(
    "since", ["", "x", "2020-01-01T00:00:00+00:00 of another", "2999-01-01T00:00:00+00:00 {mark}"]
)
def test_an_annotation_of_somebody_else_counts_for_nothing(since: str) -> None:
    """Then it is the making of the authority that counts."""
    step = planned(replace(BOTH, configurations=trusting(OLD))).step
    assert isinstance(step, SetBundle)
    text = since.format(mark=step.since.split()[1])
    observed = replace(BOTH, configurations=trusting(AUTHORITY, OLD, since=text))
    assert planned(observed, 59).step is None
    assert isinstance(planned(observed, 60).step, NewCertificate)


def test_a_bundle_that_could_not_be_written_holds_up_nothing_else() -> None:
    refused = {
        **trusting(AUTHORITY, OLD),
        Kind.MUTATING: Configuration(bundles=(OLD.certificate.pem,), refused=True),
    }
    assert planned(replace(BOTH, configurations=refused), 100).step is None
    # What comes from the signer is renewed, and what cannot be served is replaced.
    refused = {kind: replace(each, refused=True) for kind, each in trusting(OLD).items()}
    assert isinstance(planned(replace(SETTLED, configurations=refused), 600).step, NewCertificate)
    broken = replace(SETTLED, serving={}, configurations=refused)
    assert isinstance(planned(broken).step, NewCertificate)


def test_an_old_authority_is_trusted_until_webhooks_have_the_new_certificate() -> None:
    observed = Observed(
        authority=authority_secret(AUTHORITY, OLD),
        serving=serving_secret(LEAF, AUTHORITY),
        configurations=trusting(AUTHORITY, OLD),
    )
    still = planned(observed, 59)
    assert (still.step, still.fault) == (None, "")
    assert "until no webhook needs it" in still.waiting
    assert still.look_again_at_s == NOW_S + 60
    step = planned(observed, 60).step
    assert isinstance(step, SetTrusted)
    assert step.trusted == (AUTHORITY.certificate,)
    written = replace(observed, authority=authority_secret(AUTHORITY))
    follows = planned(written, 60).step
    assert isinstance(follows, SetBundle)
    assert follows.bundle == AUTHORITY.certificate.pem


def test_an_expired_authority_is_trusted_no_longer() -> None:
    observed = replace(BOTH, authority=authority_secret(AUTHORITY, EXPIRED, OLD))
    step = planned(observed).step
    assert isinstance(step, SetTrusted)
    assert step.trusted == (AUTHORITY.certificate, OLD.certificate)


def test_the_number_of_authorities_is_bounded() -> None:
    """And that of the served certificate is not the one to go."""
    many = [make_authority(NOW_S, 9_000) for _ in range(MAX_TRUSTED + 3)]
    observed = replace(BOTH, authority=authority_secret(AUTHORITY, *many, OLD))
    step = planned(observed).step
    assert isinstance(step, SetTrusted)
    assert step.trusted[:2] == (AUTHORITY.certificate, OLD.certificate)
    assert len(step.trusted) == MAX_TRUSTED
    spoilt = replace(observed, authority={**(observed.authority or {}), "ca.key": b""})
    step = planned(spoilt).step
    assert isinstance(step, NewAuthority)
    assert step.older[0] == OLD.certificate
    assert len(step.older) == MAX_TRUSTED - 1


def test_a_certificate_is_renewed_before_an_authority_that_will_have_to_wait() -> None:
    signer = make_authority(NOW_S - 7_000, 9_000)
    leaf = make_serving(signer, NAMES.dns, NOW_S - 800, 900)
    observed = Observed(
        authority=authority_secret(signer),
        serving=serving_secret(leaf, signer),
        configurations=trusting(signer),
    )
    assert isinstance(planned(observed).step, NewCertificate)
    # Unless it would not last longer anyway.
    last = make_serving(signer, NAMES.dns, NOW_S - 800, 90_000)
    ending = replace(observed, serving=serving_secret(last, signer))
    assert isinstance(planned(ending, 1_900).step, NewAuthority)


@pytest.mark.parametrize(
    "wrong", [{"authority_s": 0}, {"certificate_s": 0.5}, {"overlap_s": -1}, {"overlap_s": "nan"}]
)
def test_lifetimes_that_cannot_be(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=r"cannot|has to"):
        Lifetimes(**{name: float(value) for name, value in wrong.items()})
