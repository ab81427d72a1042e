"""Certificates on the API server: from whatever is there to what should be."""

import asyncio
import base64
import logging
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher_operator.authority import Authority
from batcher_operator.certs.plan import Lifetimes
from batcher_operator.certs.scene import Kind
from batcher_operator.certs.x509 import make_authority, make_serving, read_certificates, verifies
from batcher_operator.kube import Refused
from tests.unit.operator.fake_store import (
    CA_PATH,
    CONFIGURATIONS,
    MUTATING_PATH,
    NAMES,
    START_S,
    TLS_PATH,
    VALIDATING_PATH,
    Clock,
    FakeStore,
    configuration_of,
    finish,
    installed,
    read_leaf,
    secret_of,
)
from tests.unit.operator.tls import handshake

LIFETIMES = Lifetimes(authority_s=9_000, certificate_s=900, overlap_s=60)


def authority_of(store: FakeStore, lifetimes: Lifetimes = LIFETIMES) -> Authority:
    return Authority(store, NAMES, lifetimes, clock=store.clock)


def test_the_beginning() -> None:
    store = installed(Clock())
    standing = finish(authority_of(store).converge())
    assert store.writes == [CA_PATH, *CONFIGURATIONS, TLS_PATH]
    assert standing.converged
    assert standing.waiting == ""
    leaf = read_leaf(store.objects[TLS_PATH]).certificate
    (authority,) = read_certificates(store.data(CA_PATH)["ca.crt"])
    assert standing.certificate_serial == leaf.serial
    assert standing.certificate_not_after_s == leaf.not_after_s == START_S + 900
    assert standing.authority_serial == authority.serial
    assert standing.authority_not_after_s == authority.not_after_s == START_S + 9_000
    assert standing.look_again_s == 600


def test_what_others_wrote_stays() -> None:
    store = installed(Clock())
    store.objects[CA_PATH]["data"] = {"theirs": base64.b64encode(b"x").decode()}
    store.objects[MUTATING_PATH]["webhooks"][0]["failurePolicy"] = "Ignore"
    finish(authority_of(store).converge())
    assert store.data(CA_PATH)["theirs"] == b"x"
    for path in (CA_PATH, TLS_PATH):
        assert store.objects[path]["metadata"]["labels"] == {"of": "chart"}
        assert store.objects[path]["type"] == "Opaque"
    configuration = store.objects[MUTATING_PATH]
    assert configuration["metadata"]["annotations"]["meta.helm.sh/release-name"] == "ib"
    assert configuration["webhooks"][0]["failurePolicy"] == "Ignore"
    assert configuration["webhooks"][0]["clientConfig"]["service"]["name"] == NAMES.service


def test_configurations_that_come_later() -> None:
    store = installed(Clock())
    theirs = store.objects[VALIDATING_PATH]
    store.delete(VALIDATING_PATH)
    authority = authority_of(store)
    finish(authority.converge())
    assert authority.why_not_ready() == (
        "the ValidatingWebhookConfiguration inferenceservices.inference-batcher.io does not exist:"
        " run helm upgrade, which creates it"
    )
    store.force(VALIDATING_PATH, theirs)
    finish(authority.converge())
    assert authority.why_not_ready() == ""
    assert store.bundles(VALIDATING_PATH) == store.bundles(MUTATING_PATH)


@pytest.mark.parametrize("path", [CA_PATH, TLS_PATH])
def test_a_secret_that_was_deleted_is_not_created(path: str) -> None:
    """It is the chart's to create: the operator may not."""
    store = installed(Clock())
    authority = authority_of(store)
    finish(authority.converge())
    store.delete(path)
    store.clock.now_s += 10_000
    finish(authority.converge())
    assert path not in store.objects
    assert path.rsplit("/", 1)[1] in authority.why_not_ready()
    assert "run helm upgrade" in authority.why_not_ready()


def test_time_makes_a_standing_untrue() -> None:
    store = installed(Clock())
    authority = authority_of(store)
    assert "not been looked at yet" in authority.why_not_ready()
    finish(authority.converge())
    store.clock.now_s += 899
    assert authority.why_not_ready() == ""
    store.clock.now_s += 1
    assert "ib-webhook-tls holds a certificate that has expired" in authority.why_not_ready()


