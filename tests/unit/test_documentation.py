"""All pages together: what they link to and name is there."""

import re
from pathlib import Path

import pytest

from batcher_contract import FIELDS
from batcher_contract.names import ANNOTATION_PREFIX
from batcher_operator.authority import SINCE_ANNOTATION
from tests.unit.contract import annotations_page

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(page for name in ("charts", "docs", "examples") for page in (ROOT / name).rglob("*.md")),
    ]
)
ANNOTATIONS = {
    *(field.annotation_key for field in FIELDS.values() if field.annotation),
    SINCE_ANNOTATION,
}
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """What a link may name after the `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    bare = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.replace(" ", "-") for text in bare}


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@EVERY_PAGE
def test_every_annotation_that_is_named_exists(page: Path) -> None:
    # Not the hosts of webhooks, and not the misspelt ones that a page shows to be refused.
    named = set(re.findall(rf"(?<![\w.]){ANNOTATION_PREFIX}([a-z-]+)", page.read_text()))
    known = {key.removeprefix(ANNOTATION_PREFIX) for key in ANNOTATIONS}
    assert named - {"max-concurency"} <= known


def test_the_page_of_annotations_is_that_of_the_fields() -> None:
    text = annotations_page.shown()
    assert text == annotations_page.wanted(), "run `python -m tests.unit.contract.annotations_page`"
    assert all(f"`{key}`" in text for key in ANNOTATIONS)
