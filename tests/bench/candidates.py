"""What is measured: the model server alone, nginx, the sidecar, and a peer given as a command."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.workloads import MAX_BATCH_SIZE, MAX_LATENCY_MS

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DIRECT: Final = "direct"
NGINX: Final = "nginx"
SIDECAR: Final = "sidecar"
PEER: Final = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a candidate listens, and where the model server does."""

    data: int
    admin: int
    component: int


#: (ports, window in ms, empty directory) → command
Build = Callable[[Ports, int, Path], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of those compared.

    `build` is None for the model server alone. `log` keeps what it prints, to explain a failed
    start; a peer may print much, so its output is discarded. `window` says that the window of
    its batches can be set, so that the overshoot of a known window can be measured. `stop_s` is
    how long it may take to stop by itself, before it is killed.
    """

    key: str
    label: str
    build: Build | None
    log: bool = True
    batches: bool = False
    window: bool = False
    stop_s: float = 0

    def shown(self) -> str:
        """The command with placeholders in place of ports, programs without their directory."""
        if self.build is None:
            return ""
        ports = Ports(data=-1, admin=-2, component=-3)
        words = self.build(ports, MAX_LATENCY_MS, Path("DIR"))
        shown = [os.path.basename(word) if word.startswith("/") else word for word in words]
        text = shlex.join(shown)
        for number, name in (("-1", "PORT"), ("-2", "ADMIN_PORT"), ("-3", "COMPONENT_PORT")):
            text = re.sub(rf"(?<![\w-]){number}(?!\w)", name, text)
        return text


def nginx_config(ports: Ports, directory: Path) -> str:
    """A plain reverse proxy: one worker, connections kept alive on both sides, bodies in memory."""
    user = "user root root;\n" if os.geteuid() == 0 else ""
    return f"""\
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 2m;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  upstream model {{
    server 127.0.0.1:{ports.component};
    keepalive 512;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{ports.data} backlog=1024;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


def _nginx(ports: Ports, window_ms: int, directory: Path) -> list[str]:
    config = directory / "nginx.conf"
    if directory.is_dir():
        config.write_text(nginx_config(ports, directory))
    return ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(config)]


def _sidecar(ports: Ports, window_ms: int, directory: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "batcher_sidecar",
        "--enable-batcher",
        "--max-batchsize",
        str(MAX_BATCH_SIZE),
        "--max-latency",
        str(window_ms),
        "--component-port",
        str(ports.component),
        "--host",
        "127.0.0.1",
        "--port",
        str(ports.data),
        "--admin-port",
        str(ports.admin),
    ]


def fill(template: str, ports: Ports, window_ms: int) -> list[str]:
    """Split a command like a shell and replace its placeholders.

    Other braces, as in JSON, are left alone. ValueError when a quote is not closed.
    """
    values = {
        "{port}": str(ports.data),
        "{component_port}": str(ports.component),
        "{max_latency}": str(window_ms),
    }
    words = shlex.split(template)
    for name, value in values.items():
        words = [word.replace(name, value) for word in words]
    return words


def peer(template: str, label: str) -> Candidate:
    """The batcher that `BENCH_PEER` names; ValueError when the command cannot be used."""
    missing = [name for name in ("{port}", "{component_port}") if name not in template]
    if missing:
        raise ValueError(f"BENCH_PEER does not say {' and '.join(missing)}")

    def build(ports: Ports, window_ms: int, directory: Path) -> list[str]:
        return fill(template, ports, window_ms)

    try:
        build(Ports(data=1, admin=1, component=1), 1, Path())
    except ValueError as error:
        raise ValueError(f"BENCH_PEER is not a command: {error}") from error
    return Candidate(
        key=PEER,
        label=label,
        build=build,
        log=False,
        batches=True,
        window="{max_latency}" in template,
    )


def known(environment: Mapping[str, str]) -> list[Candidate]:
    """All candidates, in the order of the report; ValueError when `BENCH_PEER` is unusable."""
    found = [
        Candidate(key=DIRECT, label="model server alone", build=None),
        Candidate(key=NGINX, label="nginx, plain proxy", build=_nginx, stop_s=2),
        Candidate(
            key=SIDECAR, label="inference-batcher", build=_sidecar, batches=True, window=True
        ),
    ]
    template = environment.get("BENCH_PEER", "").strip()
    if template:
        found.append(peer(template, environment.get("BENCH_PEER_NAME", "").strip() or "peer"))
    return found