def test_a_configuration_that_cannot_be_written() -> None:
    """The other one is, and certificates are made nevertheless."""
    store = installed(Clock())
    store.refused = {MUTATING_PATH}
    authority = authority_of(store)
    standing = finish(authority.converge())
    assert store.writes == [CA_PATH, VALIDATING_PATH, TLS_PATH]
    assert not standing.converged
    assert "cannot write the MutatingWebhookConfiguration" in standing.trouble
    assert "403" in authority.why_not_ready()
    store.refused = set()
    assert finish(authority.converge()).converged


def test_a_secret_that_cannot_be_written() -> None:
    store = installed(Clock())
    store.refused = {CA_PATH}
    with pytest.raises(OSError, match=r"cannot write the Secret serving/ib-ca: .*403"):
        finish(authority_of(store).converge())


def test_somebody_who_never_stops_writing() -> None:
    store = installed(Clock())

    async def disturb(call: str) -> None:
        if call == f"put {CA_PATH}":
            store.force(CA_PATH, store.objects[CA_PATH])

    store.before_call = disturb
    standing = finish(authority_of(store).converge())
    assert "keeps on changing" in standing.trouble
    assert not standing.converged
    assert store.reads < 100


def test_what_is_written_is_counted() -> None:
    store = installed(Clock())
    kinds: list[str] = []
    authority = Authority(store, NAMES, LIFETIMES, clock=store.clock, on_write=kinds.append)
    finish(authority.converge())
    assert kinds == ["Secret", *Kind, "Secret"]


def test_a_handshake_with_what_was_written() -> None:
    store = installed(Clock(time.time()))
    finish(authority_of(store).converge())
    serving = store.data(TLS_PATH)
    for path in CONFIGURATIONS:
        for bundle in store.bundles(path):
            shown = handshake(serving["tls.crt"], serving["tls.key"], bundle, NAMES.dns[0])
            assert shown == read_leaf(store.objects[TLS_PATH]).certificate


class Enough(Exception):
    """Ends what would go on for ever."""


