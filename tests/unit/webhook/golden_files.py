"""The golden pods: read, written and told apart."""

import copy
from pathlib import Path
from typing import Any, Final

import yaml

from batcher_contract.settings import Mode
from batcher_webhook.decide import Decision, decide
from batcher_webhook.inject import Sidecar, inject

__all__ = ["CASES", "SIDECAR", "Pod", "after_path", "applied", "before", "dump", "taken_back"]

Pod = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "golden"
CASES: Final = sorted(p.name.removesuffix(".before.yaml") for p in FOLDER.glob("*.before.yaml"))
SIDECAR: Final = Sidecar(image="example/batcher-sidecar:1", image_pull_secrets=("registry",))


def before(case: str) -> Pod:
    pod: Pod = yaml.safe_load((FOLDER / f"{case}.before.yaml").read_text())
    return pod


def after_path(case: str) -> Path:
    return FOLDER / f"{case}.after.yaml"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def dump(pod: Pod) -> str:
    text: str = yaml.dump(pod, Dumper=_Dumper, sort_keys=False, width=100)
    return text


def applied(
    pod: Pod, sidecar: Sidecar = SIDECAR, mode: Mode = "kserve"
) -> tuple[Decision, Pod]:
    decision = decide(pod, sidecar.resources, mode)
    return decision, inject(pod, decision, sidecar)


def taken_back(was: Pod, now: Pod) -> Pod:
    """The pod with all that the webhook may change put back as it was."""
    now = copy.deepcopy(now)
    annotations = now["metadata"].get("annotations") or {}
    annotations.pop("inference-batcher.io/decision", None)
    had = (was["metadata"].get("annotations") or {}).get("inference-batcher.io/decision")
    if had is not None:
        annotations["inference-batcher.io/decision"] = had
    old = {c["name"]: c for c in was["spec"]["containers"]}
    kept = []
    for container in now["spec"]["containers"]:
        previous = old.get(container["name"])
        if previous is None:
            assert container["name"] in ("agent", "batcher")
            continue
        if container["name"] == "agent":
            # Another's place is taken, or its arguments and probe say that we stand behind it.
            replaced = container["image"] == SIDECAR.image
            changed = set(container) if replaced else {"args", "env"}
            container = previous | {k: v for k, v in container.items() if k not in changed}
        if container["name"] in ("kserve-container", "transformer-container", "queue-proxy"):
            keys = ["lifecycle", "env"]
            if any(port.get("name") == "inference-http" for port in previous.get("ports") or ()):
                keys += ["ports", "readinessProbe", "livenessProbe", "startupProbe"]
            for key in keys:
                container.pop(key, None)
                if key in previous:
                    container[key] = previous[key]
        kept.append(container)
    now["spec"]["containers"] = kept
    for key, name in (
        ("volumes", "inference-batcher-no-token"),
        ("volumes", "inference-batcher-settings"),
        ("imagePullSecrets", "registry"),
    ):
        if key in now["spec"]:
            had_it = any(x["name"] == name for x in was["spec"].get(key) or ())
            now["spec"][key] = [x for x in now["spec"][key] if had_it or x["name"] != name]
            if not now["spec"][key] and key not in was["spec"]:
                del now["spec"][key]
    return now
