"""Commands of those compared, above all that of a peer given as text."""

from pathlib import Path

import pytest

from tests.bench.candidates import Ports, fill, known, nginx_config

PORTS = Ports(data=1001, admin=1002, component=1003)


def test_placeholders_are_replaced_and_other_braces_kept() -> None:
    template = (
        """env PROBE='{"tcpSocket":{"port":{component_port}}}' /opt/peer --port {port} """
        """--latency={max_latency}"""
    )
    assert fill(template, PORTS, 50) == [
        "env",
        'PROBE={"tcpSocket":{"port":1003}}',
        "/opt/peer",
        "--port",
        "1001",
        "--latency=50",
    ]


def test_a_peer_is_measured_only_when_it_is_named() -> None:
    assert [one.key for one in known({})] == ["direct", "nginx", "sidecar"]
    assert [one.key for one in known({"BENCH_PEER": " "})] == ["direct", "nginx", "sidecar"]
    peer = known({"BENCH_PEER": "/opt/peer {port} {component_port}", "BENCH_PEER_NAME": "Peer"})[-1]
    assert (peer.key, peer.label, peer.window) == ("peer", "Peer", False)
    assert peer.shown() == "peer PORT COMPONENT_PORT"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("peer {port}", "{component_port}"),
        ("peer", "{port} and {component_port}"),
        ("peer '{port} {component_port}", "not a command"),
    ],
)
def test_an_unusable_peer_is_explained(template: str, message: str) -> None:
    with pytest.raises(ValueError, match="BENCH_PEER") as caught:
        known({"BENCH_PEER": template})
    assert message in str(caught.value)


def test_the_sidecar_is_shown_without_ports_and_directories() -> None:
    sidecar = next(one for one in known({}) if one.key == "sidecar")
    words = sidecar.shown().split()
    assert words[1:3] == ["-m", "batcher_sidecar"]
    assert words[words.index("--port") + 1] == "PORT"
    assert words[words.index("--admin-port") + 1] == "ADMIN_PORT"
    assert words[words.index("--component-port") + 1] == "COMPONENT_PORT"
    assert "/" not in sidecar.shown()


def test_nginx_stays_on_loopback_and_in_its_directory() -> None:
    config = nginx_config(PORTS, Path("/somewhere"))
    assert "listen 127.0.0.1:1001 " in config
    assert "server 127.0.0.1:1003;" in config
    assert "worker_processes 1;" in config
    assert config.count("{") == config.count("}")
    paths = [line.split()[-1] for line in config.splitlines() if "_path " in line]
    assert len(paths) == 5
    assert all(path.startswith("/somewhere/") for path in paths)
