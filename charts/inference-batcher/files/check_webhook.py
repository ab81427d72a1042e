"""Ask the webhook what the API server would ask, and see that it answers as it should.

Arguments: the webhook's address, a file of the certificates that the API server trusts, the
sidecar's image, and for how many seconds to try again if the webhook cannot be reached. Exits 0
if all is well, else with a sentence.
"""

import base64
import json
import ssl
import sys
import time
import urllib.request
from typing import Any

TIMEOUT_S = 5.0
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "test",
        "namespace": "test",
        "labels": {"serving.kserve.io/inferenceservice": "test"},
        "annotations": {"internal.serving.kserve.io/batcher": "true"},
    },
    "spec": {"containers": [{"name": "kserve-container", "image": "model"}]},
}
SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "test", "namespace": "test"},
    "spec": {"predictor": {"batcher": {"maxBatchSize": 0}}},
}


def review(url: str, trust: ssl.SSLContext, subject: dict[str, Any]) -> dict[str, Any]:
    """What the webhook answers about the creation of an object."""
    request = {
        "uid": "00000000-0000-4000-8000-000000000000",
        "kind": {"group": "", "version": "v1", "kind": subject["kind"]},
        "operation": "CREATE",
        "object": subject,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    asked = urllib.request.Request(  # noqa: S310 - https, as the chart says
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    # Straight there, as the API server goes: through no proxy that the environment names.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    with opener.open(asked, timeout=TIMEOUT_S) as answered:
        response = json.load(answered)["response"]
    if response["uid"] != request["uid"]:
        sys.exit(f"{url} answered another review than it was asked")
    return dict(response)


def check(address: str, trusted: str, image: str) -> None:
    """Raises OSError if the webhook cannot be reached; exits if it answers what it should not."""
    trust = ssl.create_default_context(cafile=trusted)
    about_pod = review(f"{address}/mutate-pods", trust, POD)
    patch = base64.b64decode(about_pod.get("patch", "")).decode()
    if not about_pod["allowed"] or json.dumps(image) not in patch:
        sys.exit(f"the webhook put no sidecar of {image} into a pod: it answered {about_pod}")
    about_service = review(f"{address}/validate-inferenceservices", trust, SERVICE)
    if about_service["allowed"]:
        sys.exit("the webhook let an InferenceService with maxBatchSize 0 in")


def main() -> None:
    """Check until the webhook has been reached, or for too long."""
    address, trusted, image, patience_s = sys.argv[1:]
    end_s = time.monotonic() + float(patience_s)
    while True:
        try:
            check(address, trusted, image)
        except OSError as error:
            if time.monotonic() > end_s:
                sys.exit(f"cannot ask the webhook at {address}: {error}")
            time.sleep(1)
        else:
            break
    sys.stdout.write(f"{address} is trusted, injects {image} and refuses what is wrong\n")


main()
