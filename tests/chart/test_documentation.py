"""The page about installation shows values that work."""

import re
from pathlib import Path

import pytest
import yaml

from tests.chart.rendered import pod_templates, render
from tests.chart.values_table import rows

PAGE = (Path(__file__).parents[2] / "docs" / "installation.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_can_be_installed(number: int) -> None:
    assert set(pod_templates(render(yaml.safe_load(EXAMPLES[number])))) == {
        "operator",
        "test",
        "webhook",
    }


def test_every_value_that_is_named_exists() -> None:
    known = {row.path for row in rows()}
    groups = {path.rsplit(".", count)[0] for path in known for count in range(path.count(".") + 1)}
    roots = "|".join(sorted({path.partition(".")[0] for path in known}))
    named = set(re.findall(rf"`((?:{roots})\.[A-Za-z.]+)`", PAGE))
    assert len(named) >= 5
    assert named <= known | groups
