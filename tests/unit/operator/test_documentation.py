"""The page about the operator names what people may meet."""

import re
from pathlib import Path

from batcher_operator import reconcile, workloads
from batcher_operator.authority import Standing
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()


def test_every_reason_is_explained_with_its_type() -> None:
    source = Path(reconcile.__file__).read_text()
    said = re.findall(r'Notice\(\s*"(\w+)",\s*"(\w+)"', source)
    explained = re.findall(r"^\| `([A-Z]\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert {(reason, kind) for kind, reason in said} == set(explained)


def test_every_metric_is_explained() -> None:
    metrics = Metrics()
    metrics.watch_cluster(Memory(), "", lambda: 0)
    metrics.watch_certificates(lambda: Standing(why_not_ready=""))
    text = metrics.scrape()[0].decode()
    names = re.findall(r"^# TYPE inference_batcher_operator_(\w+)", text, re.MULTILINE)
    section = PAGE[PAGE.index("| Metric") : PAGE.index("## Rights")]
    cells = " ".join(re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE))
    explained = set(re.findall(r"`(\w+)", cells))
    assert {name for name in names if not name.endswith("_created")} == explained


def test_every_reason_of_standalone_mode_is_explained() -> None:
    page = (ROOT / "docs" / "standalone.md").read_text()
    source = Path(workloads.__file__).read_text()
    said = set(re.findall(r'Notice\("Warning", "(\w+)"', source)) - {"SettingIgnored"}
    assert said == set(re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE))
