"""A real API server for tests.

The fixtures of `tests/apiserver/conftest.py` are what a test starts from::

    def test_pods_are_made(api: Api, namespace: str) -> None:
        api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {...}, "spec": {...}})

- `api_server` (session): the running `ApiServer`. RBAC and ServiceAccount admission are on, no
  controller runs: nothing schedules pods, fills Deployments or empties deleted namespaces. It knows
  InferenceServices (`inferenceservice-crd.yaml`). It starts in about 4 s.
- `api` (session): the administrator's `Api`, a client that takes and gives plain dictionaries.
- `namespace`: the name of a fresh namespace with its `default` ServiceAccount.
- `webhook` (session): our webhook as a process, which `registered_mutating` and
  `registered_validating` have the API server call by the chart's configurations; `running_kserve`
  is a stand-in for KServe's pod webhook (`kit/webhook.py`, `kit/kserve.py`).

`ApiServer` also gives `kubectl(...)` and `helm(...)` (completed processes, never raising),
`write_kubeconfig(path, token)`, `client(token)`; `Api.token(account, namespace)` asks for a
ServiceAccount's token. A test that needs a server of its own says `with running_api_server() as
server:`, and `install_inferenceservices` if it needs them. `Program` runs any other program for
the length of a `with` block: like the server it ends when the tests do, however that happens.
"""

from tests.apiserver.kit.api import Api, ApiError, Manifest, documents, until
from tests.apiserver.kit.authority import Authority, Pair
from tests.apiserver.kit.programs import ROOT, Program, StartError, program_path
from tests.apiserver.kit.server import (
    ApiServer,
    make_account,
    make_namespace,
    running_api_server,
)

__all__ = [
    "ROOT",
    "Api",
    "ApiError",
    "ApiServer",
    "Authority",
    "Manifest",
    "Pair",
    "Program",
    "StartError",
    "documents",
    "make_account",
    "make_namespace",
    "program_path",
    "running_api_server",
    "until",
]
