"""How requests end: answers, failures, rules 6 (deadline), 7 (leaving) and 8 (limits)."""

import time

import pytest

from tests.unit.sidecar.core.conftest import Begin


def test_a_slot_is_free_again_after_an_answer_or_a_failure(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1)
    play.arrive("a b c")
    play.expect("send a (size)")
    play.answer("a")
    play.expect("answer a", "send b (size)")
    play.fail("b", "503", isolable=False)
    play.expect("fail b: 503", "send c (size)")
    assert (play.in_flight, play.waiting) == (1, 0)


def test_a_waiting_request_is_refused_at_its_deadline(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1, timeout_s=10)
    play.arrive("a")
    play.expect("send a (size)")
    play.until(4)
    play.arrive("b")
    play.until(9)
    play.leave("a")
    play.expect("cancel a", "send b (size)")
    play.arrive("c")
    play.until(13.999)
    play.expect()
    play.until(14)
    play.expect("refuse b: deadline", "cancel b", "send c (size)")
    play.until(18.999)
    play.expect()
    play.until(19)
    play.expect("refuse c: deadline", "cancel c")
    assert (play.in_flight, play.waiting) == (0, 0)


def test_who_is_refused_at_the_deadline_never_had_a_call(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1, timeout_s=10)
    play.arrive("a")
    play.expect("send a (size)")
    play.change(timeout_s=5)
    play.arrive("b")
    play.until(4.999)
    play.expect()
    play.until(5)
    play.expect("refuse b: deadline")
    play.answer("a")
    play.expect("answer a")


def test_each_waiting_request_has_its_own_deadline(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1, timeout_s=30)
    play.arrive("a")
    play.expect("send a (size)")
    play.change(timeout_s=10)
    for second, name in enumerate("bcd"):
        play.until(second)
        play.arrive(name)
    for second, name in enumerate("bcd"):
        play.until(9.999 + second)
        play.expect()
        play.until(10 + second)
        play.expect(f"refuse {name}: deadline")
    play.until(29.999)
    play.expect()
    play.until(30)
    play.expect("refuse a: deadline", "cancel a")


def test_deadlines_already_given_stay_when_the_timeout_changes(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1, timeout_s=10)
    play.arrive("a b")
    play.expect("send a (size)")
    play.change(timeout_s=20)
    play.answer("a")
    play.expect("answer a", "send b (size)")
    play.until(9.999)
    play.expect()
    play.until(10)
    play.expect("refuse b: deadline", "cancel b")


def test_each_member_of_a_batch_has_its_own_deadline(begin: Begin) -> None:
    play = begin(max_batch_size=3, max_latency_ms=5000, timeout_s=10)
    play.arrive("a")
    play.until(1)
    play.arrive("b")
    play.until(2)
    play.arrive("c")
    play.expect("send a b c (size)")
    play.until(10)
    play.expect("refuse a: deadline")
    play.until(10.999)
    play.expect()
    play.until(11)
    play.expect("refuse b: deadline")
    play.answer("a b c")
    play.expect("answer c")


def test_a_member_past_its_deadline_gets_no_failure_either(begin: Begin) -> None:
    play = begin(max_batch_size=2, timeout_s=10)
    play.arrive("a")
    play.until(1)
    play.arrive("b")
    play.expect("send a b (size)")
    play.until(10)
    play.expect("refuse a: deadline")
    play.fail("a b", "503", isolable=False)
    play.expect("fail b: 503")


def test_a_slot_that_is_free_at_a_deadline_is_not_for_who_is_late_too(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1, timeout_s=10)
    play.arrive("a b")
    play.arrive("c", key="other")
    play.expect("send a (size)")
    play.until(5)
    play.arrive("d")
    play.until(10)
    play.expect(
        *("cancel a", "refuse a: deadline", "refuse b: deadline", "refuse c: deadline"),
        "send d (size)",
    )


@pytest.mark.parametrize("end", ["answer", "fail", "leave"])
def test_who_is_late_is_not_sent_before_the_tick_that_tells_it(begin: Begin, end: str) -> None:
    play = begin(max_batch_size=2, max_concurrency=1, timeout_s=10)
    play.arrive("a b c d")
    play.expect("send a b (size)")
    play.until(5)
    play.arrive("e f")
    play.oversleep(10.5)
    if end == "answer":
        play.answer("a b")
        play.expect(
            *("answer a", "answer b", "refuse c: deadline", "refuse d: deadline"),
            "send e f (size)",
        )
    elif end == "fail":
        play.fail("a b", isolable=False)
        play.expect(
            *("fail a: 500", "fail b: 500", "refuse c: deadline", "refuse d: deadline"),
            "send e f (size)",
        )
    else:
        play.leave("a b")
        play.expect(
            *("cancel a b", "refuse c: deadline", "refuse d: deadline"), "send e f (size)"
        )


