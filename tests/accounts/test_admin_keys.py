from datetime import timedelta
from hashlib import sha256

import pytest
from django.test import Client
from django.urls import reverse

from accounts import audit, keys, secrets
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Organization, User

LIST = "/admin/accounts/apikey/"


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


def revoke_url(key: ApiKey) -> str:
    return reverse("admin:accounts_apikey_revoke", args=[key.pk])


@pytest.mark.parametrize("by", ["name", "uid", "prefix", "last_four", "organization"])
def test_a_key_is_found_by_what_can_be_seen_of_it(
    back_office: Client, key: ApiKey, service_key: tuple[ApiKey, str], by: str
) -> None:
    term = str(getattr(key, by))

    page = back_office.get(LIST, {"q": term}).content.decode()

    assert key.masked in page
    assert service_key[0].masked not in page


def test_a_pasted_key_leads_to_its_page(back_office: Client, organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key

    response = back_office.get(LIST, {"q": f" {secret} "})

    assert response["Location"] == reverse("admin:accounts_apikey_change", args=[key.pk])


def test_a_pasted_key_that_nobody_has_leaves_the_address_bar(back_office: Client) -> None:
    unknown = secrets.generate("production").plaintext

    response = back_office.get(LIST, {"q": unknown}, follow=True)

    assert response.redirect_chain == [(LIST, 302)]
    assert "There is no such key" in response.content.decode()
    assert unknown not in response.content.decode()


def test_a_keys_page_shows_neither_its_secret_nor_the_hash(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key

    page = back_office.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()

    assert key.masked in page
    assert secret not in page
    assert key.secret_hash not in page


def test_there_is_no_form_to_change_a_key(back_office: Client, key: ApiKey) -> None:
    change = reverse("admin:accounts_apikey_change", args=[key.pk])

    assert back_office.post(change, {"name": "mine"}).status_code == 403


def test_a_key_made_elsewhere_is_found_by_pasting_it_too(
    back_office: Client, organization: Organization
) -> None:
    key, _ = keys.create_imported_key(
        organization=organization, sha256=sha256(b"sk_live_old").hexdigest(), name="legacy", actor=None
    )

    response = back_office.get(LIST, {"q": "sk_live_old"})

    assert response["Location"] == reverse("admin:accounts_apikey_change", args=[key.pk])


def test_a_keys_page_shows_its_limits_and_a_rotation(back_office: Client, key: ApiKey) -> None:
    old = key.last_four
    keys.update(key=key, changes={"allowed_ips": ["203.0.113.0/24"], "requests_per_minute": 42}, actor=None)
    keys.rotate(key=key, grace=timedelta(hours=1), actor=None)

    page = back_office.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()

    assert "203.0.113.0/24" in page
    assert "42" in page
    assert f"…{old} works until" in page


def test_staff_disable_and_enable_a_key(back_office: Client, organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key

    back_office.post(reverse("admin:accounts_apikey_disable", args=[key.pk]), {"_form_submitted": "True"})
    assert usable_key(secret) is None

    back_office.post(reverse("admin:accounts_apikey_enable", args=[key.pk]), {"_form_submitted": "True"})
    assert usable_key(secret) == key


def test_asking_to_revoke_changes_nothing_yet(back_office: Client, key: ApiKey) -> None:
    page = back_office.get(revoke_url(key)).content.decode()

    key.refresh_from_db()
    assert "cannot be brought back" in page
    assert key.state == "active"


def test_staff_revoke_a_key_and_leave_a_trace(back_office: Client, key: ApiKey, staff: User) -> None:
    before = Organization.objects.get().access_version

    back_office.post(revoke_url(key), {"_form_submitted": "True"})

    key.refresh_from_db()
    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_REVOKED)
    assert key.state == "revoked"
    assert (entry.actor, entry.target_uid, entry.ip) == (staff, key.uid, "127.0.0.1")
    assert Organization.objects.get().access_version == before + 1


def test_a_revoked_key_is_not_revoked_again(back_office: Client, key: ApiKey, owner: User) -> None:
    keys.revoke(key=key, actor=Actor(owner))

    assert back_office.post(revoke_url(key), {"_form_submitted": "True"}).status_code == 403


def test_revoking_needs_the_right_to_change_keys(back_office: Client, key: ApiKey, staff: User) -> None:
    staff.is_superuser = False
    staff.save()

    response = back_office.post(revoke_url(key), {"_form_submitted": "True"})

    key.refresh_from_db()
    assert response.status_code == 403
    assert key.state == "active"
