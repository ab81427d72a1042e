"""Certificates and authorities change, and nobody is ever shown one that cannot be verified.

API servers learn of a caBundle some seconds late, webhooks of a certificate half an overlap late.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher_operator.authority import Authority
from batcher_operator.certs.plan import Lifetimes
from batcher_operator.certs.x509 import read_certificates
from tests.unit.operator.fake_store import (
    CA_PATH,
    CONFIGURATIONS,
    NAMES,
    START_S,
    TLS_PATH,
    Clock,
    FakeStore,
    Stopped,
    Turn,
    finish,
    installed,
    read_leaf,
)

OVERLAP_S = 600.0
LIFETIMES = Lifetimes(authority_s=21_600, certificate_s=7_200, overlap_s=OVERLAP_S)
API_SERVER_LATE_S = 10.0
WEBHOOK_LATE_S = OVERLAP_S / 2
POLL_S = 120.0
AUTHORITY_DUE_S = 14_400.0


def operator(store: FakeStore, skew_s: float = 0) -> Authority:
    return Authority(store, NAMES, LIFETIMES, clock=lambda: store.clock.now_s + skew_s)


@functools.cache
def shortly_before(due_s: float) -> FakeStore:
    """An installation that has run until just before this time."""
    store = installed(Clock())
    run_until(store, START_S + due_s - 5, operator(store))
    return store


def run_until(store: FakeStore, end_s: float, authority: Authority) -> None:
    """Look when something is due, at least at every poll."""
    while True:
        standing = finish(authority.converge())
        wait_s = min(max(standing.look_again_s, 0.05), POLL_S)
        if store.clock.now_s + wait_s > end_s:
            store.clock.now_s = end_s
            return
        store.clock.now_s += wait_s


def verify(store: FakeStore) -> int:
    return store.verify(API_SERVER_LATE_S, WEBHOOK_LATE_S)


def test_a_day_of_rotations() -> None:
    store = shortly_before(0).copied()
    finish(operator(store).converge())
    run_until(store, START_S + 86_400, operator(store))
    leaves = [read_leaf(secret).certificate for _, secret in store.history[TLS_PATH]]
    assert len(leaves) == len(set(leaves)) >= 18
    issuers = {leaf.parsed.issuer for leaf in leaves}
    assert len(issuers) in (6, 7)
    # Of each change of authority API servers and webhooks saw what was before and after it.
    assert verify(store) > 2 * len(leaves)
    # Only one authority is trusted between changes, not all that there ever were.
    assert max(len(read_certificates(store.bundles(path)[0])) for path in CONFIGURATIONS) <= 2


def test_nothing_is_written_between_rotations() -> None:
    store = shortly_before(3_600).copied()
    run_until(store, START_S + 4_700, operator(store))
    assert store.writes == []
    assert store.reads > 4


def stop_at(store: FakeStore, number: int, when: str) -> None:
    """Stop whoever writes for that time, before or after the write is done."""
    seen = 0

    async def before_call(call: str) -> None:
        nonlocal seen
        if call.startswith("put "):
            seen += 1
            if seen == number and when == "before":
                raise Stopped

    def after_write(path: str) -> None:
        if seen == number and when == "after":
            raise Stopped

    store.before_call = before_call
    store.after_write = after_write


ROTATION = [TLS_PATH, CA_PATH, *CONFIGURATIONS, TLS_PATH, CA_PATH, *CONFIGURATIONS]
"""Certificate and authority are due at once here: the certificate is renewed first, in case that
the new authority has to wait for long."""


def test_the_writes_of_a_rotation() -> None:
    store = shortly_before(AUTHORITY_DUE_S).copied()
    run_until(store, START_S + AUTHORITY_DUE_S + 3_000, operator(store))
    assert store.writes == ROTATION
    assert_settled(store)


@pytest.mark.parametrize("pause_s", [0.0, 60.0, 900.0])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, len(ROTATION) + 1))
def test_stopped_at_any_write_of_a_rotation(number: int, when: str, pause_s: float) -> None:
    store = shortly_before(AUTHORITY_DUE_S).copied()
    stop_at(store, number, when)
    with pytest.raises(Stopped):
        run_until(store, START_S + AUTHORITY_DUE_S + 5_000, operator(store))
    store.clock.now_s += pause_s
    standing = finish(operator(store).converge())
    assert standing.why_not_ready == ""
    run_until(store, START_S + AUTHORITY_DUE_S + 5_000, operator(store))
    assert verify(store) >= 8
    assert_settled(store)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 5))
def test_stopped_at_any_write_of_the_beginning(number: int, when: str) -> None:
    store = installed(Clock())
    stop_at(store, number, when)
    with pytest.raises(Stopped):
        finish(operator(store).converge())
    standing = finish(operator(store).converge())
    assert standing.converged
    assert_settled(store)
    assert len(store.writes) == 4, "nothing was written twice"


def assert_settled(store: FakeStore) -> None:
    """One authority, trusted by all, has issued what is served."""
    (authority,) = read_certificates(store.data(CA_PATH)["ca.crt"])
    assert store.data(TLS_PATH)["ca.crt"] == authority.pem
    for path in CONFIGURATIONS:
        assert set(store.bundles(path)) == {authority.pem}
    before = len(store.writes)
    assert finish(operator(store).converge()).converged
    assert len(store.writes) == before


@settings(max_examples=25)
@given(
    stops=st.lists(
        st.tuples(st.integers(1, 10), st.sampled_from(["before", "after"]), st.floats(0, 400)),
        max_size=5,
    )
)
def test_stopped_again_and_again(stops: list[tuple[int, str, float]]) -> None:
    store = shortly_before(AUTHORITY_DUE_S).copied()
    end_s = START_S + AUTHORITY_DUE_S + 10_000
    for number, when, pause_s in stops:
        stop_at(store, number, when)
        try:
            run_until(store, end_s, operator(store))
        except Stopped:
            store.clock.now_s += pause_s
    stop_at(store, 0, "never")
    run_until(store, store.clock.now_s + 5_000, operator(store))
    verify(store)


def test_an_authority_secret_that_is_emptied_takes_nothing_with_it() -> None:
    store = shortly_before(3_600).copied()
    emptied = store.objects[CA_PATH]
    del emptied["data"]
    store.force(CA_PATH, emptied)
    assert finish(operator(store).converge()).why_not_ready == ""
    assert len(read_certificates(store.data(CA_PATH)["ca.crt"])) == 2
    run_until(store, START_S + 6_000, operator(store))
    assert verify(store) >= 4
    assert_settled(store)


@pytest.mark.parametrize("annotated", [False, True])
def test_a_bundle_that_is_set_back_starts_the_overlap_anew(annotated: bool) -> None:
    store = shortly_before(AUTHORITY_DUE_S).copied()
    store.clock.now_s = START_S + AUTHORITY_DUE_S + 1
    old = store.objects[CONFIGURATIONS[1]]
    finish(operator(store).converge())
    leaf = store.data(TLS_PATH)["tls.crt"]
    # A minute before the certificate would follow, somebody brings back what was there before.
    store.clock.now_s += OVERLAP_S - 60
    if annotated:
        old = {**old, "metadata": store.objects[CONFIGURATIONS[1]]["metadata"]}
    store.force(CONFIGURATIONS[1], old)
    finish(operator(store).converge())
    store.clock.now_s += OVERLAP_S - 1
    finish(operator(store).converge())
    assert store.data(TLS_PATH)["tls.crt"] == leaf
    store.clock.now_s += 1
    finish(operator(store).converge())
    assert store.data(TLS_PATH)["tls.crt"] != leaf
    verify(store)


@pytest.mark.parametrize("left_s", [600, 60, 4])
def test_a_certificate_that_would_not_last_for_the_overlap(left_s: int) -> None:
    """API servers get one half of the time that is left, webhooks the other."""
    store = shortly_before(AUTHORITY_DUE_S).copied()
    leaf = read_leaf(store.objects[TLS_PATH]).certificate
    # The authority's key is lost while nobody is there to renew anything.
    store.clock.now_s = leaf.not_after_s - left_s
    spoilt = store.objects[CA_PATH]
    spoilt["data"]["ca.key"] = ""
    store.force(CA_PATH, spoilt)
    run_until(store, leaf.not_after_s + 2_000, operator(store))
    assert store.verify(left_s / 2 - 1, left_s / 2 - 1) >= 4
    assert_settled(store)


def interleave(
    first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any], turns: list[bool]
) -> None:
    """Run both, each call of the API server when it is its operator's turn."""
    running = {False: first, True: second}
    for turn in [*turns, *[False, True] * 200]:
        if turn in running:
            try:
                running[turn].send(None)
            except StopIteration:
                del running[turn]
    assert not running


