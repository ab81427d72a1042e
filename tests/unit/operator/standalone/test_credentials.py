"""Credentials: what becomes of a ServiceAccount's Secrets, and what is not kept of them."""

import base64

import pytest

from batcher_operator.standalone.credentials import (
    Account,
    Secret,
    credentials_of,
    read_account,
    read_secret,
)
from tests.unit.operator.standalone.golden_files import Json

PREFIX = "serving.kserve.io/s3-"


def secret(annotations: Json | None = None, **data: str) -> Secret:
    encoded = {
        key.replace("__", "-"): base64.b64encode(value.encode()).decode()
        for key, value in data.items()
    }
    meta = {"name": "one", "annotations": annotations or {}}
    return read_secret({"metadata": meta, "data": encoded})


def env(of: Secret, account: Account | None = None) -> dict[str, str]:
    """Values by variable; for one that is read from the Secret its key."""
    account = account or Account(name="x", annotations={}, secrets=(of.name,))
    shown = {}
    for entry in credentials_of(account, {of.name: of}).env:
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            assert reference["name"] == of.name
        shown[entry["name"]] = f"<{reference['key']}>" if reference else entry["value"]
    return shown


def test_no_secret_is_kept() -> None:
    told = {"kubectl.kubernetes.io/last-applied-configuration": "s3cr3t", f"{PREFIX}region": "eu"}
    found = secret(told, AWS_SECRET_ACCESS_KEY="s3cr3t", S3_ENDPOINT="s3:9000", headers="s3cr3t")
    assert "s3cr3t" not in repr(found)
    assert base64.b64encode(b"s3cr3t").decode() not in repr(found)
    assert found.readable == {"S3_ENDPOINT": "s3:9000"}


def test_what_a_secret_cannot_be_named_is_told_apart() -> None:
    # Nothing else may become part of a path of the API: the API server takes any text here.
    names = ["s3", "../../kube-system/secrets/x", "s3", "", "S3", "a.b"]
    account = read_account(
        {"metadata": {"name": "sa"}, "secrets": [{"name": name} for name in names]}
    )
    assert account.secrets == ("s3", "a.b")
    assert account.no_names == ("../../kube-system/secrets/x", "S3")


@pytest.mark.parametrize(
    ("annotations", "shown"),
    [
        ({}, {}),
        (
            {"endpoint": "s3:9000"},
            {"S3_ENDPOINT": "s3:9000", "AWS_ENDPOINT_URL": "https://s3:9000"},
        ),
        (
            {"endpoint": "s3:9000", "usehttps": "0"},
            {
                "S3_USE_HTTPS": "0",
                "S3_ENDPOINT": "s3:9000",
                "AWS_ENDPOINT_URL": "http://s3:9000",
            },
        ),
        (
            {"endpoint": "http://s3:9000", "usehttps": "1"},
            {
                "S3_USE_HTTPS": "0",
                "S3_ENDPOINT": "s3:9000",
                "AWS_ENDPOINT_URL": "http://s3:9000",
            },
        ),
        (
            {"region": "eu", "verifyssl": "0", "usevirtualbucket": "1", "useaccelerate": "1"},
            {
                "S3_VERIFY_SSL": "0",
                "AWS_DEFAULT_REGION": "eu",
                "S3_USER_VIRTUAL_BUCKET": "1",
                "S3_USE_ACCELERATE": "1",
            },
        ),
        ({"useanoncredential": "true"}, {"awsAnonymousCredential": "true"}),
    ],
)
def test_s3(annotations: Json, shown: Json) -> None:
    told = {f"{PREFIX}{key}": value for key, value in annotations.items()}
    keys = {
        "AWS_ACCESS_KEY_ID": "<awsAccessKeyID>",
        "AWS_SECRET_ACCESS_KEY": "<awsSecretAccessKey>",
    }
    assert env(secret(told, awsAccessKeyID="x", awsSecretAccessKey="y")) == {**keys, **shown}


def test_where_s3_is_may_stand_in_the_secret_and_annotations_come_first() -> None:
    told = {f"{PREFIX}region": "eu"}
    found = secret(
        told, AWS_SECRET_ACCESS_KEY="y", S3_ENDPOINT="s3", S3_USE_HTTPS="0", AWS_DEFAULT_REGION="us"
    )
    assert env(found) == {
        "AWS_SECRET_ACCESS_KEY": "<AWS_SECRET_ACCESS_KEY>",
        "S3_USE_HTTPS": "0",
        "S3_ENDPOINT": "s3",
        "AWS_ENDPOINT_URL": "http://s3",
        "AWS_DEFAULT_REGION": "eu",
    }


def test_open_buckets_need_no_keys() -> None:
    assert env(secret({f"{PREFIX}useanoncredential": "true"})) == {"awsAnonymousCredential": "true"}


def test_a_role_of_the_account_s_own() -> None:
    meta = {
        "name": "x",
        "annotations": {
            "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x",
            f"{PREFIX}region": "eu",
        },
    }
    account = read_account({"metadata": meta, "secrets": [{"name": "one"}, {"name": "gone"}]})
    assert account.secrets == ("one", "gone")
    assert env(secret(HF_TOKEN="x"), account) == {
        "AWS_DEFAULT_REGION": "eu",
        "HF_TOKEN": "<HF_TOKEN>",
    }


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"AZ_CLIENT_ID": "x", "AZURE_STORAGE_ACCESS_KEY": "y"}, {
            "AZURE_CLIENT_ID": "<AZ_CLIENT_ID>",
            "AZURE_STORAGE_ACCESS_KEY": "<AZURE_STORAGE_ACCESS_KEY>",
        }),
        ({"https__host": "x.example", "headers": "a: b"}, {"x.example-headers": "<headers>"}),
        ({"https__host": "x.example"}, {}),
        ({"HF_TOKEN": "x"}, {"HF_TOKEN": "<HF_TOKEN>"}),
        ({"password": "x"}, {}),
    ],
)  # fmt: skip
def test_other_storages(data: Json, shown: Json) -> None:
    assert env(secret(**data)) == shown
