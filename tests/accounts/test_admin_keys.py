from datetime import timedelta
from hashlib import sha256

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import audit, keys, secrets
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from tests.conftest import colleague, sign_in_verified

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


def act(client: Client, key: ApiKey, name: str, reason: str = "Seen in a log", **said: str) -> int:
    url = reverse(f"admin:accounts_apikey_{name}", args=[key.pk])
    return client.post(url, {"_form_submitted": "True", "reason": reason, **said}).status_code


def test_staff_disable_and_enable_a_key(back_office: Client, organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key

    act(back_office, key, "disable")
    assert usable_key(secret) is None

    act(back_office, key, "enable")
    assert usable_key(secret) == key


@pytest.mark.parametrize("name", ["revoke", "disable", "ask_to_rotate"])
def test_without_a_reason_nothing_is_done(back_office: Client, key: ApiKey, name: str) -> None:
    act(back_office, key, name, reason="", within="7 days")

    key.refresh_from_db()
    assert (key.state, key.rotate_by) == ("active", None)


def test_asking_to_revoke_changes_nothing_yet(back_office: Client, key: ApiKey) -> None:
    page = back_office.get(revoke_url(key)).content.decode()

    key.refresh_from_db()
    assert "cannot be brought back" in page
    assert key.state == "active"


def test_staff_revoke_a_key_and_leave_a_trace(back_office: Client, key: ApiKey, staff: User) -> None:
    before = Organization.objects.get().access_version

    act(back_office, key, "revoke")

    key.refresh_from_db()
    entry = AuditEntry.objects.get(action=audit.Action.API_KEY_REVOKED)
    assert key.state == "revoked"
    assert (entry.actor, entry.target_uid, entry.ip) == (staff, key.uid, "127.0.0.1")
    assert entry.after == {"state": "revoked", "reason": "Seen in a log"}
    assert Organization.objects.get().access_version == before + 1


@pytest.mark.parametrize("name", ["revoke", "disable", "ask_to_rotate"])
def test_the_people_of_a_key_read_why(back_office: Client, key: ApiKey, owner: User, name: str) -> None:
    act(back_office, key, name, within="7 days")

    told = Notification.objects.get(user=owner)
    assert "Seen in a log" in told.body
    assert told.organization == key.organization


def test_what_customers_do_themselves_is_not_told_to_them(key: ApiKey, owner: User) -> None:
    keys.disable(key=key, actor=Actor(owner))

    assert not Notification.objects.exists()


def test_a_revoked_key_is_not_revoked_again(back_office: Client, key: ApiKey, owner: User) -> None:
    keys.revoke(key=key, actor=Actor(owner))

    assert act(back_office, key, "revoke") == 403


def test_a_customer_who_rotates_in_time_keeps_the_key(
    back_office: Client, key: ApiKey, owner: User, client: Client
) -> None:
    act(back_office, key, "ask_to_rotate", within="24 hours")
    told = Notification.objects.get(user=owner)
    key.refresh_from_db()
    client.force_login(owner)

    page = client.get(told.url).content.decode()
    secret = keys.rotate(key=key, grace=timedelta(0), actor=Actor(owner))

    assert "rotate" in page.lower()
    assert key.rotate_by is None
    assert keys.disable_unrotated(now=timezone.now() + timedelta(days=2)) == 0
    assert usable_key(secret) == key


def test_a_key_that_nobody_rotates_is_disabled_and_its_people_are_told(
    back_office: Client, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    key, secret = organization_key
    act(back_office, key, "ask_to_rotate", within="24 hours")

    assert keys.disable_unrotated(now=timezone.now() + timedelta(hours=23)) == 0
    assert keys.disable_unrotated(now=timezone.now() + timedelta(hours=25)) == 1

    assert usable_key(secret) is None
    assert Notification.objects.filter(user=owner, title__contains="is disabled").exists()


def test_enabled_without_a_new_secret_it_is_disabled_again(key: ApiKey, owner: User) -> None:
    keys.ask_to_rotate(key=key, within=timedelta(hours=1), reason="Leaked", actor=Actor(owner))
    late = timezone.now() + timedelta(hours=2)
    keys.disable_unrotated(now=late)
    keys.enable(key=key, actor=Actor(owner))

    assert keys.disable_unrotated(now=late) == 1


def test_the_keys_own_page_says_until_when_it_is_to_be_rotated(
    key: ApiKey, owner: User, client: Client
) -> None:
    keys.ask_to_rotate(key=key, within=timedelta(days=3), reason="Leaked", actor=Actor(owner))
    client.force_login(owner)

    page = client.get(reverse("accounts:api_key", args=[key.organization.uid, key.uid])).content.decode()  # type: ignore[union-attr]

    assert "asks you to rotate this key" in page


def test_a_service_key_cannot_be_asked_to_be_rotated(
    back_office: Client, service_key: tuple[ApiKey, str]
) -> None:
    assert act(back_office, service_key[0], "ask_to_rotate", within="7 days") == 403


@pytest.mark.parametrize("name", ["revoke", "disable", "ask_to_rotate"])
def test_each_act_needs_its_permission(back_office: Client, key: ApiKey, staff: User, name: str) -> None:
    staff.is_superuser = False
    staff.save()
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_apikey", "change_apikey"]))

    assert act(back_office, key, name, within="7 days") == 403
    key.refresh_from_db()
    assert (key.state, key.rotate_by) == ("active", None)


def test_only_whoever_makes_keys_of_the_data_plane_stops_or_starts_them(
    service_key: tuple[ApiKey, str], client: Client, organization_key: tuple[ApiKey, str]
) -> None:
    """Without it no call of any customer is let through."""
    support, engineer = Client(), Client()
    sign_in_verified(support, colleague("Sam", "Support"))
    sign_in_verified(engineer, colleague("Eve", "Engineer"))

    refused = act(support, service_key[0], "disable")
    assert usable_key(service_key[1]) == service_key[0]
    act(engineer, service_key[0], "disable")
    refused_too = act(support, service_key[0], "enable")

    assert (refused, refused_too) == (403, 403)
    assert usable_key(service_key[1]) is None
    assert act(support, organization_key[0], "disable") == 302
