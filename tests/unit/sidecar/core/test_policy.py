"""When requests may leave: rules 2 (cut) and 3 (window), draining, and other settings."""

import pytest

from tests.unit.sidecar.core.conftest import Begin


def test_the_size_is_a_trigger_and_not_a_cap(begin: Begin) -> None:
    play = begin(max_batch_size=32)
    play.arrive("a", 20)
    play.expect()
    play.arrive("b", 32)
    play.expect("send a b (size)")
    play.answer("a b")
    play.expect("answer a", "answer b")


def test_exactly_the_size_is_enough(begin: Begin) -> None:
    play = begin(max_batch_size=32)
    play.arrive("a", 31)
    play.expect()
    play.arrive("b", 1)
    play.expect("send a b (size)")


def test_a_request_of_the_whole_size_does_not_wait(begin: Begin) -> None:
    play = begin(max_batch_size=32)
    play.arrive("a", 33)
    play.expect("send a (size)")


def test_ten_requests_make_one_call(begin: Begin) -> None:
    play = begin(max_batch_size=32, max_latency_ms=50)
    play.arrive("a b c d e f g h i j")
    play.until(0.049)
    play.expect()
    play.until(0.05)
    play.expect("send a b c d e f g h i j (latency)")


def test_the_window_counts_from_the_oldest_arrival(begin: Begin) -> None:
    play = begin(max_latency_ms=5000)
    play.arrive("a")
    play.until(4)
    play.arrive("b")
    play.until(4.999)
    play.expect()
    play.until(5)
    play.expect("send a b (latency)")


def test_a_window_begins_anew_after_each_batch(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_latency_ms=5000)
    play.arrive("a b")
    play.expect("send a b (size)")
    play.until(3)
    play.arrive("c")
    play.until(7.999)
    play.expect()
    play.until(8)
    play.expect("send c (latency)")


def test_when_the_oldest_leaves_the_next_one_waits_its_own_window(begin: Begin) -> None:
    play = begin(max_latency_ms=5000)
    play.arrive("a")
    play.until(2)
    play.arrive("b")
    play.leave("a")
    play.until(6.999)
    play.expect()
    play.until(7)
    play.expect("send b (latency)")


def test_a_late_tick_makes_no_window_longer(begin: Begin) -> None:
    """While the loop reads large bodies no timer runs, but requests go on arriving."""
    play = begin(max_batch_size=8, max_latency_ms=1000)
    play.arrive("a")
    play.oversleep(0.5)
    play.arrive("b")
    play.oversleep(1.25)
    play.arrive("c")
    play.expect("send a b (latency)")
    play.until(2)
    play.expect()
    play.until(2.25)
    play.expect("send c (latency)")


@pytest.mark.parametrize("end", ["answer", "fail", "leave"])
def test_a_slot_that_is_freed_late_goes_to_the_key_that_was_due_first(
    begin: Begin, end: str
) -> None:
    play = begin(max_batch_size=2, max_latency_ms=1000, max_concurrency=1)
    play.arrive("x y")
    play.expect("send x y (size)")
    play.oversleep(0.25)
    play.arrive("a", key="older")
    play.oversleep(0.5)
    play.arrive("b c", key="younger")
    play.oversleep(1.5)
    if end == "answer":
        play.answer("x y")
        play.expect("answer x", "answer y", "send a (latency)")
    elif end == "fail":
        play.fail("x y", isolable=False)
        play.expect("fail x: 500", "fail y: 500", "send a (latency)")
    else:
        play.leave("x y")
        play.expect("cancel x y", "send a (latency)")


@pytest.mark.parametrize("event", ["drain", "settings"])
def test_what_was_due_leaves_as_it_was_due_though_something_changes_first(
    begin: Begin, event: str
) -> None:
    play = begin(max_batch_size=8, max_latency_ms=1000)
    play.arrive("a")
    play.oversleep(1.25)
    if event == "drain":
        play.drain()
    else:
        play.change(max_latency_ms=5000)
    play.expect("send a (latency)")


def test_a_late_tick_gives_a_slot_to_the_oldest_of_all_that_are_due_by_now(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_latency_ms=5000, max_concurrency=1, timeout_s=10)
    play.arrive("x y")
    play.expect("send x y (size)")
    play.until(5.5)
    play.arrive("a", key="older")
    play.until(6)
    play.arrive("b c", key="younger")
    play.oversleep(11)
    play.until(11)
    play.expect("cancel x y", "refuse x: deadline", "refuse y: deadline", "send a (latency)")


def test_what_remains_after_a_cut_waits_its_own_window(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_latency_ms=5000, max_concurrency=1)
    play.arrive("a", 4)
    play.expect("send a (size)")
    play.until(1)
    play.arrive("b", 3)
    play.until(2)
    play.arrive("c", 3)
    play.until(3)
    play.arrive("d", 1)
    play.answer("a")
    play.expect("answer a", "send b c (size)")
    play.answer("b c")
    play.expect("answer b", "answer c")
    play.until(7.999)
    play.expect()
    play.until(8)
    play.expect("send d (latency)")


