"""The pages about the operator and about trouble name what people may meet."""

import re
from pathlib import Path
from types import ModuleType
from typing import get_args

from batcher_contract.settings import Mode
from batcher_operator import reconcile, workloads
from batcher_operator.authority import Standing
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics
from batcher_operator.standalone.failures import FailureReason
from batcher_operator.views import read_service
from tests.unit.operator import objects

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()
HELP = (ROOT / "docs" / "troubleshooting.md").read_text()


def reasons_in(module: ModuleType) -> set[tuple[str, str]]:
    """Reason and type of every Event that a module's source has."""
    source = Path(module.__file__ or "").read_text()
    return {(name, kind) for kind, name in re.findall(r'Notice\(\s*"(\w+)",\s*"(\w+)"', source)}


def test_every_reason_is_explained_with_its_type_and_mode() -> None:
    in_both, in_standalone = reasons_in(reconcile), reasons_in(workloads)
    in_standalone |= {(reason, "Warning") for reason in get_args(FailureReason)}
    in_kserve = {("ContainerConcurrencyOne", "Warning")}
    wanted = {(*each, "kserve" if each in in_kserve else "both") for each in in_both}
    wanted |= {(*each, "standalone") for each in in_standalone - in_both}
    link = r"\[`([A-Z]\w+)`\]\(#(\w+)\)"
    rows = re.findall(rf"^\| {link} \| (\w+) \| (\w+) \|", HELP, re.MULTILINE)
    assert {(name, kind, mode) for name, _, kind, mode in rows} == wanted
    assert all(anchor == name.lower() for name, anchor, _, _ in rows)
    assert [row[0] for row in rows] == re.findall(r"^### (\w+)$", HELP, re.MULTILINE)


def test_every_reason_has_symptom_cause_look_and_remedy() -> None:
    for section in re.split(r"^##+ ", HELP, flags=re.MULTILINE):
        if re.match(r"[A-Z]\w+\n", section) and not section.startswith("Events"):
            points = re.findall(r"^- \*\*(\w+):\*\*", section, re.MULTILINE)
            assert points == ["Symptom", "Cause", "Look", "Remedy"], section


def test_an_event_of_one_mode_alone_is_told_in_that_mode_alone() -> None:
    predictor = {"batcher": {}, "containerConcurrency": 1}
    service = read_service(objects.service(predictor=predictor))
    told = {mode: {each.reason for each in reconcile.reconcile(service, (), "", mode)}
            for mode in get_args(Mode)}  # fmt: skip
    assert told == {"kserve": {"ContainerConcurrencyOne"}, "standalone": set()}


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
