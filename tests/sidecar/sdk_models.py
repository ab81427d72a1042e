"""Models in KServe's own model server, for tests: `python -m tests.sidecar.sdk_models PORT`."""

import sys
from typing import Any

import kserve  # type: ignore[import-untyped]

from examples.demo.model_server import IrisClassifier, serve

__all__ = ["EchoModel"]


class EchoModel(kserve.Model):  # type: ignore[misc]
    """Predicts the rows themselves."""

    def load(self) -> bool:
        """Nothing to load."""
        self.ready = True
        return True

    def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Give the rows back as the server parsed them."""
        return {"predictions": payload["instances"]}


def main() -> None:
    """Serve both models until SIGTERM."""
    models: list[Any] = [IrisClassifier("iris"), EchoModel("echo")]
    for model in models:
        model.load()
    serve(models, http_port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
