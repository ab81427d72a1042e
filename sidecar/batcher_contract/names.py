"""Names and ports that the sidecar, the webhook and the operator agree on."""

from typing import Final

__all__ = [
    "ADMIN_PORT",
    "ANNOTATION_PREFIX",
    "BATCHER_ANNOTATION",
    "BATCH_ID_HEADER",
    "BATCH_SIZE_HEADER",
    "BYPASS_HEADER",
    "COMPONENT_LABEL",
    "COMPONENT_PORT",
    "DATA_PORT",
    "DATA_PORT_BEHIND_AGENT",
    "DRAIN_HEADER",
    "HOP_BY_HOP_HEADERS",
    "INFERENCE_PORT_NAME",
    "KSERVE_WEBHOOK_CONFIGURATION",
    "MARKER_ENV",
    "METRICS_PREFIX",
    "PROBE_HEADER",
    "READINESS_PROBE_ENV",
    "SERVICE_LABEL",
    "SETTINGS_FILE",
    "WEBHOOK_CONFIGURATION",
    "is_http2_port",
]

DATA_PORT: Final = 9081
"""Where the sidecar accepts requests; KServe's Services point here when batching is on."""

DATA_PORT_BEHIND_AGENT: Final = 9082
"""Where the sidecar accepts requests when KServe's own agent keeps 9081 for its logger."""

ADMIN_PORT: Final = 9084
"""Liveness, readiness, metrics, settings and drain (9083 is KServe's log marshaller)."""

COMPONENT_PORT: Final = 8080
"""Where a KServe model server listens unless its container names another port."""

ANNOTATION_PREFIX: Final = "inference-batcher.io/"
"""Starts the key of every annotation that is ours."""

READINESS_PROBE_ENV: Final = "SERVING_READINESS_PROBE"
"""Environment variable in which KServe and Knative hand over the model server's probe as JSON."""

SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"
"""Label of KServe's pods: the InferenceService that they belong to."""

COMPONENT_LABEL: Final = "component"
"""Label of KServe's pods: `predictor`, `transformer` or `explainer`."""

BATCHER_ANNOTATION: Final = "internal.serving.kserve.io/batcher"
"""Annotation that KServe writes on the pods of a component with a `batcher` section."""

KSERVE_WEBHOOK_CONFIGURATION: Final = "inferenceservice.serving.kserve.io"
"""Name of the mutating webhook configuration of KServe, through which its agent comes into pods."""

MARKER_ENV: Final = "INFERENCE_BATCHER_SIDECAR"
"""Environment variable that marks a container as ours, with the version that injected it."""

WEBHOOK_CONFIGURATION: Final = "inferenceservices.inference-batcher.io"
"""Name of both webhook configurations, whatever the release is called.

The API server calls mutating webhooks in the order of these names. This one follows KServe's, so
that KServe's agent is there to be replaced, and precedes `istio-sidecar-injector`, which rewrites
probes.
"""

INFERENCE_PORT_NAME: Final = "inference-http"
"""Name of the port that requests are for, where a Service goes by names.

The model server's container holds it, and injection moves it to the sidecar: so endpoints lead to
whichever stands in front, pod by pod.
"""

SETTINGS_FILE: Final = "settings.json"
"""The key of the ConfigMap by which settings reach running pods."""

PROBE_HEADER: Final = "K-Network-Probe"
"""Request header that marks a Knative probe."""

BATCH_ID_HEADER: Final = "X-Batch-Id"
"""Response header: the id that all members of a batch share."""

BATCH_SIZE_HEADER: Final = "X-Batch-Size"
"""Response header: how many instances the batch held."""

BYPASS_HEADER: Final = "X-Batch-Bypass"
"""Request header: `true` asks for this request to be forwarded alone."""

DRAIN_HEADER: Final = "X-Inference-Batcher-Drain"
"""Request header without which `/drain` on the admin port is refused."""

METRICS_PREFIX: Final = "inference_batcher_"
"""Starts the name of every metric."""

HOP_BY_HOP_HEADERS: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers (lower case) that concern one connection only and never pass a proxy.

RFC 9110 section 7.6.1 and the older list of RFC 2616 section 13.5.1.
"""


def is_http2_port(name: str) -> bool:
    """Whether a port of that name is for HTTP/2.

    As KServe reads it: by `grpc` or `h2c` anywhere in the name (`service_reconciler.go`).
    """
    return "grpc" in name or "h2c" in name
