"""What an InferenceService may ask for that standalone mode, without KServe, does not do.

The webhook tells it while somebody applies the object, and the operator wherever it comes upon it.
Faults keep an object from being run, warnings do not; nothing is dropped in silence.
"""

from batcher_contract.standalone.annotations import SCALER_CLASS
from batcher_contract.standalone.judgement import Judgement, judge
from batcher_contract.standalone.names import (
    COMPONENTS,
    FRAMEWORKS,
    MODEL_CONTAINER,
    MODEL_PATH,
    MODEL_VOLUMES,
    SCALING_FIELDS,
    TRANSFORMER_CONTAINER,
    is_object_name,
    scheme_of,
)

__all__ = [
    "COMPONENTS",
    "FRAMEWORKS",
    "MODEL_CONTAINER",
    "MODEL_PATH",
    "MODEL_VOLUMES",
    "SCALER_CLASS",
    "SCALING_FIELDS",
    "TRANSFORMER_CONTAINER",
    "Judgement",
    "is_object_name",
    "judge",
    "scheme_of",
]
