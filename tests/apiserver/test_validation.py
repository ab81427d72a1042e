"""InferenceServices that are applied with kubectl, as the webhook and the API server answer.

The table of `docs/admission.md` says what kubectl answers; `make goldens` writes it anew.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.apiserver.kit import Api, ApiError, ApiServer, Manifest
from tests.apiserver.kit.webhook import Webhook, registered_validating, validating
from tests.apiserver.table import FILE, Row, answer, read_rows, service, write_answer

WRONG: Final = (
    "spec.predictor.batcher: {maxBatchSize: 0, maxLatency: 400000}",
    'metadata.annotations[inference-batcher.io/max-concurency]: "2"',
    "metadata.finalizers: [tests.example/keep]",
)
"""Several faults, and a finalizer."""

Apply = Callable[[Manifest], list[str]]
"""Applies a manifest; the lines that kubectl writes."""


@pytest.fixture
def apply(api_server: ApiServer, namespace: str, tmp_path: Path) -> Apply:
    def apply(manifest: Manifest) -> list[str]:
        (tmp_path / FILE).write_text(yaml.safe_dump(manifest))
        args = ("apply", "--filename", FILE, "--namespace", namespace)
        done = api_server.kubectl(*args, cwd=tmp_path)
        return [*done.stderr.splitlines(), *done.stdout.splitlines()]

    return apply


@pytest.fixture(scope="class")
def registered_webhook(api: Api, webhook: Webhook) -> Iterator[None]:
    with registered_validating(api, validating(webhook)):
        yield


@pytest.mark.usefixtures("registered_webhook")
class TestTable:
    @pytest.mark.parametrize("row", read_rows(), ids=lambda row: row.written)
    def test_kubectl_says_what_the_page_says(
        self, apply: Apply, row: Row, request: pytest.FixtureRequest
    ) -> None:
        said = answer(apply(row.manifest()))
        if request.config.getoption("--renew-goldens"):
            if said != row.answer:
                write_answer(row, said)
                pytest.skip("renewed a row of the page: look at its difference")
            return
        assert said == row.answer

    def test_the_service_of_the_page_is_right(self, apply: Apply) -> None:
        assert apply(service()) == ["inferenceservice.serving.kserve.io/iris created"]
        assert apply(service()) == ["inferenceservice.serving.kserve.io/iris unchanged"]

    def test_other_clients_get_one_sentence_with_all_faults(self, api: Api, namespace: str) -> None:
        wrong = service(*WRONG[:2], f"metadata.namespace: {namespace}")
        with pytest.raises(ApiError) as caught:
            api.create(wrong)
        assert caught.value.status == 422
        assert caught.value.message.startswith(
            'admission webhook "services.inference-batcher.io" denied the request: '
        )
        for field in ("maxBatchSize", "maxLatency", "max-concurency"):
            assert field in caught.value.message

    def test_services_that_do_not_speak_of_batching_never_reach_it(
        self, api: Api, webhook: Webhook, namespace: str
    ) -> None:
        plain = service(f"metadata.namespace: {namespace}")
        del plain["spec"]["predictor"]["batcher"]
        seen = webhook.reviews("/validate-inferenceservices")
        api.create(plain)
        api.patch("InferenceService", "iris", namespace, {"metadata": {"labels": {"a": "b"}}})
        path = api.path("InferenceService", "iris", namespace)
        body = {"status": {"url": "http://iris.example"}}
        kind = "application/merge-patch+json"
        api.call("PATCH", f"{path}/status", body, content_type=kind)
        assert webhook.reviews("/validate-inferenceservices") == seen
        batched = {"spec": {"predictor": {"batcher": {"maxBatchSize": 8}}}}
        api.patch("InferenceService", "iris", namespace, batched)
        assert webhook.reviews("/validate-inferenceservices") == seen + 1
        api.call("PATCH", f"{path}/status", body, content_type=kind)
        assert webhook.reviews("/validate-inferenceservices") == seen + 1


class TestWrongBefore:
    """An InferenceService that was applied before there was a webhook."""

    @pytest.fixture(autouse=True)
    def old(self, api: Api, webhook: Webhook, apply: Apply) -> Iterator[None]:
        assert apply(service(*WRONG)) == ["inferenceservice.serving.kserve.io/iris created"]
        with registered_validating(api, validating(webhook)):
            yield

    def test_it_may_be_labelled_and_annotated(self, api_server: ApiServer, namespace: str) -> None:
        where = ("--namespace", namespace, "inferenceservice/iris")
        for change in ("label", "annotate"):
            done = api_server.kubectl(change, *where, "example.com/changed=true")
            assert done.returncode == 0, done.stderr

    def test_it_may_be_applied_again_and_changed_elsewhere(self, apply: Apply) -> None:
        assert apply(service(*WRONG)) == ["inferenceservice.serving.kserve.io/iris unchanged"]
        changed = service(*WRONG, "spec.predictor.minReplicas: 2")
        assert apply(changed) == ["inferenceservice.serving.kserve.io/iris configured"]

    def test_it_may_become_less_wrong(self, apply: Apply) -> None:
        better = service(*WRONG, "spec.predictor.batcher.maxBatchSize: 8")
        assert apply(better) == ["inferenceservice.serving.kserve.io/iris configured"]

    def test_it_may_not_become_more_wrong(self, apply: Apply) -> None:
        for worse, field in (
            ("spec.predictor.batcher.maxBatchSize: -1", "spec.predictor.batcher.maxBatchSize"),
            ("spec.transformer.batcher: {maxLatency: 0}", "spec.transformer.batcher.maxLatency"),
        ):
            said = apply(service(*WRONG, worse))
            assert len(said) == 1
            assert f'The InferenceService "iris" is invalid: {field}: ' in said[0]

    def test_its_status_may_change(self, api: Api, namespace: str) -> None:
        path = f"{api.path('InferenceService', 'iris', namespace)}/status"
        body = {"status": {"url": "http://iris.example"}}
        kind = "application/merge-patch+json"
        api.call("PATCH", path, body, content_type=kind)

    def test_it_may_be_deleted_and_lose_its_finalizer(
        self, api_server: ApiServer, api: Api, namespace: str
    ) -> None:
        where = ("--namespace", namespace, "inferenceservice/iris")
        done = api_server.kubectl("delete", *where, "--wait=false")
        assert done.returncode == 0, done.stderr
        leaving = api.get("InferenceService", "iris", namespace)
        assert leaving["metadata"]["deletionTimestamp"]
        # What a controller does once it has cleaned up.
        leaving["metadata"]["finalizers"] = []
        api.replace(leaving)
        assert api.find("InferenceService", "iris", namespace) is None
