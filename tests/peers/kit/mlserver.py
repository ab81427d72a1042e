"""MLServer: the models it serves, and how it is started."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.peers.kit.programs import Program, installed
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["start"]

_RUNTIMES: Final = Path(__file__).with_name("mlserver_models.py")
_TRAIN_S: Final = 60.0


def _tensors(**shapes: tuple[str, list[int]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in shapes.items()
    ]


MODELS: Final[Mapping[str, Mapping[str, Any]]] = {
    "iris": {
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./iris.joblib"},
    },
    "types": {"implementation": "mlserver_models.TypesModel"},
    "many": {"implementation": "mlserver_models.ManyModel"},
    "total": {"implementation": "mlserver_models.TotalModel"},
    "picky": {"implementation": "mlserver_models.PickyModel"},
    "told": {
        "implementation": "mlserver_models.ManyModel",
        "inputs": _tensors(
            WHOLE=("INT64", [-1, 3]), REAL=("FP32", [-1, -1, 2]), TEXT=("BYTES", [-1, 1])
        ),
        "outputs": _tensors(
            TOTAL=("INT64", [-1, 1]), TWICE=("FP32", [-1, -1, 2]), TEXTS=("BYTES", [-1, 2])
        ),
    },
}


def start(folder: Path, port: int) -> Program:
    """Start it on a port of loopback; `folder` is empty and its own."""
    programs = installed("mlserver") / "bin"
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    runtimes = shutil.copy(_RUNTIMES, folder)
    for name, model in MODELS.items():
        home = folder / name
        home.mkdir()
        (home / "model-settings.json").write_text(json.dumps({"name": name, **model}))
    subprocess.run(
        [str(programs / "python"), str(runtimes), str(folder / "iris" / "iris.joblib")],
        timeout=_TRAIN_S,
        check=True,
    )
    return Program(
        [str(programs / "mlserver"), "start", str(folder)],
        log=folder / "mlserver.log",
        env={"PYTHONPATH": str(folder)},
    )
