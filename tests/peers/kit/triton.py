"""Triton Inference Server: the models it serves, and how it is started."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.peers.kit.programs import Program, installed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DATATYPES", "MEASURED", "MODELS", "SLOW_CALL_S", "SMALL_ROWS", "prepare", "start"]

DATATYPES: Final = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16", "BYTES"),
)
SMALL_ROWS: Final = 5
"""The most rows that the model `small` takes in one call."""


SLOW_CALL_S: Final = 0.02
"""How long the model `slow` takes for a call of however many rows."""


@dataclass(frozen=True)
class Tensor:
    """One line of a model's signature; the dimensions are without that of the batch."""

    name: str
    datatype: str
    dims: Sequence[int]
    optional: bool = False

    def text(self) -> str:
        """As config.pbtxt wants it."""
        kind = "STRING" if self.datatype == "BYTES" else self.datatype
        dims = ", ".join(map(str, self.dims))
        optional = " optional: true" if self.optional else ""
        return f'{{ name: "{self.name}" data_type: TYPE_{kind} dims: [{dims}]{optional} }}'


@dataclass(frozen=True)
class Model:
    """A model; with `rows` 0 its tensors say every dimension themselves."""

    name: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    rows: int = 64

    def config(self) -> str:
        """Its config.pbtxt."""
        lines = [f'name: "{self.name}"', 'backend: "python"', f"max_batch_size: {self.rows}"]
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            listed = ", ".join(tensor.text() for tensor in tensors)
            lines.append(f"{kind} [{listed}]")
        return "\n".join(lines)


def _numbers(name: str, dims: Sequence[int]) -> Tensor:
    return Tensor(name, "INT64", dims)


MODELS: Final = (
    Model(
        "types",
        [Tensor(f"IN_{kind}", kind, [2, -1], optional=True) for kind in DATATYPES],
        [Tensor(f"OUT_{kind}", kind, [2, -1]) for kind in DATATYPES],
    ),
    Model(
        "many",
        [
            _numbers("WHOLE", [3]),
            Tensor("REAL", "FP32", [-1, 2]),
            Tensor("TEXT", "BYTES", [1]),
            Tensor("BIAS", "INT64", [1], optional=True),
        ],
        [
            _numbers("TOTAL", [1]),
            Tensor("TWICE", "FP32", [-1, 2]),
            Tensor("TEXTS", "BYTES", [2]),
        ],
    ),
    Model("picky", [_numbers("X", [4])], [_numbers("Y", [4])]),
    Model("small", [_numbers("X", [4])], [_numbers("Y", [4])], SMALL_ROWS),
    # It does not keep what its signature says.
    Model("turned", [_numbers("X", [4])], [_numbers("Y", [-1])]),
    # Triton does not batch these. Of the second the metadata tells that its output has no rows.
    Model("plain", [_numbers("X", [-1, 4])], [_numbers("Y", [-1, 4])], 0),
    Model("total", [_numbers("X", [-1, 4])], [_numbers("TOTAL", [1])], 0),
)
#: For measurements.
MEASURED: Final = (
    Model("slow", [Tensor("X", "FP32", [768])], [Tensor("Y", "FP32", [768])]),
    Model("picture", [Tensor("IMAGE", "FP32", [224, 224, 3])], [_numbers("MEAN", [1])]),
)


def start(folder: Path, port: int) -> Program:
    """Start it on a port of loopback; `folder` is empty and its own."""
    command, env = prepare(folder, port, MODELS)
    return Program(command, log=folder / "triton.log", env=env)


def prepare(
    folder: Path, port: int, models: Sequence[Model]
) -> tuple[list[str], Mapping[str, str]]:
    """Lay out these models in an empty folder; the command that serves them, and its variables."""
    packages = installed("triton") / "lib" / f"python{_PYTHON}" / "site-packages"
    repository, backends = folder / "models", folder / "backends"
    for model in models:
        home = repository / model.name
        (home / "1").mkdir(parents=True)
        (home / "config.pbtxt").write_text(model.config())
        shutil.copy(Path(__file__).with_name("triton_backend.py"), home / "1" / "model.py")
    triton = packages / "pytriton" / "tritonserver"
    python = backends / "python"
    python.mkdir(parents=True)
    # The backend runs the stub for this Python from its own folder, and imports from nowhere else.
    for source in (
        *(triton / "backends" / "python").iterdir(),
        triton / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub",
        packages / "numpy",
        packages / "numpy.libs",
    ):
        (python / source.name).symlink_to(source)
    libraries = (str(sysconfig.get_config_var("LIBDIR")), str(packages / "nvidia_pytriton.libs"))
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        *("--http-address=127.0.0.1", f"--http-port={port}"),
        *("--allow-grpc=false", "--allow-metrics=false", "--log-info=false"),
    ]
    env = {"LD_LIBRARY_PATH": os.pathsep.join(libraries), "SLOW_CALL_S": str(SLOW_CALL_S)}
    return command, env


_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
