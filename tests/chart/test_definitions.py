"""The kinds that the chart defines where KServe is not."""

from typing import Final

from tests.chart.pod_security import violations
from tests.chart.rendered import RELEASE, Values, render
from tests.unit.operator.standalone.golden_files import given, made

PLURALS: Final = ("clusterservingruntimes", "inferenceservices", "servingruntimes")
KEEP: Final = {"helm.sh/resource-policy": "keep"}
RESOURCES: Final = {"limits": {"memory": "1Gi"}}
DEFINED: Final[Values] = {
    "crds": {"enabled": True},
    "commonLabels": {"team": "ml"},
    "servingRuntimes": {"sklearn": {"image": "example/s:1", "resources": RESOURCES}},
}


def test_nothing_is_defined_unless_it_is_asked_for() -> None:
    chart = render({}, RELEASE)
    assert chart.all("CustomResourceDefinition") == chart.all("ClusterServingRuntime") == []


def test_what_is_defined_stays_and_says_whose_it_is() -> None:
    metas = [each["metadata"] for each in render(DEFINED, RELEASE).all("CustomResourceDefinition")]
    assert sorted(meta["name"] for meta in metas) == [f"{p}.serving.kserve.io" for p in PLURALS]
    for meta in metas:
        assert meta["annotations"] == KEEP
        assert meta["labels"]["app.kubernetes.io/name"] == "inference-batcher"
        assert meta["labels"]["team"] == "ml"
        assert "namespace" not in meta


def test_a_runtime_for_scikit_learn() -> None:
    runtime = render(DEFINED, RELEASE).one("ClusterServingRuntime")
    (container,) = runtime["spec"]["containers"]
    assert container["image"] == "example/s:1"
    assert container["resources"]["limits"]["memory"] == "1Gi"
    # Its definition may be new: then it is made after it, and stays like it.
    annotations = runtime["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "post-install,post-upgrade"
    assert KEEP.items() <= annotations.items()
    assert violations(runtime["spec"]) == []


def test_pods_that_it_serves_in_keep_to_the_restricted_profile() -> None:
    documents = [each for each in given("batcher") if each["kind"] != "ClusterServingRuntime"]
    documents.append(render(DEFINED, RELEASE).one("ClusterServingRuntime"))
    workload = made(documents)
    (deployment,) = (each for each in workload.objects if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert violations(pod) == []
    assert "--model_name=batcher" in pod["containers"][0]["args"]


def test_no_runtime_without_an_image() -> None:
    values = {**DEFINED, "servingRuntimes": {"sklearn": {"image": ""}}}
    assert render(values, RELEASE).all("ClusterServingRuntime") == []
