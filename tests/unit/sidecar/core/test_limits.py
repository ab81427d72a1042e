"""The budget of bytes (rule 8)."""

from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.core import ByteBudget


def test_what_does_not_fit_is_not_taken() -> None:
    budget = ByteBudget(100)
    assert budget.reserve(60)
    assert not budget.reserve(41)
    assert budget.used_bytes == 60
    assert budget.reserve(40)
    assert not budget.reserve(1)
    assert budget.reserve(0)


def test_accepted_work_is_counted_and_keeps_new_work_out() -> None:
    budget = ByteBudget(100)
    budget.add(150)
    assert not budget.reserve(1)
    budget.release(100)
    assert budget.reserve(50)
    assert budget.used_bytes == 100


@given(st.lists(st.integers(0, 120), max_size=30))
def test_reservations_never_exceed_the_limit_and_all_come_back(sizes_bytes: list[int]) -> None:
    budget = ByteBudget(100)
    taken = [size for size in sizes_bytes if budget.reserve(size)]
    assert budget.used_bytes == sum(taken) <= 100
    for size in taken:
        budget.release(size)
    assert budget.used_bytes == 0
