"""Reading the model server's readiness probe from the environment variable."""

import pytest

from batcher_sidecar.probe import ModelProbe, ProbeError


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (None, "TCP connect to localhost:8080"),
        ("", "TCP connect to localhost:8080"),
        (" \n", "TCP connect to localhost:8080"),
        (" null\n", "TCP connect to localhost:8080"),
        ("{}", "TCP connect to localhost:8080"),
        ('{"timeoutSeconds":1,"httpGet":null}', "TCP connect to localhost:8080"),
        (
            (
                '{"tcpSocket":{"port":8080},"timeoutSeconds":1,"periodSeconds":10,'
                '"successThreshold":1,"failureThreshold":3}'
            ),
            "TCP connect to localhost:8080",
        ),
        ('{"tcpSocket":{"port":9000,"host":"127.0.0.1"}}', "TCP connect to 127.0.0.1:9000"),
        ('{"tcpSocket":{"port":9000,"host":"::1"}}', "TCP connect to [::1]:9000"),
        ('{"tcpSocket":{}}', "TCP connect to localhost:8080"),
        ('{"tcpSocket":{"port":0}}', "TCP connect to localhost:8080"),
        ('{"tcpSocket":{"port":"http1"}}', "TCP connect to localhost:8080"),
        ('{"tcpSocket":{"port":"9000"}}', "TCP connect to localhost:9000"),
        ('{"grpc":{"port":9000,"service":""}}', "TCP connect to localhost:9000"),
        ('{"exec":{"command":["true"]}}', "TCP connect to localhost:8080"),
        (
            '{"httpGet":{"path":"/etc/hostname","port":9000,"scheme":"HTTP"}}',
            "GET http://localhost:9000/etc/hostname",
        ),
        ('{"httpGet":{"port":9000}}', "GET http://localhost:9000/"),
        ('{"httpGet":{"path":"v2/health","host":"::1"}}', "GET http://[::1]:8080/v2/health"),
        ('{"httpGet":{"scheme":"HTTPS","port":443}}', "GET https://localhost/"),
        ('{"httpGet":{"path":"/a%20b/c d?token=x#y"}}', "GET http://localhost:8080/a%20b/c%20d"),
        (
            '[{"tcpSocket":{"port":9000}},{"httpGet":{"path":"/x"}}]',
            "TCP connect to localhost:9000 and GET http://localhost:8080/x",
        ),
    ],
)
def test_what_a_probe_asks(text: str | None, asked: str) -> None:
    assert str(ModelProbe.parse(text, "localhost", 8080)) == asked


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tcp:8080", "'tcp:8080'"),
        ("[" * 100_000, "not JSON"),
        ("7", "'7'"),
        ("[]", "'[]'"),
        ("[null]", "[0]"),
        ('{"tcpSocket":8080}', "tcpSocket is '8080'"),
        ('{"tcpSocket":{"port":70000}}', "tcpSocket.port is '70000'"),
        ('{"tcpSocket":{"port":-1}}', "tcpSocket.port is '-1'"),
        ('{"tcpSocket":{"port":true}}', "tcpSocket.port is 'true'"),
        ('{"tcpSocket":{"port":1.5}}', "tcpSocket.port is '1.5'"),
        ('{"tcpSocket":{"port":"70000"}}', "tcpSocket.port is '70000'"),
        ('{"tcpSocket":{"host":7}}', "tcpSocket.host is '7'"),
        ('[{},{"grpc":{"port":[]}}]', "[1].grpc.port is '[]'"),
        ('{"tcpSocket":{},"exec":{}}', "only one of"),
        ('{"timeoutSeconds":-1}', "timeoutSeconds is '-1'"),
        ('{"timeoutSeconds":"1s"}', "timeoutSeconds is '1s'"),
        ('{"httpGet":{"scheme":"gopher"}}', "httpGet.scheme is 'gopher'"),
        ('{"httpGet":{"path":7}}', "httpGet.path is '7'"),
        ('{"httpGet":{"host":"[x"}}', "httpGet is '[x:8080 /'"),
        ('{"httpGet":{"httpHeaders":{"name":"A"}}}', "httpGet.httpHeaders is"),
        ('{"httpGet":{"httpHeaders":[{"name":"A B"}]}}', "httpGet.httpHeaders[0].name is 'A B'"),
        ('{"httpGet":{"httpHeaders":[{"name":"A","value":"s3cret\\r\\n"}]}}', "[0].value is"),
    ],
)
def test_what_is_no_probe_is_refused_with_a_remedy(text: str, named: str) -> None:
    with pytest.raises(ProbeError) as refusal:
        ModelProbe.parse(text, "localhost", 8080)
    sentence = str(refusal.value)
    assert sentence.startswith("SERVING_READINESS_PROBE")
    assert named in sentence
    assert "or remove the variable" in sentence
    assert "s3cret" not in sentence
    assert len(sentence) < 500
