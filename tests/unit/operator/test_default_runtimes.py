import asyncio
import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batcher_operator.default_runtimes import DefaultRuntimes, read_runtimes
from batcher_operator.kube import Refused

PATH = "/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/sklearn"
OURS = {
    "app.kubernetes.io/name": "inference-batcher",
    "app.kubernetes.io/managed-by": "inference-batcher",
}
WANTED = """
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterServingRuntime
metadata: {name: sklearn, labels: {team: ml, app.kubernetes.io/managed-by: Helm}}
spec: {containers: [{name: kserve-container, image: "example/s:1"}]}
"""
UNWANTED = WANTED.partition("spec:")[0]
Json = dict[str, Any]


class Cluster:
    """Runtimes by path."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.applied = 0
        self.error: OSError | None = None

    async def get(self, path: str) -> Json | None:
        return copy.deepcopy(self.objects.get(path))

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Json:
        assert manager == "inference-batcher"
        if self.error is not None:
            raise self.error
        self.applied += 1
        self.objects[path] = copy.deepcopy(dict(body))
        self.objects[path]["metadata"]["uid"] = "u1"
        return self.objects[path]

    async def delete(self, path: str, uid: str) -> None:
        assert self.objects[path]["metadata"]["uid"] == uid
        del self.objects[path]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runtimes.yaml"


def runtimes(cluster: Cluster, file: Path, text: str = WANTED) -> DefaultRuntimes:
    file.write_text(text)
    return DefaultRuntimes(cluster, read_runtimes(file))


def theirs(**labels: str) -> Json:
    return {"metadata": {"name": "sklearn", "uid": "u0", "labels": labels}, "spec": {"theirs": 1}}


async def test_a_runtime_is_applied_as_ours(cluster: Cluster, file: Path) -> None:
    await runtimes(cluster, file).look()
    assert cluster.objects[PATH]["metadata"]["labels"] == {"team": "ml", **OURS}
    assert cluster.objects[PATH]["spec"]["containers"][0]["image"] == "example/s:1"


@pytest.mark.parametrize("text", [WANTED, UNWANTED])
async def test_one_that_somebody_else_made_is_left_alone(
    cluster: Cluster, file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.objects[PATH] = theirs(team="ml")
    looking = runtimes(cluster, file, text)
    with caplog.at_level(logging.INFO):
        await looking.look()
        await looking.look()
    assert cluster.objects[PATH] == theirs(team="ml")
    (said,) = caplog.messages
    assert "ClusterServingRuntime sklearn has no label of ours" in said


async def test_one_that_the_chart_itself_had_made_is_taken_over(
    cluster: Cluster, file: Path
) -> None:
    helm = {"app.kubernetes.io/name": "inference-batcher", "app.kubernetes.io/managed-by": "Helm"}
    cluster.objects[PATH] = theirs(**helm)
    await runtimes(cluster, file).look()
    assert "containers" in cluster.objects[PATH]["spec"]


async def test_one_that_is_not_wanted_is_deleted_if_it_is_ours(
    cluster: Cluster, file: Path
) -> None:
    unwanted = runtimes(cluster, file, UNWANTED)
    await unwanted.look()
    cluster.objects[PATH] = theirs(**OURS)
    await unwanted.look()
    assert cluster.objects == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("kind: ClusterServingRuntime", "holds something else"),
        ("- 1", "holds something else"),
        (WANTED.replace("Cluster", ""), "holds something else"),
        (WANTED.replace("name: sklearn", "name: 1"), "holds something else"),
    ],
)
def test_a_file_of_no_use_is_refused_by_name(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_runtimes(file)
    assert str(file) in str(caught.value)


def test_a_file_may_hold_none_or_several(file: Path) -> None:
    file.write_text("")
    assert read_runtimes(file) == ()
    file.write_text(f"{WANTED}---\n{UNWANTED}")
    assert ["spec" in each for each in read_runtimes(file)] == [True, False]


async def let_it_work() -> None:
    """Nothing that it calls here takes longer."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_waits_while_nothing_may_be_written_and_mends_what_changes(
    cluster: Cluster, file: Path
) -> None:
    looking, why = runtimes(cluster, file), ["KServe runs InferenceServices here"]

    async def why_not() -> str:
        return why[0]

    task = asyncio.ensure_future(looking.keep(3600, why_not))
    try:
        await let_it_work()
        assert cluster.objects == {}
        assert looking.why_not_ready
        why[0] = ""
        looking.look_again()
        await let_it_work()
        assert looking.why_not_ready == ""
        cluster.objects.clear()
        looking.look_again()
        await let_it_work()
        assert PATH in cluster.objects
        cluster.error = Refused(422, "spec is invalid")
        looking.look_again()
        await let_it_work()
        words = "sklearn cannot be applied: the API server answered 422: spec is invalid"
        assert looking.why_not_ready.endswith(words)
    finally:
        task.cancel()
        await asyncio.wait([task])
