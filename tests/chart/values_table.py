"""The table of the chart's values in its README, made from the comments in values.yaml.

    python -m tests.chart.values_table

writes it anew.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

__all__ = ["CHART", "Row", "leaves", "rows", "shown_table", "table"]

CHART: Final = Path(__file__).parents[2] / "charts" / "inference-batcher"
_README: Final = CHART / "README.md"
_TABLE: Final = re.compile(r"(?<=<!-- values -->\n).*?(?=<!-- end of values -->)", re.DOTALL)
_KEY: Final = re.compile(r"(?P<indent> *)(?P<key>\w+):")


class Row(NamedTuple):
    """One value that is explained."""

    path: str
    default: str
    meaning: str


def rows() -> list[Row]:
    """Every value that has a comment `# -- ...` above it."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    found = []
    path: list[str] = []
    meaning = ""
    for line in text.splitlines():
        key = _KEY.match(line)
        if line.lstrip().startswith("# -- "):
            meaning = line.lstrip().removeprefix("# -- ")
        elif key is not None:
            path[len(key["indent"]) // 2 :] = [key["key"]]
            if meaning:
                found.append(Row(".".join(path), json.dumps(_at(values, path)), meaning))
            meaning = ""
    return found


def leaves() -> Iterator[str]:
    """Every value that is no group of others."""
    explained = {row.path for row in rows()}

    def walk(value: object, path: str) -> Iterator[str]:
        if isinstance(value, dict) and value and path not in explained:
            for key, inner in value.items():
                yield from walk(inner, f"{path}.{key}" if path else key)
        else:
            yield path

    yield from walk(yaml.safe_load((CHART / "values.yaml").read_text()), "")


def table() -> str:
    """The table as it should be."""
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{row.path}` | `{row.default}` | {row.meaning} |" for row in rows()]
    return "\n".join(lines) + "\n"


def shown_table() -> str:
    """The table that the README has."""
    match = _TABLE.search(_README.read_text())
    assert match is not None, "the README has lost its marks"
    return match[0]


def _at(values: Any, path: list[str]) -> object:
    for key in path:
        values = values[key]
    return values


if __name__ == "__main__":
    _README.write_text(_TABLE.sub(lambda _: table(), _README.read_text()))
