from typing import Any

import pytest

from batcher_operator.reconcile import Notice, reconcile, shape_of
from batcher_operator.views import read_pod, read_service
from tests.unit.operator import objects
from tests.unit.operator.objects import IMAGE

INJECTED = "Injected: batches as the agent, before port 8080"
ROLL = (
    "roll them with `kubectl annotate isvc iris -n models --overwrite "
    'inference-batcher.io/restarted-at="$(date -Iseconds)"`'
)


def notices(*pods: dict[str, Any], image: str = IMAGE, **spec: Any) -> tuple[Notice, ...]:
    return reconcile(read_service(objects.service(**spec)), map(read_pod, pods), image)


def only(*pods: dict[str, Any], **spec: Any) -> Notice:
    (notice,) = notices(*pods, **spec)
    return notice


def test_a_service_without_pods_needs_no_word() -> None:
    assert notices() == ()


def test_injected_is_said_once_for_all_pods() -> None:
    pods = [objects.pod(objects.sidecar(), name=f"p{i}", decision=INJECTED) for i in range(3)]
    assert only(*pods) == Notice(
        "Normal",
        "SidecarInjected",
        "pods of spec.predictor: batches as the agent, before port 8080",
    )


def test_a_pod_that_our_webhook_never_saw() -> None:
    notice = only(objects.pod({"name": "agent"}))
    assert (notice.kind, notice.reason) == ("Warning", "SidecarMissing")
    assert notice.message.startswith("pods of spec.predictor run without the batching sidecar")
    assert notice.message.endswith(ROLL)


def test_a_pod_from_before_the_batcher_section_needs_no_word() -> None:
    assert notices(objects.pod(asked=False)) == ()


def test_a_pod_that_ends_needs_no_word() -> None:
    ending = objects.pod({"name": "agent"})
    ending["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert notices(ending) == ()


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (
            "PortTaken: the container web uses port 9081",
            (
                "pods of spec.predictor run without the sidecar, so that KServe's agent batches "
                "(PortTaken): the container web uses port 9081; move that container to another port"
            ),
        ),
        (
            "Windows: the sidecar runs on Linux",
            (
                "pods of spec.predictor run without the sidecar, so that KServe's agent batches "
                "(Windows): the sidecar runs on Linux"
            ),
        ),
    ],
)
def test_a_pod_that_our_webhook_left_alone(decision: str, message: str) -> None:
    assert only(objects.pod(decision=decision)) == Notice("Warning", "SidecarNotInjected", message)


def test_who_opted_out_is_not_warned() -> None:
    notice = only(objects.pod(decision="OptedOut: inference-batcher.io/inject is false"))
    assert (notice.kind, notice.reason) == ("Normal", "SidecarOptedOut")


@pytest.mark.parametrize(
    "container", [objects.sidecar(version="0.0.1"), objects.sidecar(image="example.org/old:1")]
)
def test_a_sidecar_of_before(container: dict[str, Any]) -> None:
    notice = only(objects.pod(container, decision=INJECTED))
    assert (notice.kind, notice.reason) == ("Normal", "SidecarOutdated")
    assert container["image"] in notice.message
    assert notice.message.endswith(ROLL)


def test_images_are_not_compared_where_the_current_one_is_not_known() -> None:
    pod = objects.pod(objects.sidecar(image="example.org/old:1"), decision=INJECTED)
    assert [notice.reason for notice in notices(pod, image="")] == ["SidecarInjected"]


def test_what_the_webhook_did_not_apply() -> None:
    pod = objects.pod(
        objects.sidecar(), decision=f'{INJECTED}; not applied: max-latency "x" is no number'
    )
    injected, ignored = notices(pod)
    assert injected.message == "pods of spec.predictor: batches as the agent, before port 8080"
    assert ignored == Notice(
        "Warning",
        "SettingIgnored",
        'pods of spec.predictor run without what cannot be applied: max-latency "x" is no number',
    )


def test_container_concurrency_1() -> None:
    notice = only(predictor={"batcher": {}, "containerConcurrency": 1})
    assert (notice.kind, notice.reason) == ("Warning", "ContainerConcurrencyOne")
    assert notice.message.startswith("spec.predictor.containerConcurrency 1 ")


@pytest.mark.parametrize(("grace_s", "told"), [(14, True), (15, False)])
def test_a_grace_period_must_hold_a_window_and_the_quiet_time(grace_s: int, told: bool) -> None:
    pod = objects.pod(
        objects.sidecar("--max-latency=10000"), terminationGracePeriodSeconds=grace_s
    )
    found = [notice for notice in notices(pod) if notice.reason == "GracePeriodTooShort"]
    assert len(found) == told
    assert not told or "have 14 s to end and need 15 s" in found[0].message


@pytest.mark.parametrize(
    ("memory", "args", "told"),
    [
        ("1Gi", (), False),
        ("64Mi", (), True),
        ("86Mi", (), False),
        ("1Gi", ("--max-queue-bytes=1Gi",), True),
        ("128Mi", ("--max-body-bytes=64Mi",), True),
        ("512Mi", ("--max-body-bytes=64Mi",), False),
        ("nonsense", (), False),
    ],
)
def test_a_memory_limit_must_hold_what_waits(
    memory: str, args: tuple[str, ...], told: bool
) -> None:
    pod = objects.pod(objects.sidecar(*args, memory=memory))
    found = [notice for notice in notices(pod) if notice.reason == "MemoryLimitTooLow"]
    assert len(found) == told


@pytest.mark.parametrize(
    ("pod", "shape"),
    [
        (objects.pod(objects.sidecar()), "injected"),
        (objects.pod(objects.sidecar(version="0")), "outdated"),
        (objects.pod(decision="HostNetwork: it is on the host's network"), "declined"),
        (objects.pod(), "missing"),
        (objects.pod(asked=False), "unasked"),
    ],
)
def test_shapes(pod: dict[str, Any], shape: str) -> None:
    assert shape_of(read_pod(pod), IMAGE) == shape


def test_without_kserve_nothing_batches_in_a_pod_without_a_sidecar() -> None:
    pods = [read_pod(objects.pod()), read_pod(objects.pod(decision="HostNetwork: it is on it"))]
    service = read_service(objects.service())
    messages = [notice.message for notice in reconcile(service, pods, IMAGE, "standalone")]
    assert len(messages) == 2
    assert all("nothing batches" in message for message in messages)
    assert not any("KServe's agent" in message for message in messages)


@pytest.mark.parametrize(
    ("file", "reasons"),
    [
        ('{"max-latency": "60000"}', {"GracePeriodTooShort"}),
        ('{"max-latency": "50"}', set()),
        ('{"max-latency": "50", "max-queue-bytes": "2Gi"}', {"MemoryLimitTooLow"}),
    ],
)
def test_what_running_sidecars_are_told_counts(file: str, reasons: set[str]) -> None:
    sidecar = objects.sidecar("--settings-file=/settings.json")
    pods = [read_pod(objects.pod(sidecar, terminationGracePeriodSeconds=8))]
    service = read_service(objects.service())
    told = reconcile(service, pods, IMAGE, "standalone", {"predictor": file})
    assert {notice.reason for notice in told} == reasons
