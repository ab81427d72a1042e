"""Which model a predictor serves, however its InferenceService spells it."""

from collections.abc import Mapping
from typing import Any, Final

from batcher_contract.standalone import FRAMEWORKS
from batcher_operator.standalone.looks import Json, mapping, plain, text

__all__ = ["model_of"]

_PROTOCOL: Final = {"triton": "v2", "onnx": "v2", "huggingface": "v2"}
"""Of the older spelling, where no protocol is given (KServe's `inference_service_defaults.go`)."""

_PROTOCOL_OF_FORMAT: Final = {"triton": "v2", "vLLM": "v2"}
"""Of either spelling."""


def model_of(predictor: Mapping[str, Any]) -> tuple[str, Json] | None:
    """The field that names the model, and the `model` section that it comes to.

    None for a predictor of containers only. `predictor.sklearn: {...}` becomes `model:
    {modelFormat: {name: sklearn}, ...}`, as KServe's defaulter has it.
    """
    for name in FRAMEWORKS:
        if isinstance(predictor.get(name), Mapping):
            model = plain(predictor[name])
            if not model.get("protocolVersion") and name in _PROTOCOL:
                model["protocolVersion"] = _PROTOCOL[name]
            return name, _with_protocol({**model, "modelFormat": {"name": name}})
    if isinstance(predictor.get("model"), Mapping):
        return "model", _with_protocol(plain(predictor["model"]))
    return None


def _with_protocol(model: Json) -> Json:
    format_name = text(mapping(model.get("modelFormat")).get("name"))
    if not model.get("protocolVersion") and format_name in _PROTOCOL_OF_FORMAT:
        model["protocolVersion"] = _PROTOCOL_OF_FORMAT[format_name]
    return model
