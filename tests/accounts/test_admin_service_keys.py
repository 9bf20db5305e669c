"""Keys of the data plane are made in the back office, shown once; customers' keys are not made there."""

import logging
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, User
from tests.conftest import sign_in_verified

KEY = re.compile(r"ch_service_[0-9A-Za-z]{38}")
ADD = "/admin/accounts/apikey/add/"


@pytest.fixture
def form(back_office: Client) -> dict[str, Any]:
    """What the page sends for a key that may verify."""
    hidden = back_office.get(ADD).context["hidden"]
    return {"path": ADD, "data": hidden | {"name": "parser fleet", "scopes": ["gateway:verify"]}}


def test_a_service_key_is_shown_in_the_answer_and_nowhere_else(
    back_office: Client, form: dict[str, Any], staff: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    response = back_office.post(**form)

    [secret] = set(KEY.findall(response.content.decode()))
    key = usable_key(secret)
    assert key
    assert (key.kind, key.name, key.scopes, key.created_by) == (
        "service",
        "parser fleet",
        ["gateway:verify"],
        staff,
    )
    assert "no-store" in response["Cache-Control"]
    assert secret not in back_office.get(reverse("admin:accounts_apikey_changelist")).content.decode()
    assert secret not in str(list(AuditEntry.objects.values()))
    assert secret not in caplog.text


def test_the_same_form_sent_again_makes_no_second_key(back_office: Client, form: dict[str, Any]) -> None:
    back_office.post(**form)

    response = back_office.post(**form, follow=True)

    assert ApiKey.objects.count() == 1
    assert "not shown a second time" in response.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "two\nlines"), ("name", "x" * 81), ("scopes", []), ("scopes", ["jobs"])],
)
def test_a_bad_value_is_explained(
    back_office: Client, form: dict[str, Any], field: str, value: object
) -> None:
    form["data"][field] = value

    response = back_office.post(**form)

    assert response.status_code == 400
    assert field in response.context["form"].errors
    assert not ApiKey.objects.exists()


def test_a_form_that_was_not_made_here_is_refused(back_office: Client, form: dict[str, Any]) -> None:
    form["data"]["form"] = "key_made_up"

    assert back_office.post(**form).status_code == 400
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("page", ["add/", "import_keys/", "leaked/", "leaked/revoke/"])
def test_staff_without_the_right_make_and_end_none(client: Client, staff: User, page: str) -> None:
    staff.is_superuser = False
    staff.save()
    sign_in_verified(client, staff)

    assert client.post(f"/admin/accounts/apikey/{page}").status_code == 403
