"""Staff upload a file of keys made elsewhere."""

from hashlib import sha256

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Organization, User

IMPORT = "/admin/accounts/apikey/import_keys/"
OLD_KEY = "sk_live_51HxTkZqWcVbNmAs"


def upload(content: str | bytes) -> dict[str, SimpleUploadedFile]:
    data = content.encode() if isinstance(content, str) else content
    return {"file": SimpleUploadedFile("keys.csv", data)}


def test_an_uploaded_file_comes_in(back_office: Client, organization: Organization, staff: User) -> None:
    digest = sha256(OLD_KEY.encode()).hexdigest()

    response = back_office.post(
        IMPORT, upload(f"sha256,organization,name\n{digest},{organization.uid},legacy\n"), follow=True
    )

    key = usable_key(OLD_KEY)
    assert "New keys: 1. Known before: 0." in response.content.decode()
    assert key
    assert key.created_by is None
    assert AuditEntry.objects.get(action="api_key.imported").actor == staff


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sha256,organization,name\nabc,org_1,\n", "Line 2, sha256"),
        ("sha256\n", "The column name is missing."),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "empty"),
        (b"x" * (5 * 1024 * 1024 + 1), "larger than 5 MB"),
    ],
)
def test_a_bad_file_is_explained_and_changes_nothing(
    back_office: Client, content: str | bytes, message: str
) -> None:
    response = back_office.post(IMPORT, upload(content))

    assert response.status_code == 400
    assert message in response.content.decode()
    assert not ApiKey.objects.exists()
