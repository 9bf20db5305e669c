"""Exports in a bucket, over the protocol of S3."""

import gzip
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from django.core.files.base import ContentFile
from django.test import Client
from moto.server import ThreadedMotoServer
from pytest_django import Settings

from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage import billing_rows as rows
from tests.usage.billing_rows import answer, ask, manifest_of, queued, waiting
from tests.usage.rows import job_row
from usage import billing_export, bucket, export_files, files
from usage.bucket import Bucket
from usage.models import BillingExportFile
from usage.reports import Filters

BUCKET = "countinghouse-exports"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def s3(server: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exports go to a new bucket, with these credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings.AWS_STORAGE_BUCKET_NAME = BUCKET
    settings.AWS_S3_ENDPOINT_URL = server
    settings.AWS_S3_REGION_NAME = "eu-central-1"
    settings.STORAGES = settings.STORAGES | {"exports": {"BACKEND": "usage.bucket.Bucket"}}
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    client = boto3.client("s3", endpoint_url=server, region_name="eu-central-1")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return client


def fetch(url: str) -> tuple[bytes, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read(), response.headers


@pytest.mark.django_db(transaction=True)
def test_exports_of_the_background_go_round(
    organization: Organization, organization_key: tuple[ApiKey, str], member: User, s3: Any
) -> None:
    job_row(organization_key[0], "one")
    export = export_files.create(
        organization=organization, filters=Filters(), is_gzipped=True, actor=Actor(member)
    )

    export_files.make_waiting()

    export.refresh_from_db()
    response = export_files.answer(export)
    content, headers = fetch(response["Location"])
    assert response.status_code == 302
    assert gzip.decompress(content).startswith(b"job_id,")
    assert export.size == len(content)
    assert headers["Content-Disposition"] == f'attachment; filename="jobs-{organization.uid}.csv.gz"'
    export_files.delete(export=export, actor=Actor(member))
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.django_db
def test_exports_go_round(data_plane: Client, s3: Any) -> None:
    queued("a", "b", "c")

    first, second, last = (answer(data_plane, count=2, delete=True) for _ in range(3))

    assert [rows.keys(fetch(found["presigned_url"])[0]) for found in (first, second)] == [["a", "b"], ["c"]]
    assert last == {"presigned_url": None, "num_records": 0}
    names = sorted(found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"])
    assert [name.partition("-")[0] for name in names] == ["usage_for_billing/000001"] * 2 + [
        "usage_for_billing/000002"
    ] * 2
    for file in BillingExportFile.objects.all():
        assert manifest_of(file)["sha256"] == file.sha256


@pytest.mark.django_db
def test_the_link_is_signed_for_six_days(data_plane: Client) -> None:
    queued("a")

    url = answer(data_plane)["presigned_url"]

    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    assert "X-Amz-Expires=518400" in url


@pytest.mark.django_db
def test_a_file_is_fetched_as_the_gzip_that_it_is(data_plane: Client) -> None:
    queued("a")

    content, headers = fetch(answer(data_plane)["presigned_url"])

    assert gzip.decompress(content)
    assert headers["Content-Type"] == "application/gzip"
    assert headers["Content-Encoding"] is None


@pytest.mark.django_db
def test_what_the_bucket_answers_otherwise_is_not_deleted(
    data_plane: Client, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued("a")
    save = Bucket._save

    def meddle(self: Bucket, name: str, content: Any) -> str:
        stored: str = save(self, name, content)
        s3.put_object(Bucket=BUCKET, Key=stored, Body=b"something else")
        return stored

    monkeypatch.setattr(Bucket, "_save", meddle)

    response = ask(data_plane, {"delete": True})

    assert response.status_code == 503
    assert waiting() == ["a"]


@pytest.mark.django_db
def test_a_bucket_that_is_not_there_is_told_plainly(data_plane: Client, s3: Any) -> None:
    queued("a")
    s3.delete_bucket(Bucket=BUCKET)

    response = ask(data_plane, {"delete": True})

    assert response.status_code == 503
    assert waiting() == ["a"]


@pytest.mark.django_db
def test_a_server_that_does_not_answer_is_told_plainly(
    data_plane: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued("a")
    settings.AWS_S3_ENDPOINT_URL = "http://127.0.0.1:1"
    settings.STORAGES = dict(settings.STORAGES)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between its tries

    response = ask(data_plane, {"delete": True})

    assert response.status_code == 503
    assert waiting() == ["a"]


@pytest.mark.django_db
def test_the_manifest_is_made_up_for(data_plane: Client, s3: Any) -> None:
    queued("a")
    answer(data_plane, delete=True)
    file = BillingExportFile.objects.get()
    s3.delete_object(Bucket=BUCKET, Key=billing_export.manifest_name(file.name))

    answer(data_plane, delete=True)

    assert manifest_of(file)["number"] == 1


def test_a_large_file_goes_in_parts_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * (3 * bucket._MEMORY // 256)

    name = files.exports().save("exports/large.csv.gz", ContentFile(content))

    with files.exports().open(name) as file:
        assert b"".join(file.chunks(1024 * 1024)) == content


def test_a_name_that_is_taken_is_not_written_over() -> None:
    first = files.exports().save("exports/a.csv", ContentFile(b"1"))
    second = files.exports().save("exports/a.csv", ContentFile(b"2"))

    assert first != second
    assert rows.stored(first) == b"1"


def test_a_file_that_is_not_there_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        files.exports().open("exports/nothing")


def test_this_machines_links_lead_to_nothing_in_a_bucket() -> None:
    name = files.exports().save("exports/a.csv", ContentFile(b"1"))
    until = "99999999999"

    response = Client().get(f"/files/{name}?expires={until}&signature={files._signature(name, until)}")

    assert response.status_code == 404
