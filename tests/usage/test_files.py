"""Files of exports in a folder of this machine, and the signed links to them."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.base import ContentFile, File
from django.test import Client

from usage import files

pytestmark = pytest.mark.usefixtures("exports_folder")

DAY = timedelta(days=1)


def saved(name: str = "usage_for_billing/some file.csv.gz", content: bytes = b"content") -> str:
    return files.exports().save(name, ContentFile(content))


def path_of(url: str) -> str:
    return url.removeprefix("http://127.0.0.1:8000")


def read(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_a_link_leads_to_the_file() -> None:
    response = Client().get(path_of(files.link(saved(), lasting=DAY)))

    assert read(response) == b"content"
    assert response["Content-Type"] == "application/gzip"
    assert "Content-Encoding" not in response
    assert response["Content-Disposition"] == 'attachment; filename="some file.csv.gz"'
    assert "no-store" in response["Cache-Control"]


def test_a_link_tells_of_the_file_by_head() -> None:
    response: Any = Client().head(path_of(files.link(saved(), lasting=DAY)))

    assert response.status_code == 200
    assert response["Content-Length"] == "7"
    assert response.content == b""


def test_a_link_takes_nothing() -> None:
    path = path_of(files.link(saved(), lasting=DAY))

    assert Client().post(path).status_code == 405
    assert Client().put(path).status_code == 405


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("expires=1", "expires=2"),
        lambda url: url.replace("some%20file", "other"),
        lambda url: url[:-1] + ("A" if url[-1] != "A" else "B"),
        lambda url: url.partition("&signature")[0],
        lambda url: url.partition("?")[0],
        lambda url: url.partition("?")[0] + "?expires=x&signature=%00",
        lambda url: url.partition("?")[0] + "?expires=99999999999&signature=é",
        lambda url: url.replace("usage_for_billing/", "usage_for_billing//"),
        lambda url: url.replace("usage_for_billing/", "x/../usage_for_billing/"),
    ],
)
def test_a_changed_link_leads_nowhere(change: Any) -> None:
    saved("usage_for_billing/other.csv.gz")
    url = files.link(saved(), lasting=DAY)

    assert Client().get(path_of(change(url))).status_code == 404


def test_an_expired_link_says_so() -> None:
    response = Client().get(path_of(files.link(saved(), lasting=timedelta(seconds=-2))))

    assert response.status_code == 410
    assert "expired" in response.content.decode()


def test_a_link_to_a_deleted_file_leads_nowhere() -> None:
    name = saved()
    url = files.link(name, lasting=DAY)

    files.exports().delete(name)

    assert Client().get(path_of(url)).status_code == 404


@pytest.mark.parametrize(
    "name", ["../secrets.json", "/etc/passwd", "a/../../secrets.json", "usage_for_billing", ""]
)
def test_even_a_signature_leads_to_nothing_outside(exports_folder: Path, name: str) -> None:
    saved()
    until = "99999999999"
    query = f"expires={until}&signature={files._signature(name, until)}"

    assert Client().get(f"/files/{quote(name)}?{query}").status_code == 404
    assert files.open_in_folder(name) is None


def test_files_are_not_listed() -> None:
    saved()

    assert Client().get("/files/").status_code == 404
    assert Client().get("/files/usage_for_billing/").status_code == 404


def test_only_their_owner_reads_files(exports_folder: Path) -> None:
    path = exports_folder / saved()

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_is_there_as_a_whole_or_not_at_all(exports_folder: Path) -> None:
    class Broken(ContentFile[bytes]):
        def chunks(self, chunk_size: int | None = None) -> Any:
            yield b"half"
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        files.exports().save("usage_for_billing/a.csv.gz", Broken(b""))

    assert os.listdir(exports_folder / "usage_for_billing") == []


def test_two_files_of_one_name_are_two_files() -> None:
    first, second = saved("a.csv", b"1"), saved("a.csv", b"2")

    assert first != second
    with files.exports().open(first) as file:
        assert isinstance(file, File)
        assert file.read() == b"1"
