"""InferenceServices to be judged, and what is said about them."""

from typing import Any, Final

from batcher_contract.standalone import judge

__all__ = ["MODEL", "Json", "faults", "service", "warnings"]

Json = dict[str, Any]
MODEL: Final[Json] = {"modelFormat": {"name": "sklearn"}}


def service(name: str = "iris", annotations: Json | None = None, **spec: Any) -> Json:
    return {"metadata": {"name": name, "annotations": annotations or {}}, "spec": spec}


def faults(**predictor: Any) -> list[str]:
    """What is said about a predictor that is not run."""
    return list(map(str, judge(service(predictor=predictor)).faults))


def warnings(annotations: Json | None = None, /, **predictor: Any) -> tuple[str, ...]:
    """What is said about a predictor of a model that is run."""
    spec = {"model": MODEL, **predictor}
    judgement = judge(service(annotations=annotations, predictor=spec))
    assert not judgement.faults
    return judgement.warnings
