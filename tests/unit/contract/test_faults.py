"""Faults: sentences that name field, value and remedy, and cannot be abused."""

from hypothesis import given
from hypothesis import strategies as st

from batcher_contract import Fault, SettingsError


def test_a_fault_names_field_value_problem_and_remedy() -> None:
    fault = Fault("--port", "0", "is less than 1", "give a whole number from 1 to 65535")
    assert str(fault) == '--port "0" is less than 1: give a whole number from 1 to 65535'


def test_a_fault_can_be_told_where_its_field_is_named_already() -> None:
    assert Fault("--port", "0", "is less than 1", "give 1").without_field == (
        '"0" is less than 1: give 1'
    )
    assert Fault("--prt", None, "is unknown", "drop it").without_field == "is unknown: drop it"


def test_a_fault_without_a_value_names_none() -> None:
    assert str(Fault("--prt", None, "is an unknown flag", "did you mean --port?")) == (
        "--prt is an unknown flag: did you mean --port?"
    )


def test_an_error_names_all_its_faults_in_one_line() -> None:
    faults = [Fault("--a", "1", "is wrong", "give 2"), Fault("--b", None, "is odd", "drop it")]
    error = SettingsError(faults)
    assert str(error) == '--a "1" is wrong: give 2; --b is odd: drop it'
    assert error.faults == tuple(faults)


@given(st.text(), st.text())
def test_no_value_can_break_the_line_or_flood_it(field: str, value: str) -> None:
    sentence = str(Fault(field, value * 50, "is wrong", "mend it"))
    assert sentence.isprintable()
    assert len(sentence) < 2500
