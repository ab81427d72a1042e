"""A network namespace for the node: its rules, routes and bridges come and go with it."""

import subprocess
from pathlib import Path
from typing import Final

from tests.apiserver.kit import StartError

__all__ = [
    "HOST_IP",
    "INSIDE",
    "NODE_IP",
    "POD_RANGE",
    "SERVICE_RANGE",
    "create_network",
    "delete_network",
]

NAME: Final = "inference-batcher"
NODE_IP: Final = "10.245.0.2"
HOST_IP: Final = "10.245.0.1"
POD_RANGE: Final = "10.244.0.0/24"
SERVICE_RANGE: Final = "10.96.0.0/16"
INSIDE: Final = ("nsenter", f"--net=/run/netns/{NAME}")
"""What runs a command there; `ip netns exec` would hide the cgroups."""

_HOST_END: Final = "batcher-host"
_NODE_END: Final = "batcher-node"


def create_network() -> None:
    """Make the namespace, a way there for the host, and a way back.

    Raises StartError if the host uses one of the addresses.
    """
    used = _run("ip", "-4", "route", "show")
    for taken in (POD_RANGE, SERVICE_RANGE, "10.245.0.0/30"):
        if taken in used:
            raise StartError(f"this machine has a route to {taken}, which the cluster needs")
    _run("ip", "netns", "add", NAME)
    _run("ip", "link", "add", _HOST_END, "type", "veth", "peer", _NODE_END, "netns", NAME)
    _run("ip", "address", "add", f"{HOST_IP}/30", "dev", _HOST_END)
    _run("ip", "link", "set", _HOST_END, "up")
    _run(*INSIDE, "ip", "address", "add", f"{NODE_IP}/30", "dev", _NODE_END)
    _run(*INSIDE, "ip", "link", "set", _NODE_END, "up")
    _run(*INSIDE, "ip", "link", "set", "lo", "up")
    _run(*INSIDE, "ip", "route", "add", "default", "via", HOST_IP)
    # /proc/sys/net is that of the process's network namespace.
    _run(*INSIDE, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    for target in (POD_RANGE, SERVICE_RANGE):
        _run("ip", "route", "add", target, "via", NODE_IP)


def delete_network() -> None:
    """Delete what `create_network` made, as far as it is there."""
    if Path(f"/sys/class/net/{_HOST_END}").exists():
        _run("ip", "link", "delete", _HOST_END)  # its routes and its other end go with it
    if Path(f"/run/netns/{NAME}").exists():
        _run("ip", "netns", "delete", NAME)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise StartError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout
