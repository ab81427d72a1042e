"""Answers that cannot be divided (rule 9)."""

from tests.unit.sidecar.core.conftest import Begin


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


def test_it_is_not_remembered_here(begin: Begin) -> None:
    """What follows from it for the key is for its terms to say."""
    play = begin(max_batch_size=2, max_latency_ms=30_000)
    for names in ("a b", "c d", "e f"):
        play.arrive(names)
        play.expect(f"send {names} (size)")
        play.cannot_divide(names)
        play.serve()


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