class Sleeper:
    """Lets time pass at once, so many times."""

    def __init__(self, clock: Clock, times: int) -> None:
        self._clock = clock
        self._times = times
        self.waits: list[float] = []

    async def __call__(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self._clock.now_s += wait_s
        if len(self.waits) == self._times:
            raise Enough


def keep(authority: Authority, sleeper: Sleeper, poll_s: float = 30) -> None:
    with pytest.raises(Enough):
        asyncio.run(authority.keep(poll_s, sleep=sleeper))


def test_looking_again_when_something_is_due() -> None:
    store = installed(Clock())
    sleeper = Sleeper(store.clock, 21)
    keep(authority_of(store), sleeper, poll_s=250)
    assert sleeper.waits[:3] == [250, 250, 100]  # the certificate is due after 600 s
    leaves = {secret["data"]["tls.crt"] for _, secret in store.history[TLS_PATH][1:]}
    assert len(leaves) == 7
    assert store.clock.now_s == START_S + 7 * 600


def test_short_lives_are_kept_up() -> None:
    store = installed(Clock())
    lifetimes = Lifetimes(authority_s=9, certificate_s=3, overlap_s=1)
    finish(authority_of(store, lifetimes).converge())
    store = store.copied()
    sleeper = Sleeper(store.clock, 400)
    keep(authority_of(store, lifetimes), sleeper, poll_s=0.2)
    assert all(wait_s <= 0.2 for wait_s in sleeper.waits)
    assert len(store.history[TLS_PATH]) > 25
    assert store.verify(0.3, 0.3) > 50


def test_failures_are_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = installed(Clock())
    authority = authority_of(store)
    finish(authority.converge())

    async def fail(call: str) -> None:
        raise Refused(500, "out of order")

    store.before_call = fail
    sleeper = Sleeper(store.clock, 8)
    with caplog.at_level(logging.INFO):
        keep(authority, sleeper)
    assert sleeper.waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "out of order" in caplog.text
    # What holds does so without the API server.
    assert authority.why_not_ready() == ""
    assert "out of order" in authority.standing.trouble
    store.before_call = installed(Clock()).before_call
    caplog.clear()
    with caplog.at_level(logging.INFO):
        keep(authority, Sleeper(store.clock, 3))
    assert authority.standing.converged
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_an_api_server_that_was_never_reached() -> None:
    store = installed(Clock())
    store.refused = {CA_PATH}
    authority = authority_of(store)
    keep(authority, Sleeper(store.clock, 1))
    assert "cannot write the Secret" in authority.why_not_ready()


SIGNERS = [
    make_authority(START_S + age_s, 9_000)
    for age_s in (-10_000, -8_999.5, -7_000, -50, -1, 2_000, 90_000)
]
LEAVES = [
    make_serving(signer, names, START_S + age_s, 900)
    for signer in (*SIGNERS, make_authority(START_S, 9_000))
    for age_s in (-950, -700, -30, 0)
    for names in (NAMES.dns, NAMES.dns[:1], ["another.serving.svc"])
]
GARBAGE = st.sampled_from([b"", b"x", b"-----BEGIN CERTIFICATE-----\n", b"\xff\x00"])
BUNDLES = st.one_of(
    GARBAGE,
    st.lists(st.sampled_from([*SIGNERS, *LEAVES[:1]]), max_size=12).map(
        lambda pairs: b"".join(pair.certificate.pem for pair in pairs)
    ),
)
KEYS = st.one_of(GARBAGE, st.sampled_from(SIGNERS).map(lambda pair: pair.key_pem))


@st.composite
def authority_data(draw: st.DrawFn) -> dict[str, bytes]:
    if draw(st.booleans()):
        signer = draw(st.sampled_from(SIGNERS))
        return {"ca.crt": signer.certificate.pem + draw(BUNDLES), "ca.key": signer.key_pem}
    return draw(st.dictionaries(st.just("ca.crt"), BUNDLES)) | draw(
        st.dictionaries(st.just("ca.key"), KEYS)
    )


@st.composite
def serving_data(draw: st.DrawFn) -> dict[str, bytes]:
    leaf = draw(st.sampled_from(LEAVES))
    data = {"tls.crt": leaf.certificate.pem, "tls.key": leaf.key_pem, "ca.crt": draw(BUNDLES)}
    spoilt = draw(st.dictionaries(st.sampled_from(sorted(data)), GARBAGE, max_size=2))
    return draw(st.sampled_from([data, data, {**data, **spoilt}, {}]))


@st.composite
def configurations(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    mark = draw(st.sampled_from(SIGNERS)).certificate.fingerprint[:32]
    date = draw(st.sampled_from(["2027-01-15T08:00:00+00:00", "2999-01-01T00:00:00", "x", ""]))
    bundles = draw(st.lists(BUNDLES, min_size=1, max_size=3))
    return configuration_of(kind, *bundles, since=f"{date} {mark}")


@settings(max_examples=150)
@given(
    authority_data=authority_data(),
    serving_data=serving_data(),
    mutating=configurations(Kind.MUTATING),
    validating=configurations(Kind.VALIDATING),
    jumps_s=st.lists(st.sampled_from([-40_000, -4_000, -600, 0, 59, 601, 20_000]), max_size=3),
)
def test_from_whatever_is_there(
    authority_data: dict[str, bytes],
    serving_data: dict[str, bytes],
    mutating: dict[str, Any],
    validating: dict[str, Any],
    jumps_s: list[float],
) -> None:
    """Everything is well after one look, wherever the clock jumps, and settles in the end."""
    store = FakeStore(Clock())
    store.force(CA_PATH, secret_of(NAMES.ca_secret, authority_data))
    store.force(TLS_PATH, secret_of(NAMES.tls_secret, serving_data))
    store.force(MUTATING_PATH, mutating)
    store.force(VALIDATING_PATH, validating)
    authority = authority_of(store)
    for jump_s in (0, *jumps_s):
        store.clock.now_s += jump_s
        store.writes.clear()
        standing = finish(authority.converge())
        assert standing.converged
        assert len(store.writes) <= 7
        assert_verified(store)
        store.writes.clear()
        finish(authority.converge())
        assert store.writes == [], "the same again changes nothing"
    for _ in range(100):
        if not math.isinf(standing.look_again_s):
            store.clock.now_s += min(standing.look_again_s, 300)
        standing = finish(authority.converge())
        assert standing.converged
        if not standing.waiting:
            break
    assert standing.waiting == ""
    (signer,) = read_certificates(store.data(CA_PATH)["ca.crt"])
    assert store.data(TLS_PATH)["ca.crt"] == signer.pem
    assert_verified(store)


def assert_verified(store: FakeStore) -> None:
    leaf = read_leaf(store.objects[TLS_PATH]).certificate
    for path in CONFIGURATIONS:
        for bundle in store.bundles(path):
            roots = read_certificates(bundle)
            assert verifies(leaf, roots, NAMES.dns[0], store.clock.now_s)
            assert bundle == store.data(CA_PATH)["ca.crt"]
