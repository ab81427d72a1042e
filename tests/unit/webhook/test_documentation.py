"""The page about admission names what people may meet."""

import re
from pathlib import Path

from batcher_webhook import decide as module
from tests.unit.webhook.golden_files import CASES, applied, before

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "admission.md").read_text()


def test_every_reason_on_a_pod_is_explained() -> None:
    source = Path(module.__file__).read_text()
    written = set(re.findall(r'_leave\(\s*"(\w+)"', source)) | {"Injected"}
    assert written == set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.MULTILINE))


def test_every_reason_has_a_golden() -> None:
    seen = {applied(before(case))[0].reason for case in CASES}
    explained = set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.MULTILINE))
    assert explained <= seen
