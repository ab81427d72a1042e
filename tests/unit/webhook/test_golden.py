"""Pods as KServe and Knative make them, and what becomes of them.

`make goldens` writes the files anew; look at the difference.
"""

import copy
import json

import jsonpatch
import pytest
import yaml

from batcher_webhook.patch import difference
from tests.unit.webhook.golden_files import CASES, Pod, after_path, applied, before, dump
from tests.unit.webhook.golden_files import taken_back as without_ours

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize("case", CASES)
def test_a_pod_becomes_its_golden(case: str, request: pytest.FixtureRequest) -> None:
    _, pod = applied(before(case))
    path = after_path(case)
    if request.config.getoption("--renew-goldens"):
        if not path.exists() or path.read_text() != dump(pod):
            path.write_text(dump(pod))
            pytest.skip(f"renewed {path.name}: look at its difference")
        return
    assert yaml.safe_load(path.read_text()) == pod


def test_every_golden_has_its_pod() -> None:
    folder = after_path("x").parent
    afters = {p.name.removesuffix(".after.yaml") for p in folder.glob("*.after.yaml")}
    assert afters == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_twice_is_once(case: str) -> None:
    _, once = applied(before(case))
    assert applied(once)[1] == once


@pytest.mark.parametrize("case", CASES)
def test_what_others_add_in_between_changes_nothing(case: str) -> None:
    _, once = applied(before(case))
    meddled = meddle(once)
    assert applied(meddled)[1] == meddled


@pytest.mark.parametrize("case", CASES)
def test_the_patch_makes_after_of_before(case: str) -> None:
    pod = before(case)
    _, after = applied(pod)
    operations = json.loads(json.dumps(difference(pod, after)))
    assert as_json(jsonpatch.apply_patch(pod, operations)) == as_json(after)


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_ours_stays(case: str) -> None:
    pod = before(case)
    untouched = copy.deepcopy(pod)
    _, after = applied(pod)
    assert pod == untouched
    assert as_json(without_ours(pod, after)) == as_json(pod)


def meddle(pod: Pod) -> Pod:
    """What the API server, the ServiceAccount plugin and a mesh do between two passes."""
    pod = copy.deepcopy(pod)
    for container in pod["spec"]["containers"]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        mounts = container.setdefault("volumeMounts", [])
        if not any(mount["mountPath"] == TOKEN_PATH for mount in mounts):
            mounts.append({"name": "kube-api-access-x", "mountPath": TOKEN_PATH, "readOnly": True})
        for probe in ("readinessProbe", "livenessProbe"):
            action = container.get(probe, {}).get("httpGet")
            if action is not None:
                action["path"], action["port"] = f"/app-health/{container['name']}", 15020
    volumes = pod["spec"].setdefault("volumes", [])
    volumes.append({"name": "kube-api-access-x", "projected": {"sources": []}})
    pod["spec"]["containers"].insert(0, {"name": "istio-proxy", "image": "example/mesh:1"})
    return pod


def as_json(pod: Pod) -> str:
    """Unlike `==`, tells true from 1; the order of fields means nothing."""
    return json.dumps(pod, sort_keys=True)
