"""A model server for scikit-learn models, made with KServe's SDK.

    python server.py --model_name iris --model_dir /mnt/models --http_port 8080

It takes the arguments of KServe's own server for scikit-learn, and those that every server of the
SDK has. The folder holds one model, written by joblib or pickle. Such a file can run any program
when it is loaded: serve only models that you trust.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import joblib  # type: ignore[import-untyped]
import kserve  # type: ignore[import-untyped]
from kserve.errors import InferenceError  # type: ignore[import-untyped]
from kserve.logging import configure_logging  # type: ignore[import-untyped]
from kserve.utils.utils import get_predict_input, get_predict_response  # type: ignore[import-untyped]

__all__ = ["ModelFileError", "SklearnModel", "find_model", "main"]

ENDINGS: Final = (".joblib", ".pkl", ".pickle")


class ModelFileError(Exception):
    """The folder does not hold one model; the message says what it holds instead."""


class SklearnModel(kserve.Model):  # type: ignore[misc]
    """A model that predicts a row of numbers at a time, as scikit-learn's do."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self._folder = folder
        self._model: Any = None

    def load(self) -> bool:
        """Load the model. Raises ModelFileError, or whatever joblib does for a broken file."""
        self._model = joblib.load(find_model(self._folder))
        self.ready = True
        return True

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Predict the rows of one request.

        Raises InferenceError (a 500) with scikit-learn's words for rows it cannot take.
        """
        try:
            predicted = self._model.predict(get_predict_input(payload))
        except Exception as error:
            raise InferenceError(str(error)) from error
        return get_predict_response(payload, predicted, self.name)


def find_model(folder: Path) -> Path:
    """The model's file in a folder; raises ModelFileError unless there is exactly one."""
    wanted = " or ".join(f"model{ending}" for ending in ENDINGS)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ModelFileError(f"{folder} cannot be read: {error.strerror}") from error
    models = [path for path in files if path.suffix in ENDINGS]
    if len(models) == 1:
        return models[0]
    if models:
        names = ", ".join(path.name for path in models)
        raise ModelFileError(f"{folder} holds several models ({names}): leave one of them there")
    found = ", ".join(path.name for path in files) or "no file"
    raise ModelFileError(f"{folder} holds {found}: put a model there, as {wanted}")


def main() -> None:
    """Serve the model until SIGTERM; without one, exit 1 with a sentence."""
    parser = argparse.ArgumentParser(
        description="A server of scikit-learn models.", parents=[kserve.model_server.parser]
    )
    parser.add_argument(
        "--model_dir", type=Path, default=Path("/mnt/models"), help="folder that holds the model"
    )
    arguments, _ = parser.parse_known_args()
    model = SklearnModel(arguments.model_name, arguments.model_dir)
    try:
        model.load()
    except ModelFileError as error:
        sys.exit(f"{error}.")
    configure_logging(arguments.log_config_file)
    kserve.ModelServer(http_port=arguments.http_port, enable_grpc=False).start([model])


if __name__ == "__main__":
    main()
