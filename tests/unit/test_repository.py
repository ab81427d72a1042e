"""What must hold for the repository as a whole."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("sidecar", "webhook", "operator")
SOURCES = sorted(path for root in SOURCE_ROOTS for path in (ROOT / root).glob("batcher_*/**/*.py"))
ALL_PYTHON = sorted(
    path
    for folder in (*SOURCE_ROOTS, "tests", "examples", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)
CONTROL_PLANE_LIBRARIES = {"kopf", "kubernetes", "cryptography", "yaml"}


def test_operator_folder_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("module", ["batcher_sidecar", "batcher_sidecar.__main__"])
def test_the_sidecar_imports_no_library_of_the_control_plane(module: str) -> None:
    program = f"import {module}, json, sys; json.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "sidecar",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    imported = set(json.loads(done.stdout))
    assert module in imported
    assert not imported & CONTROL_PLANE_LIBRARIES


def test_the_contract_imports_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"batcher_contract"}
    for path in (ROOT / "sidecar" / "batcher_contract").rglob("*.py"):
        assert imported_packages(path) <= allowed, path


def imported_packages(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.partition(".")[0])
    return packages


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in ALL_PYTHON}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_every_source_folder_is_a_typed_package() -> None:
    for folder in {path.parent for path in SOURCES}:
        assert (folder / "__init__.py").is_file(), folder
        package = next(p for p in (folder, *folder.parents) if p.parent.name in SOURCE_ROOTS)
        assert (package / "py.typed").is_file(), package


def test_every_test_folder_is_a_package() -> None:
    for folder in {path.parent for path in (ROOT / "tests").rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), folder


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z][a-z0-9-]*):", makefile, flags=re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory"],  # noqa: S607 - also under `make test`
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert {"demo", "test", "lint", "fuzz", "bench", "clean", "help"} <= set(targets)
    assert set(listed) == set(targets)
    assert all(listed.values())


def test_the_ci_entry_is_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
