"""What helm tells after an installation."""

import shlex

from batcher_contract.names import WEBHOOK_CONFIGURATION
from tests.apiserver.chart.release import (
    CONFIGURATIONS,
    OF_KSERVE,
    Helm,
    is_served,
    make_namespaces,
    pod,
    service,
)
from tests.apiserver.kit import Api, ApiServer, until
from tests.chart.rendered import CASES, NAMESPACE


def commands(notes: str, program: str) -> list[list[str]]:
    lines = (line.strip() for line in notes.splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


def test_the_notes_name_what_is_there(server: ApiServer, helm: Helm, admin: Api) -> None:
    notes = helm("install").partition("NOTES:")[2]
    assert "WARNING" not in notes
    make_namespaces(admin, "default")
    admin.create(service("noted", {}))
    admin.create(
        pod("noted", labels=OF_KSERVE, annotations={"inference-batcher.io/decision": "Injected: x"})
    )
    told = commands(notes, "kubectl")
    assert len(told) == 5
    for command in told:
        if command[0] == "rollout":  # nothing rolls out here
            kind, _, name = command[-1].partition("/")
            assert kind == "deployment"
            assert admin.find("Deployment", name, NAMESPACE), name
            continue
        if "|" in command:
            assert command[-2:] == ["grep", WEBHOOK_CONFIGURATION]
            command = command[: command.index("|")]
        place = {"NAMESPACE": "default", "NAME": "noted"}
        done = server.kubectl(*(place.get(word, word) for word in command))
        assert done.returncode == 0, done.stderr
        if command[:2] == ["get", "pods"]:
            assert done.stdout.split() == [
                *("NAMESPACE", "POD", "DECISION"),
                *("default", "noted", "Injected:", "x"),
            ]
        elif command[0] == "get":
            assert done.stdout.count(WEBHOOK_CONFIGURATION) == len(CONFIGURATIONS)
        else:
            found = admin.get("InferenceService", "noted", "default")
            assert "inference-batcher.io/restarted-at" in found["metadata"]["annotations"]
    for kind in ("Pod", "InferenceService"):
        admin.delete(kind, "noted", "default")


def warnings(helm: Helm, case: str, mode: str = "kserve") -> str:
    values = {**CASES[case], "mode": mode}
    notes = helm("install", "--dry-run=server", values=values).partition("NOTES:")[2]
    return notes.partition("WARNING: ")[2]


def test_the_notes_warn_of_values_that_need_more(helm: Helm) -> None:
    assert warnings(helm, "pod monitor") == ""
    assert warnings(helm, "annotations").startswith("the NetworkPolicy lets nobody read")
    assert warnings(helm, "host network").startswith("pods on the host's network need")
    for mode, words in (
        ("kserve", "start with KServe's own agent."),
        ("standalone", "start without batching."),
    ):
        warning = warnings(helm, "placed", mode)
        assert warning.startswith("webhook.failurePolicy.pods is Fail")
        assert warning.rstrip().endswith(words)


def test_the_notes_warn_where_kserve_is_missing(helm: Helm, admin: Api) -> None:
    definition = "inferenceservices.serving.kserve.io"

    def serve(served: bool) -> None:
        change = [{"op": "replace", "path": "/spec/versions/0/served", "value": served}]
        admin.patch("CustomResourceDefinition", definition, None, change, style="json")
        until(lambda: is_served(admin, "InferenceService") is served, f"served: {served}")

    serve(False)
    try:
        for mode in ("kserve", "standalone"):
            warning = warnings(helm, "defaults", mode)
            assert warning.startswith("this cluster does not know InferenceServices")
            assert ("Install KServe" in warning) is (mode == "kserve")
    finally:
        serve(True)
