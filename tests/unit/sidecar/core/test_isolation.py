"""Failures, and what is done to spare those who did not cause them (rule 9)."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sidecar.core.conftest import Begin
from tests.unit.sidecar.core.playbook import Playbook

BURST_CALLS = 64
"""What the budget holds when it is full; a fifth of all calls comes back."""


def named(count: int, first: int = 0) -> str:
    return " ".join([f"r{number}" for number in range(first, first + count)])


def isolate(play: Playbook, names: str, bad: str) -> None:
    """Let a batch of these requests fail, and be taken apart to the end."""
    play.arrive(names)
    served = play.serve(bad.split())
    assert served.calls[0] == names
    assert sorted(served.failed) == sorted(bad.split())


def test_a_batch_of_one_fails_as_it_is(begin: Begin) -> None:
    play = begin(max_batch_size=1)
    play.arrive("a")
    play.expect("send a (size)")
    play.fail("a", "422")
    play.expect("fail a: 422")


def test_halves_follow_one_another_until_the_culprit_stands_alone(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.fail("a b c d", "first")
    play.expect("repeat a b")
    play.answer("a b")
    play.expect("answer a", "answer b", "repeat c d")
    play.fail("c d", "second")
    play.expect("repeat c")
    play.answer("c")
    play.expect("answer c", "repeat d")
    play.fail("d", "third")
    play.expect("fail d: third")


def test_halves_keep_the_slot_of_their_batch(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a b (size)")
    play.fail("a b")
    play.expect("repeat a")
    assert (play.in_flight, play.waiting) == (1, 2)
    play.answer("a")
    play.expect("answer a", "repeat b")
    play.answer("b")
    play.expect("answer b", "send c d (size)")


def test_what_no_member_can_have_caused_goes_to_every_member(begin: Begin) -> None:
    play = begin(max_batch_size=3)
    play.arrive("a b c")
    play.expect("send a b c (size)")
    play.fail("a b c", "503", isolable=False)
    play.expect("fail a: 503", "fail b: 503", "fail c: 503")


def test_a_half_that_fails_for_another_reason_is_not_halved_again(begin: Begin) -> None:
    play = begin(max_batch_size=4)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.fail("a b c d")
    play.expect("repeat a b")
    play.fail("a b", "503", isolable=False)
    play.expect("fail a: 503", "fail b: 503", "repeat c d")
    play.answer("c d")
    play.expect("answer c", "answer d")


def test_without_isolation_every_member_has_the_failure(begin: Begin) -> None:
    play = begin(max_batch_size=2, isolate_failures=False)
    play.arrive("a b")
    play.expect("send a b (size)")
    play.fail("a b", "500")
    play.expect("fail a: 500", "fail b: 500")


def test_halves_live_under_the_deadlines_of_their_members(begin: Begin) -> None:
    play = begin(max_batch_size=4, timeout_s=10)
    play.arrive("a")
    play.until(1)
    play.arrive("b")
    play.until(2)
    play.arrive("c")
    play.until(3)
    play.arrive("d")
    play.expect("send a b c d (size)")
    play.until(9)
    play.fail("a b c d")
    play.expect("repeat a b")
    play.until(10)
    play.expect("refuse a: deadline")
    play.until(11)
    play.expect("refuse b: deadline", "cancel a b", "repeat c d")
    play.until(12)
    play.expect("refuse c: deadline")
    play.fail("c d")
    play.expect("repeat d")
    play.answer("d")
    play.expect("answer d")


def test_no_half_is_called_at_the_deadline_of_its_members(begin: Begin) -> None:
    play = begin(max_batch_size=4, timeout_s=10)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.fail("a b c d")
    play.expect("repeat a b")
    play.until(10)
    play.expect("cancel a b", *[f"refuse {name}: deadline" for name in "abcd"])
    assert play.in_flight == 0


def test_no_half_is_called_for_who_is_late(begin: Begin) -> None:
    play = begin(max_batch_size=4, timeout_s=10)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.oversleep(10.5)
    play.fail("a b c d")
    play.expect(*[f"refuse {name}: deadline" for name in "abcd"])
    assert play.in_flight == 0


def test_a_member_whose_deadline_passes_before_its_half_is_left_out(begin: Begin) -> None:
    play = begin(max_batch_size=4, timeout_s=10)
    play.arrive("c")
    play.until(1)
    play.arrive("a b d")
    play.expect("send c a b d (size)")
    play.fail("c a b d")
    play.expect("repeat c a")
    play.leave("b")
    play.until(10)
    play.expect("refuse c: deadline")
    play.answer("c a")
    play.expect("answer a", "repeat d")
    play.answer("d")
    play.expect("answer d")


def test_who_left_is_not_called_again(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.leave("a c d")
    play.fail("a b c d")
    play.expect("repeat b")
    play.leave("b")
    play.expect("cancel b")
    assert play.in_flight == 0


def test_who_waits_still_is_halved(begin: Begin) -> None:
    play = begin(max_batch_size=4)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.leave("c d")
    play.fail("a b c d")
    play.expect("repeat a")
    play.answer("a")
    play.expect("answer a", "repeat b")
    play.answer("b")
    play.expect("answer b")


@given(st.integers(1, 16).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n)))
def test_the_culprits_fail_alone_within_twice_as_many_calls(wrong: list[bool]) -> None:
    play = Playbook(max_batch_size=len(wrong))
    names = named(len(wrong)).split()
    bad = [name for name, is_bad in zip(names, wrong, strict=True) if is_bad]
    play.arrive(" ".join(names))
    served = play.serve(bad)
    assert sorted(served.failed) == sorted(bad)
    assert sorted(served.answered) == sorted(set(names) - set(bad))
    extra = served.calls[1:]
    assert len(extra) <= 2 * len(names) - 2
    assert len(extra) == 0 or bad
    for name in bad:
        assert name in served.calls


def test_one_culprit_among_many_costs_two_calls_a_level(begin: Begin) -> None:
    play = begin(max_batch_size=32)
    play.arrive(named(32))
    served = play.serve(["r13"])
    assert served.failed == ["r13"]
    assert len(served.answered) == 31
    assert len(served.calls) - 1 == 2 * 5


def spend(play: Playbook) -> None:
    """Use up the budget, but for less than one call."""
    play.change(max_batch_size=128)
    play.arrive(named(128), key="spender")
    names = named(128).split()
    assert sorted(play.serve(names).failed) == sorted(names)


def pay(play: Playbook, calls: int) -> None:
    """Let calls succeed, each of which brings back a fifth of a call."""
    play.change(max_batch_size=1)
    for number in range(calls):
        play.arrive(f"paying{number}", key="payer")
        play.serve()


def test_a_spent_budget_gives_the_failure_to_every_member(begin: Begin) -> None:
    play = begin()
    spend(play)
    pay(play, 1)
    play.change(max_batch_size=2)
    play.arrive("a b")
    play.expect("send a b (size)")
    play.fail("a b")
    play.expect("repeat a")
    play.answer("a")
    play.expect("answer a", "fail b: 500")
    play.arrive("c d", key="other")
    play.expect("send c d (size)")
    play.fail("c d")
    play.expect("fail c: 500", "fail d: 500")


def test_the_budget_is_a_burst_and_a_fifth_of_all_calls(begin: Begin) -> None:
    play = begin(max_batch_size=200)
    play.arrive(named(200))
    served = play.serve(named(200).split())
    extra = len(served.calls) - 1
    assert extra in (BURST_CALLS / (1 - 0.2), BURST_CALLS / (1 - 0.2) - 1)
    assert len(served.failed) == 200


def test_members_whose_isolation_is_not_paid_have_the_failure_of_their_half(begin: Begin) -> None:
    play = begin()
    spend(play)
    pay(play, 3)
    play.change(max_batch_size=4)
    play.arrive("a b c d")
    play.expect("send a b c d (size)")
    play.fail("a b c d", "whole")
    play.expect("repeat a b")
    play.fail("a b", "half")
    play.expect("fail a: half", "fail b: half", "fail c: whole", "fail d: whole")


def test_a_fifth_of_all_calls_comes_back(begin: Begin) -> None:
    play = begin()
    spend(play)
    pay(play, 10)
    play.change(max_batch_size=2)
    isolate(play, "a b", "b")


def test_the_budget_never_holds_more_than_its_burst(begin: Begin) -> None:
    play = begin()
    pay(play, 1000)
    play.change(max_batch_size=200)
    play.arrive(named(200))
    served = play.serve(named(200).split())
    assert len(served.calls) - 1 <= BURST_CALLS / (1 - 0.2)


def fail_together(play: Playbook, names: str, key: str = "key") -> None:
    """Let a batch fail whose members are served one by one, or in halves."""
    play.arrive(names, key=key)
    play.expect(f"send {names} (size)")
    play.fail(names)
    served = play.serve()
    assert not served.failed


def test_two_isolations_without_a_culprit_unbatch_a_key_for_a_minute(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=9)
    fail_together(play, "a b")
    play.until(1)
    fail_together(play, "c d")
    play.arrive("e")
    play.expect("send e (alone)")
    play.until(60.999)
    play.arrive("f g")
    play.expect("send f (alone)", "send g (alone)")
    play.arrive("h i", key="other")
    play.expect("send h i (size)")
    play.until(61)
    play.arrive("j")
    play.expect()
    play.arrive("k")
    play.expect("send j k (size)")


def test_two_isolations_with_several_culprits_unbatch_a_key_too(begin: Begin) -> None:
    play = begin(max_batch_size=4)
    isolate(play, "a b c d", "a b")
    isolate(play, "e f g h", "e f g h")
    play.arrive("i")
    play.expect("send i (alone)")


def test_who_alone_meets_another_failure_is_no_culprit(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    for names in ("a b", "c d"):
        first, second = names.split()
        play.arrive(names)
        play.expect(f"send {names} (size)")
        play.fail(names)
        play.expect(f"repeat {first}")
        play.fail(first, "503", isolable=False)
        play.expect(f"fail {first}: 503", f"repeat {second}")
        play.answer(second)
        play.expect(f"answer {second}")
    play.arrive("e")
    play.expect("send e (alone)")


def test_what_waits_when_its_key_is_unbatched_leaves_at_once(begin: Begin) -> None:
    play = begin(max_batch_size=3, max_concurrency=2)
    fail_together(play, "a b c")
    play.arrive("d e f")
    play.expect("send d e f (size)")
    play.fail("d e f")
    play.expect("repeat d e")
    play.answer("d e")
    play.expect("answer d", "answer e", "repeat f")
    play.arrive("g h")
    play.answer("f")
    play.expect("answer f", "send g (alone)", "send h (alone)")


def test_unbatched_requests_keep_to_the_slots(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1)
    fail_together(play, "a b")
    fail_together(play, "c d")
    play.arrive("e f g")
    play.expect("send e (alone)")
    play.answer("e")
    play.expect("answer e", "send f (alone)")
    play.until(60)
    play.arrive("h")
    play.answer("f")
    play.expect("answer f", "send g h (size)")


def test_a_single_culprit_is_not_held_against_a_key(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    fail_together(play, "a b")
    isolate(play, "c d", "d")
    fail_together(play, "e f")
    play.arrive("g h")
    play.expect("send g h (size)")


def test_a_batch_that_is_answered_whole_breaks_the_row(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    fail_together(play, "a b")
    play.arrive("c d")
    play.serve()
    fail_together(play, "e f")
    play.arrive("g h")
    play.expect("send g h (size)")


def test_a_failure_that_is_not_isolated_does_not_count(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    for names in ("a b", "c d", "e f"):
        play.arrive(names)
        play.expect(f"send {names} (size)")
        play.fail(names, "503", isolable=False)
        play.expect(*[f"fail {name}: 503" for name in names.split()])


def test_after_the_minute_it_takes_two_isolations_again(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    fail_together(play, "a b")
    fail_together(play, "c d")
    play.until(60)
    fail_together(play, "e f")
    play.arrive("g h")
    play.expect("send g h (size)")


def test_keys_are_remembered_apart(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    fail_together(play, "a b", key="x")
    fail_together(play, "c d", key="y")
    play.arrive("e f", key="x")
    play.expect("send e f (size)")
