"""A bounded memory in which what is made up cannot drive out what is in use."""

import pytest

from batcher_sidecar.remembered import KEPT_S, Remembered


class Entry:
    def __init__(self, name: str) -> None:
        self.name = name
        self.used_s = 0.0


class Memory:
    """Room for two newcomers and three that last, and a clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.forgotten: list[str] = []
        self._kept: Remembered[Entry] = Remembered(2, 3, lambda e: self.forgotten.append(e.name))

    def add(self, *names: str) -> None:
        for name in names:
            self._kept.add(name, Entry(name), self.now_s)

    def keep(self, *names: str) -> None:
        for name in names:
            self._kept.keep(name, self.now_s)

    def use(self, *names: str) -> None:
        for name in names:
            self.now_s += 2
            entry = self._kept.get(name, self.now_s)
            assert entry is not None
            assert entry.name == name

    @property
    def names(self) -> set[str]:
        return {entry.name for entry in self._kept}


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_newcomers_displace_the_least_recently_used_of_themselves(memory: Memory) -> None:
    memory.add("a", "b")
    memory.use("a")
    memory.add("c")
    assert memory.names == {"a", "c"}
    assert memory.forgotten == ["b"]


def test_newcomers_displace_none_that_last(memory: Memory) -> None:
    memory.add("a")
    memory.keep("a")
    memory.add("b", "c", "d", "e")
    assert memory.names == {"a", "d", "e"}


def test_who_was_not_used_for_long_gives_its_lasting_place_away(memory: Memory) -> None:
    for name in "abc":
        memory.add(name)
        memory.keep(name)
    memory.now_s += KEPT_S
    memory.use("a", "c")
    memory.add("d")
    memory.keep("d")
    assert memory.forgotten == ["b"]
    assert memory.names == {"a", "c", "d"}
    memory.add("e", "f", "g")
    assert memory.names == {"a", "c", "d", "f", "g"}


def test_where_all_that_last_are_in_use_a_newcomer_stays_one(memory: Memory) -> None:
    for name in "abc":
        memory.add(name)
        memory.keep(name)
    for _ in range(100):
        memory.use("a", "b", "c")
    memory.add("d")
    memory.keep("d")
    memory.use("d")
    assert memory.names == {"a", "b", "c", "d"}
    memory.add("e", "f")
    assert memory.names == {"a", "b", "c", "e", "f"}


def test_what_is_unknown_is_not_kept(memory: Memory) -> None:
    memory.keep("a")
    assert memory.names == set()


@pytest.mark.parametrize("lasting", [False, True])
def test_another_entry_under_a_key_takes_the_place_of_the_first(
    memory: Memory, lasting: bool
) -> None:
    memory.add("a")
    if lasting:
        memory.keep("a")
    memory.add("a")
    assert memory.forgotten == ["a"]
    assert memory.names == {"a"}
