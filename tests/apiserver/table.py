"""The table of `docs/admission.md`: what is written, and what `kubectl apply` says to it."""

import re
from dataclasses import dataclass
from typing import Final

import yaml

from tests.apiserver.kit import ROOT, Manifest

__all__ = ["FILE", "PAGE", "Row", "answer", "read_rows", "service", "write_answer"]

PAGE: Final = ROOT / "docs" / "admission.md"
FILE: Final = "iris.yaml"
_ROW: Final = re.compile(r"^\| (`(?:metadata|spec)[.].*`) \| (.*) \|$", re.MULTILINE)
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")
_BASE: Final = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    written: str
    """Its first cell: fields and their values, each as `path: value`."""

    answer: str
    """Its second cell."""

    def manifest(self) -> Manifest:
        """The InferenceService of the page with the row's fields."""
        return service(*_unquoted(self.written))


def service(*fields: str) -> Manifest:
    """The InferenceService of the page with other fields, each as `path: value`."""
    made: Manifest = yaml.safe_load(_BASE)
    for field in fields:
        path, _, value = field.partition(": ")
        *owners, key = (bare or quoted for bare, quoted in _STEP.findall(path))
        place = made
        for owner in owners:
            place = place.setdefault(owner, {})
        place[key] = yaml.safe_load(value)
    return made


def read_rows() -> list[Row]:
    """The rows, in their order."""
    return [Row(*found) for found in _ROW.findall(PAGE.read_text())]


def answer(lines: list[str]) -> str:
    """A cell that shows lines."""
    return "<br>".join(f"`{line.rstrip()}`" for line in lines)


def write_answer(row: Row, cell: str) -> None:
    """Give a row of the page another second cell."""
    page = PAGE.read_text()
    PAGE.write_text(
        page.replace(f"| {row.written} | {row.answer} |", f"| {row.written} | {cell} |")
    )


def _unquoted(cell: str) -> list[str]:
    return [part.strip("`") for part in cell.split("<br>")]
