"""MLServer's models: a runtime of our own; run as a program, what scikit-learn's is given to load.

Copied beside the models' settings and imported there by MLServer, so it stands alone.
"""

import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec, StringCodec  # type: ignore[import-not-found]
from mlserver.errors import InferenceError  # type: ignore[import-not-found]
from mlserver.types import (  # type: ignore[import-not-found]
    InferenceRequest,
    InferenceResponse,
    ResponseOutput,
)
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

__all__ = ["ManyModel", "PickyModel", "TotalModel", "TypesModel"]


class _PeerModel(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        """Nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer with what the model's function gives, or with those outputs asked for."""
        outputs = self.outputs_for(payload.inputs)
        if payload.outputs:
            wanted = [output.name for output in payload.outputs]
            outputs = [output for output in outputs if output.name in wanted]
        return InferenceResponse(model_name=self.name, outputs=outputs)

    def outputs_for(self, inputs: list[Any]) -> list[Any]:
        raise NotImplementedError


class TypesModel(_PeerModel):
    """Every input as it came."""

    def outputs_for(self, inputs: list[Any]) -> list[Any]:
        return [
            ResponseOutput(
                name=given.name.replace("IN_", "OUT_"),
                shape=given.shape,
                datatype=given.datatype,
                data=given.data,
            )
            for given in inputs
        ]


class ManyModel(_PeerModel):
    """Several inputs of which one is optional, several outputs; takes no negative WHOLE."""

    def outputs_for(self, inputs: list[Any]) -> list[Any]:
        given = {one.name: one for one in inputs}
        whole = NumpyCodec.decode_input(given["WHOLE"])
        if (whole < 0).any():
            raise InferenceError("a number is negative")
        bias = NumpyCodec.decode_input(given["BIAS"]) if "BIAS" in given else 0
        texts = StringCodec.decode_input(given["TEXT"])
        doubled = [each for text in texts for each in (text, text.upper() * 2)]
        return [
            NumpyCodec.encode_output("TOTAL", whole.sum(axis=1, keepdims=True) + bias),
            NumpyCodec.encode_output(
                "TWICE", NumpyCodec.decode_input(given["REAL"]) * np.float32(2)
            ),
            ResponseOutput(name="TEXTS", shape=[len(texts), 2], datatype="BYTES", data=doubled),
        ]


class PickyModel(_PeerModel):
    """One more than each number; takes no negative ones."""

    def outputs_for(self, inputs: list[Any]) -> list[Any]:
        (given,) = inputs
        numbers = NumpyCodec.decode_input(given)
        if (numbers < 0).any():
            raise InferenceError("a number is negative")
        return [NumpyCodec.encode_output("Y", numbers + 1)]


class TotalModel(_PeerModel):
    """One number for all rows together."""

    def outputs_for(self, inputs: list[Any]) -> list[Any]:
        return [
            NumpyCodec.encode_output("TOTAL", NumpyCodec.decode_input(inputs[0]).sum().reshape(1))
        ]


if __name__ == "__main__":
    features, species = load_iris(return_X_y=True)
    # Trees compare and count: a row's result is the same to the last bit in whatever company.
    forest = RandomForestClassifier(n_estimators=10, random_state=0)
    joblib.dump(forest.fit(features, species), sys.argv[1])