def test_no_piece_is_sent_for_who_is_late(begin: Begin) -> None:
    play = begin(max_batch_size=4, hard_max_batch_size=4, timeout_s=10)
    play.arrive("a", 8)
    play.expect("send a[0:4] (size)")
    play.oversleep(10.5)
    play.answer("a[0:4]")
    play.expect("refuse a: deadline")
    assert play.in_flight == 0


def test_a_deadline_costs_no_look_at_all_who_wait(begin: Begin) -> None:
    names = [str(number) for number in range(10_000)]
    play = begin(max_batch_size=1, max_concurrency=1, timeout_s=1000)
    play.arrive("a")
    play.expect("send a (size)")
    play.change(timeout_s=100)
    for number, name in enumerate(names):
        play.until(number / 1000)
        play.arrive(name)
    started_s = time.process_time()
    play.until(111)
    assert time.process_time() - started_s < 2
    play.expect(*[f"refuse {name}: deadline" for name in names])


def test_who_was_answered_has_no_deadline_left(begin: Begin) -> None:
    play = begin(max_batch_size=1, timeout_s=10)
    play.arrive("a")
    play.expect("send a (size)")
    play.answer("a")
    play.expect("answer a")
    play.until(60)
    play.expect()


def test_who_leaves_the_queue_is_forgotten(begin: Begin) -> None:
    play = begin(max_batch_size=3)
    play.arrive("a b")
    play.leave("a")
    assert play.waiting == 1
    play.arrive("c")
    play.expect()
    play.arrive("d")
    play.expect("send b c d (size)")


def test_nobody_is_sent_when_all_have_left(begin: Begin) -> None:
    play = begin()
    play.arrive("a b")
    play.leave("a b")
    assert play.waiting == 0
    play.until(600)
    play.expect()


def test_a_call_is_cancelled_when_its_last_member_leaves(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a b (size)")
    play.leave("b")
    play.expect()
    play.leave("a")
    play.expect("cancel a b", "send c d (size)")
    play.leave("a b")
    play.expect()


def test_a_call_goes_on_for_those_who_stay(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a b")
    play.expect("send a b (size)")
    play.leave("a")
    play.answer("a b")
    play.expect("answer b")


@pytest.mark.parametrize("end", ["answer", "fail"])
def test_leaving_after_the_end_changes_nothing(begin: Begin, end: str) -> None:
    play = begin(max_batch_size=1, max_concurrency=1)
    play.arrive("a b")
    play.expect("send a (size)")
    if end == "answer":
        play.answer("a")
        play.expect("answer a", "send b (size)")
    else:
        play.fail("a")
        play.expect("fail a: 500", "send b (size)")
    play.leave("a")
    assert (play.in_flight, play.waiting) == (1, 0)


def test_over_the_limit_requests_are_refused(begin: Begin) -> None:
    play = begin(max_queue_size=2)
    play.arrive("a b c")
    play.expect("refuse c: queue_full")
    play.leave("c")
    assert play.waiting == 2


def test_the_limit_counts_what_waits_on_all_paths_and_keys(begin: Begin) -> None:
    play = begin(max_queue_size=2)
    play.arrive("a", path="/a")
    play.arrive("b", key="x")
    play.arrive("c", key="y")
    play.expect("refuse c: queue_full")


def test_the_limit_does_not_count_what_is_in_flight(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=2, max_queue_size=1)
    play.arrive("a b c")
    play.expect("send a (size)", "send b (size)")
    play.arrive("d")
    play.expect("refuse d: queue_full")


@pytest.mark.parametrize("room", ["leave", "deadline", "cut"])
def test_there_is_room_again_once_somebody_stops_waiting(begin: Begin, room: str) -> None:
    play = begin(max_batch_size=1, max_concurrency=1, max_queue_size=1, timeout_s=10)
    play.arrive("a")
    play.expect("send a (size)")
    play.change(timeout_s=6)
    play.arrive("b c")
    play.expect("refuse c: queue_full")
    if room == "leave":
        play.leave("b")
    elif room == "deadline":
        play.until(6)
        play.expect("refuse b: deadline")
    else:
        play.answer("a")
        play.expect("answer a", "send b (size)")
    play.arrive("d")
    play.expect()
    assert play.waiting == 1


def test_a_lower_limit_turns_nobody_out(begin: Begin) -> None:
    play = begin(max_queue_size=3)
    play.arrive("a b c")
    play.change(max_queue_size=1)
    play.leave("a")
    play.arrive("d")
    play.expect("refuse d: queue_full")
    play.until(5)
    play.expect("send b c (latency)")
