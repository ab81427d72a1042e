"""The page about standalone mode shows all that is refused and warned about, in its words."""

import ast
import inspect
import re
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from batcher_contract.standalone import annotations, components, judge, judgement, pods, scaling
from tests.apiserver.table import service

PAGE = (Path(__file__).parents[4] / "docs" / "standalone.md").read_text()
MODULES = (annotations, components, judgement, pods, scaling)
ROW = re.compile(r"^\| (`(?:metadata|spec)[.].*`) \| (.*) \|$", re.MULTILINE)


def rows(heading: str) -> list[tuple[str, str]]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return ROW.findall(section)


def manifest(cell: str) -> Any:
    return service(*(part.strip("`") for part in cell.split("<br>")))


def cell(said: list[str]) -> str:
    return "<br>".join(f"`{each}`" for each in said)


REFUSED, WARNED = rows("What is refused"), rows("What is run without")


@pytest.mark.parametrize(("written", "said"), REFUSED)
def test_what_is_refused(written: str, said: str) -> None:
    assert cell(list(map(str, judge(manifest(written)).faults))) == said


@pytest.mark.parametrize(("written", "said"), WARNED)
def test_what_is_run_without(written: str, said: str) -> None:
    judgement = judge(manifest(written))
    assert not judgement.faults
    assert cell(list(judgement.warnings)) == said


def sayings(module: ModuleType) -> set[tuple[str, int]]:
    """Where a module says something: the lines of its `yield`s."""
    tree = ast.parse(inspect.getsource(module))
    return {
        (module.__name__, node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Yield)
    }


def test_all_that_is_said_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {module.__file__: module.__name__ for module in MODULES}
    reached = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        name = names.get(frame.f_code.co_filename)
        if name is not None and event == "line":
            reached.add((name, frame.f_lineno))
        return trace if name is not None else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for written, _ in (*REFUSED, *WARNED):
            judge(manifest(written))
        judge({})  # nameless: the API server refuses it, or makes a name up
    finally:
        sys.settrace(before)
    assert set().union(*map(sayings, MODULES)) - reached == set()