def test_the_shortest_run_that_reaches_the_size_leaves(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_concurrency=1)
    play.arrive("a", 4)
    play.expect("send a (size)")
    play.arrive("b c d e f", 2)
    play.answer("a")
    play.expect("answer a", "send b c (size)")
    play.answer("b c")
    play.expect("answer b", "answer c", "send d e (size)")


def test_what_is_due_by_time_but_reaches_the_size_is_cut_at_it(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_latency_ms=1000, max_concurrency=1)
    play.arrive("a", 4)
    play.expect("send a (size)")
    play.arrive("b")
    play.until(2)
    play.expect()
    play.arrive("c d", 2)
    play.arrive("e")
    play.answer("a")
    play.expect("answer a", "send b c d (size)")
    play.until(2.999)
    play.expect()
    play.answer("b c d")
    play.expect("answer b", "answer c", "answer d")
    play.until(3)
    play.expect("send e (latency)")


def test_a_batch_that_is_no_longer_due_when_a_slot_is_free_waits_on(begin: Begin) -> None:
    play = begin(max_batch_size=4, max_latency_ms=5000, max_concurrency=1)
    play.arrive("a", 4)
    play.expect("send a (size)")
    play.until(1)
    play.arrive("b c", 2)
    play.leave("c")
    play.answer("a")
    play.expect("answer a")
    play.until(5.999)
    play.expect()
    play.until(6)
    play.expect("send b (latency)")


def test_draining_ends_windows_at_once(begin: Begin) -> None:
    play = begin()
    play.arrive("a b")
    play.arrive("c", key="other")
    play.drain()
    play.expect("send a b (drain)", "send c (drain)")


def test_while_draining_nothing_waits(begin: Begin) -> None:
    play = begin(max_batch_size=4)
    play.drain()
    play.arrive("a")
    play.expect("send a (drain)")
    play.arrive("b", 4)
    play.expect("send b (size)")


def test_while_draining_slots_still_count(begin: Begin) -> None:
    play = begin(max_concurrency=1)
    play.drain()
    play.arrive("a b c")
    play.expect("send a (drain)")
    play.answer("a")
    play.expect("answer a", "send b c (drain)")


def test_windows_open_again_when_draining_is_called_off(begin: Begin) -> None:
    play = begin(max_latency_ms=5000, max_concurrency=1)
    play.drain()
    play.arrive("a b")
    play.expect("send a (drain)")
    play.until(1)
    play.drain(active=False)
    play.arrive("c")
    play.answer("a")
    play.expect("answer a")
    play.until(4.999)
    play.expect()
    play.until(5)
    play.expect("send b c (latency)")


def test_draining_may_come_and_go_without_a_request(begin: Begin) -> None:
    play = begin(max_latency_ms=5000)
    play.drain()
    play.drain()
    play.drain(active=False)
    play.drain(active=False)
    play.arrive("a")
    play.until(4.999)
    play.expect()
    play.until(5)
    play.expect("send a (latency)")


@pytest.mark.parametrize(("latency_ms", "leaves_s"), [(2000, 2), (9000, 9)])
def test_another_window_counts_for_what_waits(
    begin: Begin, latency_ms: int, leaves_s: float
) -> None:
    play = begin(max_latency_ms=5000)
    play.arrive("a")
    play.until(1)
    play.change(max_latency_ms=latency_ms)
    play.until(leaves_s - 0.001)
    play.expect()
    play.until(leaves_s)
    play.expect("send a (latency)")


def test_a_window_that_another_one_ends_is_over_at_once(begin: Begin) -> None:
    play = begin(max_latency_ms=5000)
    play.arrive("a")
    play.until(3)
    play.change(max_latency_ms=2000)
    play.expect("send a (latency)")


def test_a_smaller_size_sends_what_waits(begin: Begin) -> None:
    play = begin(max_batch_size=32)
    play.arrive("a b c")
    play.change(max_batch_size=2)
    play.expect("send a b (size)")
    play.arrive("d")
    play.expect("send c d (size)")


def test_a_larger_size_lets_wait_what_was_due(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_latency_ms=5000, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a b (size)")
    play.change(max_batch_size=3)
    play.answer("a b")
    play.expect("answer a", "answer b")
    play.until(4.999)
    play.expect()
    play.until(5)
    play.expect("send c d (latency)")


def test_more_slots_are_granted_at_once(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1)
    play.arrive("a b c d")
    play.expect("send a (size)")
    play.change(max_concurrency=3)
    play.expect("send b (size)", "send c (size)")


def test_fewer_slots_take_none_away(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=2)
    play.arrive("a b c")
    play.expect("send a (size)", "send b (size)")
    play.change(max_concurrency=1)
    play.answer("a")
    play.expect("answer a")
    play.answer("b")
    play.expect("answer b", "send c (size)")


def test_changed_settings_leave_draining_as_it_is(begin: Begin) -> None:
    play = begin()
    play.drain()
    play.change(max_batch_size=3)
    play.arrive("a")
    play.expect("send a (drain)")
