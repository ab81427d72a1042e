"""Quantities as Kubernetes reads them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract.quantities import format_bytes, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        ("64Mi", "67108864"),
        ("1.5Gi", "1610612736"),
        ("500m", "0.5"),
        ("100k", "100000"),
        ("1M", "1000000"),
        ("2e3", "2000"),
        ("2E3", "2000"),
        ("1E", "1000000000000000000"),
        ("-1Ki", "-1024"),
        (".5", "0.5"),
        ("5.", "5"),
        ("250u", "0.00025"),
        ("7n", "0.000000007"),
    ],
)
def test_quantities(text: str, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", "Mi", "64MB", "64mi", "64 Mi", " 64", "1_000", "0x10", "1e", "1e2Mi", "1ki", "NaN", "٣"],
)
def test_what_is_no_quantity(text: str) -> None:
    assert parse_quantity(text) is None


@given(st.integers(0, 2**60))
def test_formatting_loses_nothing(count: int) -> None:
    assert parse_quantity(format_bytes(count)) == count


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    assert parse_quantity(text) is None or parse_quantity(text.strip("\n")) is not None


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1000, "1000"), (1024, "1Ki"), (64 * 2**20, "64Mi"), (3 * 2**40, "3Ti")],
)
def test_formatting_picks_the_largest_suffix(count: int, text: str) -> None:
    assert format_bytes(count) == text
