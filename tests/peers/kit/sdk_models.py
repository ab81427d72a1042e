"""Models in KServe's own model server: `python -m tests.peers.kit.sdk_models PORT`.

`told` says what it takes and gives, the others do not, as most models of that server.
"""

from __future__ import annotations

import sys
from typing import Any

import kserve  # type: ignore[import-untyped]
import numpy as np
from kserve.errors import InvalidInput  # type: ignore[import-untyped]
from kserve.protocol.infer_type import (  # type: ignore[import-untyped]
    InferOutput,
    from_np_dtype,
)
from kserve.utils.utils import generate_uuid  # type: ignore[import-untyped]

from examples.demo.model_server import serve

__all__ = ["main"]

Arrays = dict[str, Any]


def many(tensors: Arrays) -> Arrays:
    """Several inputs of which one is optional, several outputs; takes no negative WHOLE."""
    whole, texts = tensors["WHOLE"], tensors["TEXT"].ravel()
    if (whole < 0).any():
        raise InvalidInput("a number is negative")
    total = whole.sum(axis=1, keepdims=True) + tensors.get("BIAS", 0)
    decoded = [text.decode() if isinstance(text, bytes) else text for text in texts]
    return {
        "TOTAL": total,
        "TWICE": tensors["REAL"] * np.float32(2),
        "TEXTS": np.array([[text, text.upper() * 2] for text in decoded], dtype=np.object_),
    }


def types(tensors: Arrays) -> Arrays:
    """Every input as it came."""
    return {name.replace("IN_", "OUT_"): array for name, array in tensors.items()}


def total(tensors: Arrays) -> Arrays:
    """One number for all rows together."""
    return {"TOTAL": tensors["X"].sum().reshape(1)}


def picky(tensors: Arrays) -> Arrays:
    """One more than each number; takes no negative ones."""
    if (tensors["X"] < 0).any():
        raise InvalidInput("a number is negative")
    return {"Y": tensors["X"] + 1}


class PeerModel(kserve.Model):  # type: ignore[misc]
    """A function from arrays to arrays."""

    def __init__(self, name: str, function: Any) -> None:
        super().__init__(name)
        self._function = function
        self.ready = True

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Answer in the form that the request asks for."""
        arrays = self._function({given.name: given.as_numpy() for given in payload.inputs})
        datatypes = {f"OUT_{given.name[3:]}": given.datatype for given in payload.inputs}
        outputs = []
        for name, array in arrays.items():
            fallback = from_np_dtype(array.dtype)
            output = InferOutput(name, list(array.shape), datatypes.get(name, fallback))
            output.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(output)
        return kserve.InferResponse(
            payload.id or generate_uuid(),
            self.name,
            outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


class ToldModel(PeerModel):
    """One that says what it takes and gives."""

    async def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs for the server's metadata."""
        return [
            {"name": "WHOLE", "datatype": "INT64", "shape": [-1, 3]},
            {"name": "REAL", "datatype": "FP32", "shape": [-1, -1, 2]},
            {"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "BIAS", "datatype": "INT64", "shape": [-1, 1]},
        ]

    async def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs for the server's metadata."""
        return [
            {"name": "TOTAL", "datatype": "INT64", "shape": [-1, 1]},
            {"name": "TWICE", "datatype": "FP32", "shape": [-1, -1, 2]},
            {"name": "TEXTS", "datatype": "BYTES", "shape": [-1, 2]},
        ]


def main() -> None:
    """Serve all of them until SIGTERM."""
    models = [
        ToldModel("told", many),
        PeerModel("many", many),
        PeerModel("types", types),
        PeerModel("total", total),
        PeerModel("picky", picky),
    ]
    serve(models, http_port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
