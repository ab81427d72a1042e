"""A real model in a real model server, with the batching sidecar in front.

    python examples/demo/demo.py [--quick]

Every number is measured in this run, and every line marked `ok` was checked. Exit status: 0 if all
of them held, 1 if one did not, 128 + the signal's number if interrupted. However it ends, the
programs it started end with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.demo import scenes, throughput
from examples.demo.report import Report
from examples.demo.stage import DemoError, Interrupted, Stage, free_ports, interruptible

MODEL_SERVER = Path(__file__).with_name("model_server.py")
MODEL_START_TIMEOUT_S = 90.0  # the first start after an installation compiles a lot
SIDECAR_START_TIMEOUT_S = 30.0
BATCH_SIZE = 32
PATIENT_WINDOW_MS = 400  # long enough to be seen
BUSY_WINDOW_MS = 5
CALLERS = 64
KEPT_ROWS = 3  # those that the example client sends
ROUNDS, ROUND_S = 3, 2.5
QUICK_ROUNDS, QUICK_ROUND_S = 1, 1.0


def start_sidecar(
    stage: Stage, report: Report, *, model_port: int, port: int, admin_port: int, window_ms: int
) -> None:
    """Start a sidecar in front of the model server and wait until it is ready."""
    options = [
        *("--enable-batcher", "--max-batchsize", str(BATCH_SIZE)),
        *("--max-latency", str(window_ms), "--component-port", str(model_port)),
        *("--port", str(port), "--admin-port", str(admin_port)),
    ]
    report.command(["batcher-sidecar", *options])
    # How Kubernetes would probe the model server; the sidecar is ready when that is.
    probe = {"httpGet": {"path": "/v1/models/iris", "port": model_port}, "timeoutSeconds": 1}
    sidecar = stage.start(
        "The sidecar",
        ["-m", "batcher_sidecar", *options, "--host", "127.0.0.1"],
        {"SERVING_READINESS_PROBE": json.dumps(probe)},
    )
    took_s = sidecar.wait_ready(f"http://127.0.0.1:{admin_port}/readyz", SIDECAR_START_TIMEOUT_S)
    report.fact(f"ready after {took_s:.1f} s")


def start_model(stage: Stage, report: Report, port: int) -> tuple[scenes.Rows, list[int]]:
    """Start the model server; return the iris data set and what the model says of it."""
    with report.working("Starting the model server ..."):
        model = stage.start("The model server", [str(MODEL_SERVER), "--http-port", str(port)])
        began = time.monotonic()
        from sklearn.datasets import load_iris  # type: ignore[import-untyped]

        iris: scenes.Rows = load_iris().data.tolist()
        model.wait_ready(f"http://127.0.0.1:{port}/v1/models/iris", MODEL_START_TIMEOUT_S)
        took_s = time.monotonic() - began
    report.command(["python", "examples/demo/model_server.py", "--http-port", str(port)])
    report.fact(
        f"ready after {took_s:.1f} s: an SVM trained on {len(iris)} irises by scikit-learn "
        f"{version('scikit-learn')}, served by kserve {version('kserve')}"
    )
    # They come sorted by species. Keep the first rows and mix the others, so that a prediction
    # given to the wrong caller shows.
    others = iris[KEPT_ROWS:]
    rows = iris[:KEPT_ROWS] + [others[i * 50 % len(others)] for i in range(len(others))]
    reply = scenes.ask(f"http://127.0.0.1:{port}{scenes.PATH}", rows)
    predictions = reply.body.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != len(rows):
        raise DemoError(f"The model server does not predict: {reply.response.text[:200]}")
    return rows, predictions


def play(report: Report, stage: Stage, folder: Path, *, quick: bool) -> None:
    """Run the whole demo."""
    report.title(
        "inference-batcher",
        "A scikit-learn model in KServe's model server, and the sidecar in front.\n"
        "Every number below is measured in this run, on this machine.",
    )
    model_port, port, admin_port, busy_port, busy_admin_port = free_ports(5)
    rows, predictions = start_model(stage, report, model_port)
    start_sidecar(
        stage,
        report,
        model_port=model_port,
        port=port,
        admin_port=admin_port,
        window_ms=PATIENT_WINDOW_MS,
    )
    site = scenes.Site(
        report=report,
        model_port=model_port,
        port=port,
        admin_port=admin_port,
        window_ms=PATIENT_WINDOW_MS,
        batch_size=BATCH_SIZE,
        rows=rows,
        predictions=predictions,
    )
    scenes.one_caller(site)
    scenes.one_batch(site)
    scenes.a_bad_request(site)

    report.scene(f"4  {CALLERS} callers at once, with and without the sidecar")
    start_sidecar(
        stage,
        report,
        model_port=model_port,
        port=busy_port,
        admin_port=busy_admin_port,
        window_ms=BUSY_WINDOW_MS,
    )
    cases = folder / "cases.json"
    cases.write_text(json.dumps({"instances": rows, "predictions": predictions}))
    throughput.compare(
        site,
        stage,
        cases,
        port=busy_port,
        callers=CALLERS,
        rounds=QUICK_ROUNDS if quick else ROUNDS,
        seconds=QUICK_ROUND_S if quick else ROUND_S,
    )


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(description="See the batching sidecar at work.")
    parser.add_argument("--quick", action="store_true", help="one short round of load, not three")
    arguments = parser.parse_args()
    began = time.monotonic()
    interruptible()
    report = Report()
    try:
        with tempfile.TemporaryDirectory() as folder, Stage() as stage:
            play(report, stage, Path(folder), quick=arguments.quick)
    except Interrupted as interrupted:
        report.say("\nInterrupted; all programs ended.")
        return 128 + interrupted.signal_number
    except (DemoError, requests.RequestException) as error:
        report.failed.append(str(error))
    report.console.print()
    if report.failed:
        report.say("The demo did not hold:", style="bold red")
        for sentence in report.failed:
            report.say(f"  {sentence}")
        return 1
    report.say(
        f"All {report.held} claims held. {time.monotonic() - began:.0f} s, "
        "and no program was left behind.",
        style="bold",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
