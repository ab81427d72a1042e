"""Credentials for fetching models: from the Secrets of a ServiceAccount to a container's fields.

Keys and annotations are KServe's (`pkg/credentials`). Of a Secret only what is no secret is read;
the rest reaches the container by reference.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from batcher_contract.standalone import is_object_name
from batcher_operator.standalone.looks import Json, mapping, objects, text, texts

__all__ = ["Account", "Credentials", "Secret", "credentials_of", "read_account", "read_secret"]

_ANNOTATION: Final = "serving.kserve.io/s3-"
_ROLE: Final = "eks.amazonaws.com/role-arn"
_S3_KEYS: Final = {
    "AWS_ACCESS_KEY_ID": ("AWS_ACCESS_KEY_ID", "awsAccessKeyID"),
    "AWS_SECRET_ACCESS_KEY": ("AWS_SECRET_ACCESS_KEY", "awsSecretAccessKey"),
}
"""Where each variable may be found in a Secret."""

_S3_SETTINGS: Final = {
    "S3_VERIFY_SSL": "verifyssl",
    "awsAnonymousCredential": "useanoncredential",
    "AWS_DEFAULT_REGION": "region",
    "S3_USER_VIRTUAL_BUCKET": "usevirtualbucket",
    "S3_USE_ACCELERATE": "useaccelerate",
    "AWS_CA_BUNDLE": "cabundle",
    "AWS_CA_BUNDLE_CONFIGMAP": "cabundle-configmap",
}
"""Variables, which are also keys of a Secret, and the annotations that come before those."""

_AZURE_KEYS: Final = {
    "AZURE_SUBSCRIPTION_ID": ("AZ_SUBSCRIPTION_ID", "AZURE_SUBSCRIPTION_ID"),
    "AZURE_TENANT_ID": ("AZ_TENANT_ID", "AZURE_TENANT_ID"),
    "AZURE_CLIENT_ID": ("AZ_CLIENT_ID", "AZURE_CLIENT_ID"),
    "AZURE_CLIENT_SECRET": ("AZ_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
    **{
        key: (key,)
        for key in (
            "AZURE_STORAGE_ACCESS_KEY",
            "AZURE_ACCESS_TOKEN",
            "AZURE_ACCESS_EXPIRES_ON_SECONDS",
            "AZURE_ACCOUNT_NAME",
            "AZURE_SERVICE_URL",
        )
    },
}
_TOKENS: Final = ("HF_TOKEN", "MS_TOKEN")
_GCS_FILE: Final = "gcloud-application-credentials.json"
_GCS_VOLUME: Final = "user-gcp-sa"
_GCS_PATH: Final = "/var/secrets/"
_HOST: Final = "https-host"
_HEADERS: Final = "headers"
_CA_VOLUME: Final = "cabundle-cert"
_CA_PATH: Final = "/etc/ssl/custom-certs"
_READABLE: Final = (*_S3_SETTINGS, "S3_ENDPOINT", "S3_USE_HTTPS", _HOST)
"""What of a Secret is no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A ServiceAccount, as far as credentials go."""

    name: str
    annotations: Mapping[str, str]
    """Those about storage."""

    secrets: tuple[str, ...]
    """Names of the Secrets that it lists."""

    no_names: tuple[str, ...] = ()
    """What it lists that is the name of no Secret, and must not be looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A Secret without its secrets."""

    name: str
    annotations: Mapping[str, str]
    """Those about storage."""

    keys: frozenset[str]
    readable: Mapping[str, str]
    """The values of some keys that tell where something is, and how it is to be reached."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a container that fetches a model gets."""

    env: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()


def read_account(raw: Mapping[str, Any]) -> Account:
    """A ServiceAccount as the API server sent it."""
    meta = mapping(raw.get("metadata"))
    listed = (text(each.get("name")) for each in objects(raw.get("secrets")))
    # The API server takes any text there, paths that lead out of the namespace included.
    names = dict.fromkeys(filter(None, listed))
    return Account(
        name=text(meta.get("name")),
        annotations=_of_storage(meta),
        secrets=tuple(name for name in names if is_object_name(name)),
        no_names=tuple(name for name in names if not is_object_name(name)),
    )


def read_secret(raw: Mapping[str, Any]) -> Secret:
    """A Secret as the API server sent it; its secrets are not kept."""
    meta, data = mapping(raw.get("metadata")), texts(raw.get("data"))
    return Secret(
        name=text(meta.get("name")),
        annotations=_of_storage(meta),
        keys=frozenset(data),
        readable={key: _decoded(data[key]) for key in _READABLE if key in data},
    )


