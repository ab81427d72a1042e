"""The chart as helm renders it."""

import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.apiserver.kit import Manifest, documents, program_path
from tests.chart.values_table import CHART

__all__ = [
    "CASES",
    "NAMESPACE",
    "RELEASE",
    "Chart",
    "args_of",
    "case",
    "helm",
    "pod_templates",
    "refusal",
    "render",
]

RELEASE: Final = "models"
NAMESPACE: Final = "batching"
_KUBERNETES: Final = "1.30.0"

Values = Mapping[str, Any]

CASES: Final[dict[str, Values]] = {
    "defaults": {},
    "standalone": {
        "mode": "standalone",
        "storageInitializer": {
            "image": "registry.example/initializer:1",
            "resources": {"limits": {"memory": "4Gi"}},
        },
    },
    "openshift": {"uid": "", "sidecar": {"uid": ""}},
    "host network": {"webhook": {"hostNetwork": True, "replicas": 3}},
    "host network, own ports": {
        "webhook": {"hostNetwork": True, "port": 12000, "healthPort": 12001}
    },
    "cert-manager": {"certificates": {"certManager": {"enabled": True}}},
    "cert-manager, own issuer": {
        "certificates": {
            "certManager": {
                "enabled": True,
                "issuerRef": {"name": "company", "kind": "ClusterIssuer"},
            }
        }
    },
    "annotations": {"metrics": {"scrape": "annotations"}},
    "pod monitor": {
        "metrics": {
            "scrape": "podMonitor",
            "podMonitor": {"labels": {"release": "prometheus"}, "interval": "15s"},
            "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        },
        "networkPolicy": {
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
        },
    },
    "no policy": {
        "networkPolicy": {"enabled": False},
        "webhook": {"failurePolicy": {"inferenceServices": "Fail"}},
    },
    "images": {
        "image": {
            "registry": "registry.example/team",
            "control": {"digest": f"sha256:{'a' * 64}", "pullPolicy": "Always"},
            "sidecar": {"tag": "2.0", "pullPolicy": "IfNotPresent"},
        },
        "imagePullSecrets": [{"name": "ours"}],
        "sidecar": {
            "imagePullSecrets": [{"name": "theirs"}, {"name": "others"}],
            "resources": {
                "requests": {"cpu": 0.5, "memory": 134217728},
                "limits": {"cpu": 2, "memory": "512Mi"},
            },
        },
    },
    "placed": {
        "commonLabels": {"team": "ml", "app.kubernetes.io/name": "another"},
        "commonAnnotations": {"owner": "ml"},
        "logLevel": "debug",
        "logFormat": "json",
        "webhook": {
            "port": 8443,
            "failurePolicy": {"pods": "Fail"},
            "excludedNamespaces": ["istio-system", "batching"],
            "shutdownDelaySeconds": 7.5,
            "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"},
            "podLabels": {"sidecar.istio.io/inject": "false"},
            "podAnnotations": {"note": "x"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "resources": {},
        },
        "operator": {
            "watchCheckSeconds": 0.5,
            "podLabels": {"a": "b"},
            "podAnnotations": {"c": "d"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
        },
        "certificates": {
            "caLifetimeSeconds": 316224000,
            "lifetimeSeconds": 31536000,
            "overlapSeconds": 2592000,
            "pollSeconds": 0.25,
        },
    },
    "short certificates": {
        "certificates": {
            "caLifetimeSeconds": 12,
            "lifetimeSeconds": 6,
            "overlapSeconds": 2,
            "pollSeconds": 0.1,
        }
    },
}
"""Values of installations that shall work."""


class Chart:
    """All objects of one installation."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.manifests = manifests

    def all(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> Manifest:
        """The only object of a kind whose name has that ending."""
        (found,) = (m for m in self.all(kind) if m["metadata"]["name"].endswith(ending))
        return found


def helm(*args: str) -> "subprocess.CompletedProcess[str]":
    """Run helm without any cluster; never raises for a failure."""
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [program_path("helm"), *args],
            env={"HOME": home, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _template(values: Values, release: str) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        where = ("--namespace", NAMESPACE, "--kube-version", _KUBERNETES)
        return helm("template", release, str(CHART), *where, "--values", str(file))


def render(values: Values, release: str = RELEASE) -> Chart:
    """The objects that an installation makes; AssertionError with helm's words if it refuses."""
    done = _template(values, release)
    assert done.returncode == 0, done.stderr
    return Chart(list(documents(done.stdout)))


def refusal(values: Values) -> str:
    """Why helm refuses values; AssertionError if it does not."""
    done = _template(values, RELEASE)
    assert done.returncode != 0, "helm took these values"
    return done.stderr


@cache
def case(name: str) -> Chart:
    """One of CASES, rendered once."""
    return render(CASES[name])


def pod_templates(chart: Chart) -> dict[str, Manifest]:
    """Every pod of the chart, as metadata and spec, by its component."""
    pods = [
        *(deployment["spec"]["template"] for deployment in chart.all("Deployment")),
        *chart.all("Pod"),
    ]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in pods}


def args_of(chart: Chart, component: str) -> list[str]:
    """The arguments of a component's only container."""
    (container,) = pod_templates(chart)[component]["spec"]["containers"]
    return list(container["args"])
