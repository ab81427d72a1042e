import pytest

from batcher_operator.resources import KINDS, path_of


def test_the_paths_of_collections_objects_and_parts() -> None:
    assert path_of("v1", "pods") == "/api/v1/pods"
    assert path_of("v1", "secrets", "models", "s3") == "/api/v1/namespaces/models/secrets/s3"
    of = KINDS["Deployment"]
    inside = path_of(of.api_version, of.plural, "models", "iris", "status")
    assert inside == "/apis/apps/v1/namespaces/models/deployments/iris/status"


def test_what_a_name_holds_stays_one_segment() -> None:
    path = path_of("v1", "secrets", "models", "../a b?c#d%2e")
    assert path == "/api/v1/namespaces/models/secrets/..%2Fa%20b%3Fc%23d%252e"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="leads elsewhere: no object has such a name"):
        path_of("v1", "secrets", "models", name)
