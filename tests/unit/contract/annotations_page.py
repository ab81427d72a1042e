"""The tables of `docs/annotations.md`, made from the table of fields.

    python -m tests.unit.contract.annotations_page

writes them anew.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from batcher_contract import FIELDS, Field
from batcher_operator.authority import SINCE_ANNOTATION

__all__ = ["shown", "wanted"]

_PAGE: Final = Path(__file__).parents[3] / "docs" / "annotations.md"
_PLACE: Final = {
    "webhook": "pods",
    "operator": "pods of standalone mode",
}
_SINCE: Final = "since when its `caBundle` has held which authority"


def shown() -> str:
    """The page as it is."""
    return _PAGE.read_text()


def wanted() -> str:
    """The page with its tables as they should be."""
    settable = [field for field in FIELDS.values() if field.annotation or field.section]
    users = [field for field in settable if field.writer is None]
    page = shown()
    for name, rows in (
        ("settings", _settings(each for each in users if each.group == "settings")),
        ("pod", _settings(each for each in users if each.group == "pod")),
        ("written", _written(each for each in settable if each.writer is not None)),
    ):
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        assert start in page, f"the page has lost its mark of {name}"
        before, _, rest = page.partition(start)
        heading, *lines = (f"| {' | '.join(row)} |\n" for row in rows)
        table = "".join((heading, f"|{'---|' * (heading.count('|') - 1)}\n", *lines))
        page = "".join((before, start, table, end, rest.partition(end)[2]))
    return page


def _settings(fields: Iterable[Field]) -> Iterator[tuple[str, ...]]:
    yield ("Setting", "Default", "Values", "Meaning")
    for field in fields:
        yield (
            f"`{field.annotation_key}`" + (" of the section" if field.section else ""),
            _worded(field.default_text),
            field.kind.expected,
            _worded(field.meaning),
        )


def _written(fields: Iterable[Field]) -> Iterator[tuple[str, ...]]:
    yield ("Annotation", "Of", "By", "Meaning")
    for field in fields:
        writer = field.writer or ""
        yield (f"`{field.annotation_key}`", _PLACE[writer], writer, field.meaning)
    yield (f"`{SINCE_ANNOTATION}`", "webhook configurations", "operator", _SINCE)


def _worded(text: str) -> str:
    """With annotations instead of the flags that a text names."""
    by_flag = {field.flag_key: field.annotation_key for field in FIELDS.values() if field.flag}
    return re.sub(r"--[a-z-]+", lambda match: f"`{by_flag[match[0]]}`", text)


if __name__ == "__main__":
    _PAGE.write_text(wanted())
