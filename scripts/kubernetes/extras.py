"""Build what only the tests on a whole cluster need into `.cache/kubernetes/extras`, once.

CoreDNS, which the cluster's names come from, and versitygw, an S3 server. As with `build.py`, which
this rests on, they come from Go modules; a few minutes each.
"""

from __future__ import annotations

import shutil
import sys
from typing import Final

from build import HOME, ROOT, fail, find_go, locked, run, say

MODULES: Final = {
    "coredns": "github.com/coredns/coredns@v1.12.4",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
}
EXTRAS: Final = HOME / "extras"


def main() -> None:
    """Build those named as arguments, or all; say nothing if they are there."""
    wanted = sys.argv[1:] or list(MODULES)
    if unknown := [name for name in wanted if name not in MODULES]:
        fail(f"it does not know {', '.join(unknown)}: name some of {', '.join(MODULES)}")
    if all(is_current(name) for name in wanted):
        return
    EXTRAS.mkdir(parents=True, exist_ok=True)
    with locked(HOME / "lock"):
        for name in wanted:
            if not is_current(name):  # another run may have built it meanwhile
                build(name)


def is_current(name: str) -> bool:
    """Whether the program is there, in the version that it should have."""
    try:
        return (EXTRAS / f"{name}.stamp").read_text() == stamp(name)
    except OSError:
        return False


def stamp(name: str) -> str:
    """What the program is made of."""
    return f"{MODULES[name]}\n"


def build(name: str) -> None:
    """Build one program and put it in its place."""
    fresh = HOME / "new-extras"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    say(f"building {MODULES[name]} for the tests on a cluster: this takes 2 minutes, once")
    run(
        *(find_go(), "install", "-trimpath", "-ldflags", "-s -w", MODULES[name]),
        cwd=fresh,
        what=f"compiling {name}",
        env={"GOBIN": str(fresh)},
    )
    (fresh / name).replace(EXTRAS / name)
    (EXTRAS / f"{name}.stamp").write_text(stamp(name))
    shutil.rmtree(fresh)
    say(f"built {(EXTRAS / name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