def _of_storage(meta: Mapping[str, Any]) -> dict[str, str]:
    # kubectl notes the whole object in another annotation, secrets and all.
    found = texts(meta.get("annotations"))
    return {key: found[key] for key in found if key == _ROLE or key.startswith(_ANNOTATION)}


def credentials_of(account: Account, secrets: Mapping[str, Secret]) -> Credentials:
    """The credentials that an account's Secrets hold; those that are not there are passed over."""
    env: dict[str, Json] = {}
    volumes: dict[str, Json] = {}
    mounts: dict[str, Json] = {}
    if _ROLE in account.annotations:
        _add(env, _s3_settings(account.annotations, {}))
    for name in account.secrets:
        if name in secrets:
            _add(env, _env(secrets[name]))
            if _GCS_FILE in secrets[name].keys:
                mount = {"name": _GCS_VOLUME, "mountPath": _GCS_PATH, "readOnly": True}
                _add(volumes, [{"name": _GCS_VOLUME, "secret": {"secretName": name}}])
                _add(mounts, [mount])
    if (bundle := env.get("AWS_CA_BUNDLE_CONFIGMAP")) is not None:
        file = text(env.get("AWS_CA_BUNDLE", {}).get("value"))
        path = str(PurePosixPath(file).parent) if file.startswith("/") else _CA_PATH
        _add(env, [_plain("CA_BUNDLE_CONFIGMAP_NAME", bundle["value"])])
        _add(env, [_plain("CA_BUNDLE_VOLUME_MOUNT_POINT", path)])
        _add(volumes, [{"name": _CA_VOLUME, "configMap": {"name": bundle["value"]}}])
        _add(mounts, [{"name": _CA_VOLUME, "mountPath": path, "readOnly": True}])
    return Credentials(tuple(env.values()), tuple(volumes.values()), tuple(mounts.values()))


def _env(secret: Secret) -> Iterator[Json]:
    """What one Secret is for, the first that fits, as in KServe's `mountSecretCredential`."""
    keys = secret.keys
    if keys & set(_S3_KEYS["AWS_SECRET_ACCESS_KEY"]) or any(
        key.startswith(_ANNOTATION) for key in secret.annotations
    ):
        yield from _references(secret, _S3_KEYS)
        yield from _s3_settings(secret.annotations, secret.readable)
    elif _GCS_FILE in keys:
        yield _plain("GOOGLE_APPLICATION_CREDENTIALS", f"{_GCS_PATH}{_GCS_FILE}")
    elif any(keys & set(places) for places in _AZURE_KEYS.values()):
        yield from _references(secret, _AZURE_KEYS)
    elif _HOST in keys:
        if _HEADERS in keys and secret.readable.get(_HOST):
            yield _reference(f"{secret.readable[_HOST]}-headers", secret.name, _HEADERS)
    else:
        yield from _references(secret, {key: (key,) for key in _TOKENS})


def _references(secret: Secret, places: Mapping[str, tuple[str, ...]]) -> Iterator[Json]:
    for variable, keys in places.items():
        for key in keys:
            if key in secret.keys:
                yield _reference(variable, secret.name, key)
                break


def _s3_settings(annotations: Mapping[str, str], data: Mapping[str, str]) -> Iterator[Json]:
    endpoint = (annotations.get(f"{_ANNOTATION}endpoint") or data.get("S3_ENDPOINT", "")).strip()
    if endpoint:
        scheme, separator, host = endpoint.partition("://")
        if separator:
            encrypted, url = "0" if scheme.lower() == "http" else "1", endpoint
        else:
            encrypted = annotations.get(f"{_ANNOTATION}usehttps") or data.get("S3_USE_HTTPS", "")
            host, url = endpoint, f"{'http' if encrypted == '0' else 'https'}://{endpoint}"
        if encrypted:
            yield _plain("S3_USE_HTTPS", encrypted)
        yield _plain("S3_ENDPOINT", host)
        yield _plain("AWS_ENDPOINT_URL", url)
    for variable, annotation in _S3_SETTINGS.items():
        value = annotations.get(f"{_ANNOTATION}{annotation}") or data.get(variable)
        if value:
            yield _plain(variable, value)


def _plain(name: str, value: str) -> Json:
    return {"name": name, "value": value}


def _reference(name: str, secret: str, key: str) -> Json:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _add(known: dict[str, Json], entries: Iterator[Json] | list[Json]) -> None:
    for entry in entries:
        known[entry["name"]] = entry


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().strip()
    except ValueError:
        return ""
