"""Keys of which it must be learnt what may be done with them (rules 5 and 10)."""

import pytest

from batcher_sidecar.core import Terms
from tests.unit.sidecar.core.conftest import Begin


def terms(*, single: bool = False, whole: bool = False, max_rows: int = 0) -> Terms:
    made = Terms()
    made.single, made.whole, made.max_rows = single, whole, max_rows
    return made


# --- single ---------------------------------------------------------------------------------------


def test_requests_travel_alone_while_their_terms_say_so(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_latency_ms=30_000)
    play.arrive("a b c", terms=terms(single=True))
    play.expect("send a (alone)", "send b (alone)", "send c (alone)")


def test_what_waits_shares_a_call_as_soon_as_it_may(begin: Begin) -> None:
    play = begin(max_batch_size=3, max_concurrency=2, max_latency_ms=30_000)
    cold = terms(single=True)
    play.arrive("a b c d e f", terms=cold)
    play.expect("send a (alone)", "send b (alone)")
    cold.single = False
    play.answer("a")
    play.expect("answer a", "send c d e (size)")
    play.answer("b")
    play.expect("answer b")
    play.until(29)
    play.arrive("g", terms=cold)
    play.until(30)
    play.expect("send f g (latency)")


def test_what_waits_is_sent_alone_once_it_may_not_share_any_more(begin: Begin) -> None:
    play = begin(max_batch_size=3, max_latency_ms=30_000)
    lost = terms()
    play.arrive("a b", terms=lost)
    play.arrive("x", key="other")
    lost.single = True
    play.terms_changed()
    play.expect("send a (alone)", "send b (alone)")


def test_what_is_late_when_terms_change_leaves_on_the_new_ones(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1, max_latency_ms=1000, timeout_s=5)
    learnt = terms(max_rows=1)
    play.arrive("a", 2)
    play.expect("send a (size)")
    play.until(4.5)
    play.arrive("b", terms=learnt, key="other")
    play.oversleep(5.5)  # by now a is late, and the window of b is over
    learnt.max_rows = 0
    play.terms_changed()
    play.expect("cancel a", "refuse a: deadline", "send b (latency)")


def test_a_newcomer_brings_what_holds_for_those_before_it(begin: Begin) -> None:
    """Its key was forgotten meanwhile, and is learnt again."""
    play = begin(max_batch_size=3, max_latency_ms=30_000)
    play.arrive("a", terms=terms(max_rows=9))
    play.arrive("b", terms=terms(single=True))
    play.expect("send a (alone)", "send b (alone)")


def test_keys_differ_in_their_terms(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_latency_ms=30_000)
    play.arrive("a", key="proved", terms=terms())
    play.arrive("x", key="cold", terms=terms(single=True))
    play.expect("send x (alone)")
    play.arrive("b", key="proved", terms=terms())
    play.expect("send a b (size)")


# --- whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", [False, True])
def test_what_is_to_be_whole_is_not_sent_in_pieces(begin: Begin, single: bool) -> None:
    play = begin(max_batch_size=2, hard_max_batch_size=2, max_concurrency=1)
    play.arrive("a", 5, terms=terms(single=single, whole=True))
    play.expect(f"send a ({'alone' if single else 'size'})")


def test_a_cap_that_comes_later_takes_nothing_apart_either(begin: Begin) -> None:
    play = begin(max_concurrency=1)
    cold = terms(single=True, whole=True)
    play.arrive("a", terms=cold)
    play.arrive("b", 5, terms=cold)
    play.expect("send a (alone)")
    play.change(max_batch_size=1, hard_max_batch_size=1)
    play.answer("a")
    play.expect("answer a", "send b (alone)")


def test_pieces_are_allowed_when_they_are_cut(begin: Begin) -> None:
    play = begin(max_batch_size=2, hard_max_batch_size=2, max_concurrency=1)
    learnt = terms(single=True, whole=True)
    play.arrive("a", terms=learnt)
    play.arrive("b", 3, terms=learnt)
    play.expect("send a (alone)")
    learnt.single = learnt.whole = False
    play.answer("a")
    play.expect("answer a", "send b[0:2] (size)")


# --- max_rows -------------------------------------------------------------------------------------


def test_a_batch_is_full_at_what_one_call_may_carry(begin: Begin) -> None:
    play = begin(max_batch_size=32, max_latency_ms=30_000)
    five = terms(max_rows=5)
    play.arrive("a b", 2, terms=five)
    play.arrive("c", 2, terms=five)
    play.expect("send a b (size)")
    play.arrive("d", 3, terms=five)
    play.expect("send c d (size)")


def test_a_smaller_size_still_counts(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a b", terms=terms(max_rows=5))
    play.expect("send a b (size)")


def test_the_smaller_of_both_caps_holds(begin: Begin) -> None:
    for hard, max_rows in ((4, 9), (9, 4)):
        play = begin(max_batch_size=4, hard_max_batch_size=hard)
        play.arrive("a b", 3, terms=terms(max_rows=max_rows))
        play.expect("send a (size)")


def test_a_request_that_alone_is_more_goes_whole(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a", 7, terms=terms(max_rows=4))
    play.expect("send a (size)")


def test_the_size_follows_the_settings(begin: Begin) -> None:
    play = begin(max_batch_size=8, max_latency_ms=30_000)
    four = terms(max_rows=4)
    play.arrive("a b c", terms=four)
    play.change(max_batch_size=3)
    play.expect("send a b c (size)")
    play.change(max_batch_size=8)
    play.arrive("d e f", terms=four)
    play.arrive("g", terms=four)
    play.expect("send d e f g (size)")


def test_the_size_follows_what_is_learnt(begin: Begin) -> None:
    play = begin(max_batch_size=8, max_latency_ms=30_000)
    learnt = terms()
    play.arrive("a b c", terms=learnt)
    learnt.max_rows = 2
    play.terms_changed()
    play.expect("send a b (size)")
    learnt.max_rows = 0
    play.terms_changed()
    play.arrive("d", terms=learnt)
    play.settled()
