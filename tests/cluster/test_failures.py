"""Model servers that die or hang behind the sidecar, with real kills and real probes."""

import time
from typing import Final

from tests.apiserver.kit import until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.product import Product
from tests.cluster.kit.traffic import Caller
from tests.cluster.kit.workloads import Workload

KILLS: Final = 6
MODEL: Final = "kserve-container"
TRUE: Final = {"200", "502", "503", "504"}
KILL: Final = """
import os, pathlib, signal
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"/app/model.py" in path.read_bytes().split(b"\\0"):
        os.kill(int(path.parent.name), signal.SIGKILL)
"""


def test_a_killed_model_server_is_told_of_truly(
    product: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    killed = Workload(
        cluster, namespace, "killed", image(cluster, "model"), share_processes=True, latency_ms=5
    )
    killed.start()
    pod = killed.pod()
    # Not through the Service, which leads nowhere while the only pod is not ready.
    address = f"http://{pod['status']['podIP']}:9081{killed.path}"
    load = caller.load(address, callers=16)
    for number in range(KILLS):
        until(lambda: answers(caller, address), "the model server answers", 60.0)
        # From beside it: whatever runs in its own container is killed with it.
        command = ("python3", "-c", KILL)
        cluster.execute(namespace, pod["metadata"]["name"], *command, container="agent")
        until(lambda n=number + 1: killed.restarts(MODEL) == [n], "it is restarted", 60.0)  # type: ignore[misc]
    until(lambda: answers(caller, address), "the model server answers again", 60.0)
    report = load.stop()
    assert report.lost == {}, report
    assert sum(report.statuses.values()) == report.sent
    assert set(report.statuses) <= TRUE, report
    assert report.right == report.statuses["200"], report
    assert report.batched > 0
    assert killed.restarts("agent") == [0]
    assert report.slowest_s < 10.0, report


def test_a_hung_model_server_is_restarted_at_once(
    product: Product, cluster: Cluster, namespace: str, caller: Caller
) -> None:
    hung = Workload(
        cluster,
        namespace,
        "hung",
        image(cluster, "model"),
        share_processes=True,
        liveness=True,
        latency_ms=5,
    )
    hung.start()
    pod = hung.pod()
    address = f"http://{pod['status']['podIP']}"
    assert caller.ask(f"{address}:8080/hang", {})[0].status == 200
    begun_s = time.monotonic()
    until(lambda: hung.restarts(MODEL) == [1], "the kubelet restarts it", 60.0)
    took_s = time.monotonic() - begun_s
    # Two probes of a second each must fail; a drain would take up to 20 s.
    assert took_s < 12.0
    until(lambda: answers(caller, f"{address}:9081{hung.path}"), "it answers again", 30.0)
    (answer,) = caller.ask(hung.url, {"instances": [1]})
    assert (answer.status, answer.json["predictions"]) == (200, [1])
    assert hung.restarts("agent") == [0]


def answers(caller: Caller, url: str) -> bool:
    """Whether a request gets its prediction."""
    (answer,) = caller.ask(url, {"instances": [0]})
    return answer.status == 200
