"""The restricted profile of the Pod Security Standards, as far as it concerns these pods.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

__all__ = ["violations"]

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(spec: dict[str, Any]) -> list[str]:
    """What a pod's spec does that the profile forbids."""
    return [*_of_pod(spec), *(found for c in _containers(spec) for found in _of_container(spec, c))]


def _containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("containers", "initContainers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    context = spec.get("securityContext") or {}
    yield from (key for key in ("sysctls", "windowsOptions", "seLinuxOptions") if context.get(key))
    for volume in spec.get("volumes") or ():
        if set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}"


def _of_container(spec: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    both = {**(spec.get("securityContext") or {}), **own}
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "hostPort"
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities.drop"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "capabilities.add"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if both.get("runAsUser") == 0:
        yield "runAsUser"
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
