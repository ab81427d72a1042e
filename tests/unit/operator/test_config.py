import pytest

from batcher_operator.config import parse_args
from batcher_operator.standalone.storage import Initializer


def test_defaults() -> None:
    config = parse_args([], {"POD_NAMESPACE": "batching"})
    assert config.namespace == "batching"
    assert config.manages_certificates
    assert config.ca_lifetime_s == 365 * 86400
    assert config.certificate_lifetime_s == 30 * 86400
    assert config.certificate_overlap_s == 600
    assert config.health_port == 9084
    assert config.kubeconfig is None


def test_flags() -> None:
    config = parse_args(
        ["--namespace=ns", "--certificates=external", "--sidecar-image", "a:1", "--ca-secret=x"], {}
    )
    assert config.namespace == "ns"
    assert not config.manages_certificates
    assert (config.sidecar_image, config.ca_secret) == ("a:1", "x")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "--namespace is missing: give it, or set POD_NAMESPACE"),
        (
            ["--namespace=a", "--ca-lifetime=0"],
            'argument --ca-lifetime: "0" is less than 1: give a plain number of seconds',
        ),
        (
            ["--namespace=a", "--ca-lifetime=60", "--certificate-lifetime=61"],
            "--certificate-lifetime 61 exceeds --ca-lifetime 60: lower it",
        ),
        (
            ["--namespace=a", "--certificate-lifetime=90", "--certificate-overlap=31"],
            "--certificate-overlap 31 exceeds a third of --certificate-lifetime 90: lower it",
        ),
        (["--namespace=a", "--nonsense"], "unrecognized arguments: --nonsense"),
        (
            ["--namespace=a", "--storage-initializer-resources=4Gi"],
            "argument --storage-initializer-resources: '4Gi' is no JSON",
        ),
        (
            ["--namespace=a", '--storage-initializer-resources={"memory": "4Gi"}'],
            'is no object of objects: give {"limits": {"memory": "4Gi"}}',
        ),
        (
            ["--namespace=a", '--storage-initializer-resources={"limit": {"memory": "4Gi"}}'],
            "'limit' is not known: give `requests` and `limits`",
        ),
        (
            ["--namespace=a", '--storage-initializer-resources={"limits": {"memory": "4 GB"}}'],
            "limits.memory '4 GB' is no quantity: give one such as 500m or 1Gi",
        ),
    ],
)
def test_a_bad_command_line_ends_with_a_sentence(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_args(argv, {})
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_modes() -> None:
    config = parse_args(["--namespace=a", "--mode=standalone"], {})
    assert config.mode == "standalone"
    assert config.sidecar_memory_limit == "1Gi"


def test_resources_of_what_fetches_models() -> None:
    assert parse_args(["--namespace=a"], {}).initializer == Initializer()
    argv = ["--namespace=a", '--storage-initializer-resources={"limits": {"memory": "4Gi"}}']
    assert parse_args(argv, {}).initializer.resources == {"limits": {"memory": "4Gi"}}
