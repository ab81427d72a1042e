"""What is looked at next, by a clock that stands until it is set."""

import pytest

from batcher_operator.agenda import Agenda
from batcher_operator.views import Key

A, B, C, D = (Key("models", name) for name in "abcd")


class Stand:
    """An agenda all of whose first looks are over."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.agenda = Agenda(lambda: self.keys)
        self.now_s = 0.0
        self.drain()

    def begin(self) -> Key | None:
        key = self.agenda.next(self.now_s)
        if key is not None:
            self.agenda.take(key)
        return key

    def end(self, key: Key, failed: bool = False) -> None:
        self.agenda.end(key, self.now_s, failed)

    def drain(self) -> list[Key]:
        """Look at all that is due now, one after the other."""
        done = []
        while (key := self.begin()) is not None:
            self.end(key)
            done.append(key)
        return done


def test_all_are_due_at_the_beginning() -> None:
    agenda = Agenda(lambda: [A, B])
    assert agenda.next(0.0) == A


def test_nothing_is_due_until_something_changes() -> None:
    stand = Stand(A, B)
    assert stand.drain() == []
    stand.agenda.add([B])
    stand.agenda.add([B])
    assert stand.drain() == [B]


def test_what_changed_comes_before_what_did_not() -> None:
    stand = Stand(A, B, C)
    stand.agenda.add_all()
    stand.agenda.add([C])
    assert stand.drain() == [C, A, B]


def test_the_rest_has_its_turn_however_much_changes() -> None:
    stand = Stand(A)
    stand.agenda.add_all()
    looked_at = []
    for number in range(20):
        stand.agenda.add([Key("models", f"busy-{number}")])
        key = stand.begin()
        assert key is not None
        stand.end(key)
        looked_at.append(key)
    assert A in looked_at


def test_all_are_looked_at_every_five_minutes_whatever_else_happens() -> None:
    stand = Stand(A, B)
    looks = []
    for second in range(1, 901):
        stand.now_s = float(second)
        stand.agenda.add([B])
        assert stand.agenda.due_s <= second + 300
        looks += [second for key in stand.drain() if key == A]
    assert looks == [300, 600, 900]


def test_one_is_never_looked_at_twice_at_a_time() -> None:
    stand = Stand(A)
    stand.agenda.add([A])
    assert stand.begin() == A
    stand.agenda.add([A])
    stand.agenda.add_all()
    assert stand.begin() is None
    stand.end(A)
    assert stand.drain() == [A]


def test_one_that_fails_waits_longer_each_time_and_lets_nobody_else_wait() -> None:
    stand = Stand(A, B)
    stand.agenda.add([A])
    waits = []
    for tries in range(10):
        assert stand.agenda.next(stand.now_s) == A
        assert stand.agenda.take(A) == tries
        stand.end(A, failed=True)
        assert stand.begin() is None
        stand.agenda.add([B])
        assert stand.drain() == [B]
        waits.append(stand.agenda.due_s - stand.now_s)
        stand.now_s = stand.agenda.due_s
    assert waits[:5] == [0.25, 0.5, 1, 2, 4]
    assert waits[-2:] == [60, 60]


def test_one_that_failed_and_succeeds_begins_anew() -> None:
    stand = Stand(A)
    for _ in range(3):
        stand.agenda.add([A])
        assert stand.begin() == A
        stand.end(A, failed=True)
    stand.now_s = stand.agenda.due_s
    assert stand.drain() == [A]
    stand.agenda.add([A])
    assert stand.agenda.take(A) == 0


@pytest.mark.parametrize("everyone", [True, False])
def test_one_that_failed_is_due_at_once_when_it_changes(everyone: bool) -> None:
    stand = Stand(A)
    stand.agenda.add([A])
    assert stand.begin() == A
    stand.end(A, failed=True)
    if everyone:
        stand.agenda.add_all()
    else:
        stand.agenda.add([A])
    assert stand.drain() == [A]
    stand.now_s = 60.0
    assert stand.drain() == []  # once
    assert stand.agenda.due_s == 300


def test_what_changes_while_it_is_looked_at_and_fails_is_due_at_once() -> None:
    stand = Stand(A)
    stand.agenda.add([A])
    assert stand.begin() == A
    stand.agenda.add([A])
    stand.end(A, failed=True)
    assert stand.drain() == [A]
