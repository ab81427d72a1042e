"""Names of parts of InferenceServices, and what may be a name at all."""

import re
from typing import Final

__all__ = [
    "COMPONENTS",
    "FRAMEWORKS",
    "MODEL_CONTAINER",
    "MODEL_PATH",
    "MODEL_VOLUMES",
    "SCALING_FIELDS",
    "TRANSFORMER_CONTAINER",
    "is_object_name",
    "scheme_of",
]

COMPONENTS: Final = ("predictor", "transformer")
"""The parts of an InferenceService that standalone mode runs."""

MODEL_CONTAINER: Final = "kserve-container"
"""The container that requests are for, unless a transformer stands before it in its pod."""

TRANSFORMER_CONTAINER: Final = "transformer-container"
"""The container that requests are for where it stands in the pod of a model server."""

MODEL_PATH: Final = "/mnt/models"
"""Where KServe's model servers look for their model."""

MODEL_VOLUMES: Final = ("kserve-provision-location", "kserve-pvc-source")
"""The volumes that bring a model: one that is fetched, one that is in a claim."""

FRAMEWORKS: Final = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)
"""The older spelling of a model: its format is the field's name."""

SCALING_FIELDS: Final = (
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleMetricType",
    "scaleTarget",
    "autoScaling",
)
"""What a component may say about the number of its pods."""

_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_OBJECT_NAME: Final = 253


def is_object_name(name: str) -> bool:
    """Whether Kubernetes takes this for the name of a ServiceAccount, Secret or claim.

    That is a DNS subdomain (RFC 1123); nothing else may become part of a path of the API.
    """
    return len(name) <= _LONGEST_OBJECT_NAME and _OBJECT_NAME.fullmatch(name) is not None


def scheme_of(uri: str) -> str:
    """The scheme of a model's address in lower case; empty where it has none."""
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else ""
