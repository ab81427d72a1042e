"""What Triton's Python backend runs for every model of `triton.py`; which, it knows by the name.

Copied into the model repository, so it stands alone. All of it is exact: integers, strings, and
floats that are multiplied by two or passed through.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

__all__ = ["TritonPythonModel"]

SLOW_CALL_S = float(os.environ["SLOW_CALL_S"])


def many(tensors: dict[str, Any]) -> dict[str, Any]:
    """Several inputs of which one is optional, several outputs."""
    total = tensors["WHOLE"].sum(axis=1, keepdims=True)
    bias = tensors.get("BIAS")
    texts = [[text, text.decode().upper().encode() * 2] for (text,) in tensors["TEXT"]]
    return {
        "TOTAL": total if bias is None else total + bias,
        "TWICE": tensors["REAL"] * np.float32(2),
        "TEXTS": np.array(texts, dtype=np.object_),
    }


def picky(tensors: dict[str, Any]) -> dict[str, Any]:
    """Takes no negative numbers."""
    if (tensors["X"] < 0).any():
        raise ValueError("a number is negative")
    return {"Y": tensors["X"] + 1}


def slow(tensors: dict[str, Any]) -> dict[str, Any]:
    """Costs the same however many rows it is given."""
    time.sleep(SLOW_CALL_S)
    return {"Y": tensors["X"] + 1}


FUNCTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "many": many,
    "picky": picky,
    "slow": slow,
    "plain": lambda tensors: {"Y": tensors["X"] + 1},
    "small": lambda tensors: {"Y": tensors["X"] + 1},
    "total": lambda tensors: {"TOTAL": tensors["X"].sum().reshape(1)},
    "turned": lambda tensors: {"Y": tensors["X"].T.copy()},
    "picture": lambda tensors: {"MEAN": tensors["IMAGE"][:, 0, 0, :1].astype(np.int64)},
}


class TritonPythonModel:
    """The class Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Remember which model this is."""
        self._name = args["model_name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; what cannot be answered becomes Triton's error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            if self._name == "types":
                found = [_copy(tensor) for tensor in request.inputs()]
            else:
                inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
                outputs = FUNCTIONS[self._name](inputs)
                found = [pb_utils.Tensor(name, array) for name, array in outputs.items()]
        except ValueError as error:
            return pb_utils.InferenceResponse([], pb_utils.TritonError(str(error)))
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse([tensor for tensor in found if tensor.name() in wanted])


def _copy(tensor: Any) -> Any:
    """The tensor under its output's name; numpy knows no BF16."""
    name = tensor.name().replace("IN_", "OUT_")
    if name == "OUT_BF16":
        return pb_utils.Tensor.from_dlpack(name, tensor.to_dlpack())
    return pb_utils.Tensor(name, tensor.as_numpy())
