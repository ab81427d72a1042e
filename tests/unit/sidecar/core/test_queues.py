"""Who leaves with whom, in which order: rules 1 (keys), 4 (concurrency) and 5 (hard cap)."""

from tests.unit.sidecar.core.conftest import Begin


def test_only_equal_keys_share_a_batch(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a", key="x")
    play.arrive("b", key="y")
    play.expect()
    play.arrive("c", key="x")
    play.expect("send a c (size)")
    play.arrive("d", key="y")
    play.expect("send b d (size)")


def test_equal_keys_of_two_paths_do_not_share(begin: Begin) -> None:
    play = begin(max_batch_size=2)
    play.arrive("a", path="/a")
    play.arrive("b", path="/b")
    play.expect()
    play.arrive("c", path="/b")
    play.expect("send b c (size)")


def test_who_shares_with_nobody_does_not_wait_for_anybody(begin: Begin) -> None:
    play = begin()
    play.arrive("a")
    play.arrive("b c", alone=True)
    play.expect("send b (alone)", "send c (alone)")
    play.arrive("d")
    play.until(5)
    play.expect("send a d (latency)")


def test_slots_are_counted_for_each_path(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=2)
    play.arrive("a b c", path="/a")
    play.arrive("d e f", path="/b")
    play.expect("send a (size)", "send b (size)", "send d (size)", "send e (size)")
    assert (play.in_flight, play.waiting) == (4, 2)
    play.answer("d")
    play.expect("answer d", "send f (size)")


def test_those_who_come_while_slots_are_taken_join(begin: Begin) -> None:
    play = begin(max_latency_ms=1000, max_concurrency=1)
    play.arrive("a")
    play.until(1)
    play.expect("send a (latency)")
    play.arrive("b")
    play.until(3)
    play.arrive("c")
    play.answer("a")
    play.expect("answer a", "send b c (latency)")


def test_a_slot_goes_to_the_key_whose_oldest_has_waited_longest(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1)
    play.arrive("a b", key="first")
    play.expect("send a b (size)")
    play.arrive("c", key="x")
    play.arrive("d e", key="y")
    play.arrive("f", key="x")
    play.answer("a b")
    play.expect("answer a", "answer b", "send c f (size)")
    play.answer("c f")
    play.expect("answer c", "answer f", "send d e (size)")


def test_a_key_that_is_not_due_does_not_hold_up_a_younger_one(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1)
    play.arrive("a b")
    play.expect("send a b (size)")
    play.arrive("c", key="x")
    play.arrive("d e", key="y")
    play.answer("a b")
    play.expect("answer a", "answer b", "send d e (size)")


def test_a_key_falls_back_when_its_oldest_leaves(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=1)
    play.arrive("a b")
    play.expect("send a b (size)")
    play.arrive("c", key="x")
    play.arrive("d e", key="y")
    play.arrive("f g", key="x")
    play.leave("c")
    play.answer("a b")
    play.expect("answer a", "answer b", "send d e (size)")
    play.answer("d e")
    play.expect("answer d", "answer e", "send f g (size)")


def test_a_key_that_waits_anew_after_all_its_requests_left_is_served(begin: Begin) -> None:
    play = begin(max_batch_size=1, max_concurrency=1)
    play.arrive("a")
    play.expect("send a (size)")
    play.arrive("b", key="x")
    play.leave("b")
    play.arrive("c", key="y")
    play.arrive("d", key="x")
    play.answer("a")
    play.expect("answer a", "send c (size)")
    play.answer("c")
    play.expect("answer c", "send d (size)")


def test_one_key_may_take_several_slots(begin: Begin) -> None:
    play = begin(max_batch_size=2, max_concurrency=4)
    play.arrive("a b c d e")
    play.expect("send a b (size)", "send c d (size)")


def test_the_run_stops_before_the_hard_cap(begin: Begin) -> None:
    play = begin(max_batch_size=32, hard_max_batch_size=40, max_latency_ms=5000)
    play.arrive("a", 20)
    play.until(1)
    play.arrive("b", 21)
    play.expect("send a (size)")
    play.until(5.999)
    play.expect()
    play.until(6)
    play.expect("send b (latency)")


def test_the_hard_cap_itself_is_allowed(begin: Begin) -> None:
    play = begin(max_batch_size=32, hard_max_batch_size=40)
    play.arrive("a b", 20)
    play.expect("send a b (size)")


def test_what_the_hard_cap_left_behind_leaves_at_once_where_it_is_enough(begin: Begin) -> None:
    play = begin(max_batch_size=32, hard_max_batch_size=40)
    play.arrive("a", 20)
    play.arrive("b", 32)
    play.expect("send a (size)", "send b (size)")


def test_only_a_request_that_alone_exceeds_the_hard_cap_is_sent_in_pieces(begin: Begin) -> None:
    play = begin(max_batch_size=4, hard_max_batch_size=4, max_concurrency=1)
    play.arrive("a", 10)
    play.expect("send a[0:4] (size)")
    play.arrive("b", 4)
    play.answer("a[0:4]")
    play.expect("send a[4:8] (size)")
    assert play.in_flight == 1
    play.answer("a[4:8]")
    play.expect("send a[8:10] (size)")
    play.answer("a[8:10]")
    play.expect("answer a: a[0:4] a[4:8] a[8:10]", "send b (size)")


def test_an_oversized_request_does_not_take_others_along(begin: Begin) -> None:
    play = begin(max_batch_size=4, hard_max_batch_size=4)
    play.arrive("a")
    play.arrive("b", 5)
    play.expect("send a (size)", "send b[0:4] (size)")


def test_pieces_fail_as_one(begin: Begin) -> None:
    play = begin(max_batch_size=4, hard_max_batch_size=4, max_concurrency=1)
    play.arrive("a", 12)
    play.expect("send a[0:4] (size)")
    play.arrive("b", 4)
    play.answer("a[0:4]")
    play.expect("send a[4:8] (size)")
    play.fail("a[4:8]")
    play.expect("fail a: 500", "send b (size)")


def test_no_piece_is_sent_for_a_client_that_has_left(begin: Begin) -> None:
    play = begin(max_batch_size=4, hard_max_batch_size=4, max_concurrency=1)
    play.arrive("a", 12)
    play.expect("send a[0:4] (size)")
    play.arrive("b", 4)
    play.leave("a")
    play.expect("cancel a[0:4]", "send b (size)")


def test_who_shares_with_nobody_is_sent_in_pieces_too(begin: Begin) -> None:
    play = begin(max_batch_size=4, hard_max_batch_size=4)
    play.arrive("a", 5, alone=True)
    play.expect("send a[0:4] (alone)")
    play.answer("a[0:4]")
    play.expect("send a[4:5] (alone)")
    play.answer("a[4:5]")
    play.expect("answer a: a[0:4] a[4:5]")


def test_without_a_hard_cap_nothing_is_split(begin: Begin) -> None:
    play = begin(max_batch_size=4)
    play.arrive("a", 1_000_000)
    play.expect("send a (size)")
