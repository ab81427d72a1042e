"""A cluster of our own for people: `python -m tests.cluster.kit up`, and `down`.

`keep` waits until its standard input ends and then takes the cluster down: so it goes with the
tests that made it, also when they crash. `s3-image REGISTRY` writes the archive of an image for
nodes that pull theirs.
"""

import argparse
import sys
import time

from tests.apiserver.kit import StartError
from tests.cluster.kit.images import write_s3
from tests.cluster.kit.own import OwnCluster


def main() -> None:
    """Do what the argument says."""
    parser = argparse.ArgumentParser(description="A one-node cluster on this machine.")
    parser.add_argument("what", choices=["up", "down", "keep", "s3-image"])
    parser.add_argument("registry", nargs="?", default="localhost", help="of `s3-image`")
    arguments = parser.parse_args()
    what = arguments.what
    cluster = OwnCluster()
    try:
        if what == "up":
            begun_s = time.monotonic()
            cluster.up()
            took_s = time.monotonic() - begun_s
            sys.stdout.write(f"# up after {took_s:.0f} s; `make cluster-down` removes it\n")
            sys.stdout.write(f"export KUBECONFIG={cluster.kubeconfig}\n")
            return
        if what == "s3-image":
            sys.stdout.write(f"{write_s3(arguments.registry)}\n")
            return
        if what == "keep":
            sys.stdin.buffer.read()
        cluster.down()
    except StartError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