async def take_turns(call: str) -> None:
    await Turn()


@settings(max_examples=25)
@example(rounds=[(5.0, []), (300.0, [])], skew_s=100.0)
@given(
    rounds=st.lists(
        st.tuples(st.floats(0, 700), st.lists(st.booleans(), max_size=60)),
        min_size=1,
        max_size=8,
    ),
    skew_s=st.floats(-100, 100),
)
def test_two_operators_at_once(rounds: list[tuple[float, list[bool]]], skew_s: float) -> None:
    store = shortly_before(AUTHORITY_DUE_S).copied()
    store.before_call = take_turns
    one, other = operator(store), operator(store, skew_s)
    for wait_s, turns in rounds:
        store.clock.now_s += wait_s
        interleave(one.converge(), other.converge(), turns)
        assert one.why_not_ready() == other.why_not_ready() == ""
    run_until(store, store.clock.now_s + 5_000, one)
    finish(other.converge())  # with a clock ahead, it may find something due just now
    finish(one.converge())
    assert one.standing.certificate_serial == other.standing.certificate_serial
    verify(store)


@pytest.mark.parametrize("calls", range(1, 5))
def test_what_one_operator_has_not_seen_it_does_not_undo(calls: int) -> None:
    """However far its look has come when the other one, whose clock is ahead, does all its work."""
    store = shortly_before(AUTHORITY_DUE_S).copied()
    store.clock.now_s += 10
    finish(operator(store, -20).converge())
    store.before_call = take_turns
    behind = operator(store, -20).converge()
    for _ in range(calls):
        behind.send(None)
    finish(operator(store).converge())
    signer = read_certificates(store.data(CA_PATH)["ca.crt"])[0]
    before = {path: len(store.history[path]) for path in CONFIGURATIONS}
    finish(behind)
    assert read_certificates(store.data(CA_PATH)["ca.crt"])[0] == signer
    for path in CONFIGURATIONS:
        assert signer in read_certificates(store.bundles(path)[0])
        assert len(store.history[path]) == before[path]


@settings(max_examples=25)
@given(turns=st.lists(st.booleans(), max_size=80))
def test_two_operators_begin_at_once(turns: list[bool]) -> None:
    store = installed(Clock())
    store.before_call = take_turns
    one, other = operator(store), operator(store)
    interleave(one.converge(), other.converge(), turns)
    assert one.standing.converged
    assert one.standing.certificate_serial
    assert_settled(store)


@pytest.mark.parametrize(
    "late", [lambda store: store.verify(0, OVERLAP_S * 4), lambda store: store.verify(2_000, 0)]
)
def test_the_check_notices_what_it_should(late: Callable[[FakeStore], int]) -> None:
    """With API servers or webhooks later than the overlap, something is bound to fail."""
    store = shortly_before(AUTHORITY_DUE_S).copied()
    run_until(store, START_S + AUTHORITY_DUE_S + 5_000, operator(store))
    with pytest.raises(AssertionError):
        late(store)
