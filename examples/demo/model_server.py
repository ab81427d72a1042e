"""A scikit-learn iris classifier served by KServe's own Python model server.

Nothing here knows of batching: this is what a user's model looks like. The model is trained when
the program starts, from the data set that scikit-learn ships, so nothing is downloaded.

    python examples/demo/model_server.py --http-port 8080

Errors are those of KServe's sklearn server: what scikit-learn refuses is a 500 with its words.
`/metrics` is KServe's own, and adds `iris_rows_total`.
"""

from __future__ import annotations

import argparse
from typing import Any

import kserve  # type: ignore[import-untyped]
from kserve.errors import InferenceError  # type: ignore[import-untyped]
from kserve.logging import KSERVE_LOG_CONFIG, configure_logging  # type: ignore[import-untyped]
from kserve.utils.utils import get_predict_input, get_predict_response  # type: ignore[import-untyped]
from prometheus_client import Counter
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.svm import SVC  # type: ignore[import-untyped]

__all__ = ["IrisClassifier", "main", "quiet_logging", "serve"]

ROWS = Counter("iris_rows", "Rows that the model was asked to classify, bad ones included.")


class IrisClassifier(kserve.Model):  # type: ignore[misc]
    """Four measurements in centimetres in, the number of the iris species out."""

    def __init__(self, name: str = "iris") -> None:
        super().__init__(name)
        self._svm = SVC()

    def load(self) -> bool:
        """Train the model. Takes a few milliseconds."""
        features, species = load_iris(return_X_y=True)
        self._svm.fit(features, species)
        self.ready = True
        return True

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Classify the rows of one request.

        Raises `InferenceError` (a 500) with scikit-learn's words for rows it cannot take.
        """
        try:
            rows = get_predict_input(payload)
            ROWS.inc(len(rows))
            species = self._svm.predict(rows)
        except Exception as error:
            raise InferenceError(str(error)) from error
        return get_predict_response(payload, species, self.name)


def quiet_logging() -> None:
    """Log what goes wrong, but no line per request.

    A log line per request costs the model server a good part of its throughput. A comparison with
    and without a batcher would flatter the batcher if it were on.
    """
    loggers = {name: {**spec, "level": "WARNING"} for name, spec in _shipped_loggers().items()}
    configure_logging({**KSERVE_LOG_CONFIG, "loggers": loggers})


def _shipped_loggers() -> dict[str, dict[str, Any]]:
    loggers: dict[str, dict[str, Any]] = KSERVE_LOG_CONFIG["loggers"]
    return loggers


def serve(models: list[kserve.Model], http_port: int) -> None:
    """Serve the models over HTTP alone, in this process, until SIGTERM or SIGINT."""
    quiet_logging()
    kserve.ModelServer(
        http_port=http_port, enable_grpc=False, enable_latency_logging=False, workers=1
    ).start(models)


def main() -> None:
    """Train the model and serve it."""
    parser = argparse.ArgumentParser(description="An iris classifier in KServe's model server.")
    parser.add_argument("--http-port", type=int, default=8080, help="where to listen (8080)")
    parser.add_argument("--model-name", default="iris", help="name in the URL path (iris)")
    arguments = parser.parse_args()
    model = IrisClassifier(arguments.model_name)
    model.load()
    serve([model], arguments.http_port)


if __name__ == "__main__":
    main()
