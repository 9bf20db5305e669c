"""Making a key on its page: shown once, kept nowhere, and made once however often the form is sent."""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.test import Client

from accounts import secrets
from accounts.models import ApiKey, AuditEntry, Organization, User

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = re.compile(r"ch_[a-z]+_[0-9A-Za-z]{38}")


@pytest.fixture
def form(client: Client, owner: User, organization: Organization) -> dict[str, Any]:
    """What the page sends for a key when only a name is typed, with the address it goes to."""
    client.force_login(owner)
    address = f"/o/{organization.uid}/api-keys/create/"
    signed_uid = client.get(address).context["signed_uid"]
    return {
        "path": address,
        "data": {
            "form": signed_uid,
            "name": "checkout",
            "environment": "production",
            "expires": "never",
            "scopes": ["jobs", "usage", "webhooks"],
        },
    }


def test_the_secret_is_in_the_answer_and_nowhere_else(
    client: Client, form: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    response = client.post(**form)

    page = response.content.decode()
    (secret,) = set(KEY.findall(page))
    assert secrets.is_well_formed(secret)
    assert ApiKey.objects.with_secret(secret).get().name == "checkout"
    assert "no-store" in response["Cache-Control"]
    assert secret not in client.get(form["path"].removesuffix("create/")).content.decode()
    assert secret not in str([session.get_decoded() for session in Session.objects.all()])
    assert secret not in str(list(AuditEntry.objects.values()))
    assert secret not in str(ApiKey.objects.values().get())
    assert secret not in caplog.text


def test_the_answer_has_a_line_for_an_env_file(client: Client, form: dict[str, Any]) -> None:
    page = client.post(**form).content.decode()

    assert re.search(rf"COUNTINGHOUSE_API_KEY={KEY.pattern}", page)


def test_the_same_form_sent_again_makes_no_second_key(client: Client, form: dict[str, Any]) -> None:
    client.post(**form)

    response = client.post(**form, follow=True)

    assert ApiKey.objects.count() == 1
    assert AuditEntry.objects.filter(action="api_key.created").count() == 1
    assert response.redirect_chain == [(form["path"].removesuffix("create/"), 302)]
    assert b"not shown a second time" in response.content


def test_a_form_of_somebody_else_is_refused(client: Client, form: dict[str, Any], admin: User) -> None:
    client.force_login(admin)

    response = client.post(**form)

    assert response.status_code == 400
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Give the key a name."),
        ("name", "   ", "Give the key a name."),
        ("name", "x" * 81, "at most 80 characters"),
        ("name", "two\nlines", "cannot be seen"),
        ("name", "nul\0", "Null characters are not allowed"),
        ("environment", "moon", "Select a valid choice"),
        ("expires", "7", "Select a valid choice"),
        ("scopes", [], "Choose at least one"),
        ("scopes", ["gateway:verify"], "Select a valid choice"),
    ],
)
def test_a_bad_value_is_explained_beside_its_field(
    client: Client, form: dict[str, Any], field: str, value: object, message: str
) -> None:
    form["data"][field] = value

    response = client.post(**form)

    assert response.status_code == 400
    assert message in str(response.context["form"].errors[field])
    assert f'id="id_{field}_error"' in response.content.decode()
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("", "Say which day."),
        ("soon", "Enter a valid date."),
        ("2026-11-19", "This day has passed."),
        ("2036-11-20", "within ten years"),
        ("9999-12-31", "within ten years"),
    ],
)
def test_a_bad_last_day_is_explained(client: Client, form: dict[str, Any], day: str, message: str) -> None:
    form["data"] |= {"expires": "date", "expires_on": day}

    with time_machine.travel(NOW, tick=False):
        response = client.post(**form)

    assert message in str(response.context["form"].errors["expires_on"])
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("expires", "moment"),
    [("never", None), ("30", NOW + timedelta(days=30)), ("365", NOW + timedelta(days=365))],
)
def test_a_key_ends_after_the_chosen_days(
    client: Client, form: dict[str, Any], expires: str, moment: datetime | None
) -> None:
    form["data"]["expires"] = expires

    with time_machine.travel(NOW, tick=False):
        client.post(**form)

    assert ApiKey.objects.get().expires_at == moment


def test_a_last_day_ends_with_the_organizations_day(
    client: Client, form: dict[str, Any], organization: Organization
) -> None:
    Organization.objects.update(time_zone="America/New_York")
    form["data"] |= {"expires": "date", "expires_on": "2026-11-20"}

    with time_machine.travel(NOW, tick=False):
        client.post(**form)

    assert ApiKey.objects.get().expires_at == datetime(2026, 11, 21, 5, tzinfo=UTC)


def test_scopes_beyond_the_creators_permissions_are_not_offered(
    client: Client, form: dict[str, Any], admin: User
) -> None:
    client.force_login(admin)

    offered = dict(client.get(form["path"]).context["form"].fields["scopes"].choices)

    assert "team" in offered
    assert "ownership" not in offered
