"""Models that do not batch, and models that take so many rows at a time (rules 5 and 9)."""

from tests.unit.sidecar.core.conftest import Begin

UNBATCHED_S = 60


def test_where_an_answer_cannot_be_divided_each_member_is_sent_alone(begin: Begin) -> None:
    play = begin(max_batch_size=3, max_concurrency=1)
    play.arrive("a b c")
    play.expect("send a b c (size)")
    play.cannot_divide("a b c")
    play.expect("repeat a")
    play.answer("a")
    play.expect("answer a", "repeat b")
    play.fail("b", "422")
    play.expect("fail b: 422", "repeat c")
    play.answer("c")
    play.expect("answer c")
    assert (play.in_flight, play.waiting) == (0, 0)


def test_that_costs_no_budget_and_is_done_with_isolation_off(begin: Begin) -> None:
    play = begin(max_batch_size=200, max_concurrency=1, isolate_failures=False)
    names = [f"r{number}" for number in range(200)]
    play.arrive(" ".join(names))
    play.expect(f"send {' '.join(names)} (size)")
    play.cannot_divide(" ".join(names))
    assert play.serve().answered == names


def test_who_has_left_is_not_sent(begin: Begin) -> None:
    play = begin(max_batch_size=3)
    play.arrive("a b c")
    play.expect("send a b c (size)")
    play.leave("b")
    play.cannot_divide("a b c")
    assert play.serve().calls == ["a", "c"]


def test_what_waits_and_comes_with_this_key_travels_alone_for_a_minute(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_latency_ms=30_000)
    play.arrive("a b c")
    play.arrive("x", key="other")
    play.expect("send a b (size)")
    play.cannot_divide("a b")
    play.expect("repeat a", "send c (alone)")
    play.serve()
    play.arrive("d")
    play.expect("send d (alone)")
    play.arrive("y", key="other")
    play.expect("send x y (size)")
    play.serve()
    play.until(UNBATCHED_S)
    play.arrive("e f")
    play.expect("send e f (size)")


def test_a_half_may_turn_out_to_be_indivisible(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.fail("a b c d")
    play.expect("repeat a b")
    play.cannot_divide("a b")
    play.expect("repeat a")
    play.answer("a")
    play.expect("answer a", "repeat b")
    play.answer("b")
    play.expect("answer b", "repeat c d")
    play.answer("c d")
    play.expect("answer c", "answer d")


def test_a_batch_is_full_at_what_one_call_may_carry(begin: Begin) -> None:
    play = begin(max_batch_size=32, max_latency_ms=30_000)
    play.arrive("a b", 2, max_rows=5)
    play.arrive("c", 2, max_rows=5)
    play.expect("send a b (size)")
    play.arrive("d", 3, max_rows=5)
    play.expect("send c d (size)")


def test_a_smaller_size_still_counts(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a b", max_rows=5)
    play.expect("send a b (size)")


def test_the_smaller_of_both_caps_holds(begin: Begin) -> None:
    for hard, max_rows in ((4, 9), (9, 4)):
        play = begin(max_batch_size=4, hard_max_batch_size=hard)
        play.arrive("a b", 3, max_rows=max_rows)
        play.expect("send a (size)")


def test_a_request_that_alone_is_more_goes_whole(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a", 7, max_rows=4)
    play.expect("send a (size)")


def test_the_size_follows_the_settings(begin: Begin) -> None:
    play = begin(max_batch_size=8, max_latency_ms=30_000)
    play.arrive("a b c", max_rows=4)
    play.change(max_batch_size=3)
    play.expect("send a b c (size)")
    play.change(max_batch_size=8)
    play.arrive("d e f", max_rows=4)
    play.arrive("g", max_rows=4)
    play.expect("send d e f g (size)")
