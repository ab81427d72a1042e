"""Small images made without an engine: a few files and what to start."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.apiserver.kit import StartError

__all__ = ["PAUSE_IMAGE", "write_archive", "write_pause"]

PAUSE_IMAGE: Final = "localhost/pause:1"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
# The parent of all of a pod's orphans: it holds the pod's namespaces until it is told to end.
_PAUSE: Final = """
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
"""


def write_archive(
    archive: Path, image: str, files: Mapping[str, Path], entrypoint: Sequence[str]
) -> None:
    """Write an image of some files, in the format of `docker save`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, source in files.items():
            tar.add(source, name.lstrip("/"))
    content = layer.getvalue()
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), "amd64"),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for name, data in (
            ("layer.tar", content),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def write_pause(archive: Path) -> None:
    """Write the image whose container holds a pod's namespaces."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    source, program = archive.with_suffix(".c"), archive.with_suffix("")
    source.write_text(_PAUSE)
    command = ["cc", "-static", "-Os", "-s", "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise StartError(f"the C compiler failed:\n{done.stderr}")
    write_archive(archive, PAUSE_IMAGE, {"/pause": program}, ["/pause"])
