"""Organizations that require a second factor of their members: a date, a banner, reminders, and then the gate."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from tests.conftest import sign_in_verified

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
IN_TEN_DAYS = datetime(2026, 11, 30, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def page_path(organization: Organization) -> str:
    return f"/o/{organization.uid}/api-keys/"


def required_from(organization: Organization, moment: datetime | None) -> None:
    Organization.objects.filter(pk=organization.pk).update(two_factor_required_from=moment)


def titles_of(user: User) -> list[str]:
    return list(Notification.objects.filter(user=user).order_by("id").values_list("title", flat=True))


def test_requiring_is_recorded_and_tells_those_who_lack_it(
    organization: Organization, owner: User, admin: User, member: User
) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    two_factor.enrol_totp(user=admin, actor=None)
    version = Organization.objects.get().access_version

    with time_machine.travel(NOW, tick=False):
        changed = two_factor.require(organization=organization, from_=IN_TEN_DAYS, actor=Actor(owner))

    assert changed
    stored = Organization.objects.get()
    assert stored.two_factor_required_from == IN_TEN_DAYS
    assert stored.access_version > version
    entry = AuditEntry.objects.get(action="organization.updated")
    assert entry.before == {"two_factor_required_from": None}
    assert entry.after == {"two_factor_required_from": "2026-11-30T00:00:00.000000Z"}
    assert titles_of(member) == ["Northwind requires two-factor authentication from 30 November 2026"]
    assert titles_of(admin) == []


def test_who_lacks_it_themselves_cannot_require_it(organization: Organization, owner: User) -> None:
    with pytest.raises(two_factor.ActorLacksDevice):
        two_factor.require(organization=organization, from_=IN_TEN_DAYS, actor=Actor(owner))

    assert Organization.objects.get().two_factor_required_from is None
    assert not AuditEntry.objects.filter(action="organization.updated").exists()


def test_a_past_date_means_now(organization: Organization, owner: User) -> None:
    two_factor.enrol_totp(user=owner, actor=None)

    with time_machine.travel(NOW, tick=False):
        two_factor.require(organization=organization, from_=YESTERDAY, actor=Actor(owner))

    assert Organization.objects.get().two_factor_required_from == NOW


def test_the_same_date_again_changes_nothing(organization: Organization, owner: User) -> None:
    required_from(organization, YESTERDAY)

    changed = two_factor.require(organization=organization, from_=YESTERDAY, actor=Actor(owner))

    assert not changed
    assert not AuditEntry.objects.filter(action="organization.updated").exists()


def test_it_can_be_required_no_more(organization: Organization, owner: User, member: User) -> None:
    required_from(organization, YESTERDAY)

    two_factor.require(organization=organization, from_=None, actor=Actor(owner))

    assert Organization.objects.get().two_factor_required_from is None
    assert titles_of(member) == []


def test_reminders_come_seven_three_and_one_days_before_and_on_the_day_once_each(
    organization: Organization, owner: User, member: User
) -> None:
    two_factor.enrol_totp(user=owner, actor=None)
    required_from(organization, IN_TEN_DAYS)

    told = {}
    for day in range(12):
        before = Notification.objects.count()
        for hour in (8, 20):
            two_factor.remind(now=NOW.replace(hour=hour) + timedelta(days=day))
        told[10 - day] = Notification.objects.count() - before

    assert [days for days, count in told.items() if count] == [7, 3, 1, 0]
    assert set(told.values()) == {0, 1}
    assert titles_of(owner) == []
    assert titles_of(member)[-1] == "Northwind requires two-factor authentication now"


def test_a_missed_reminder_is_made_up_for(organization: Organization, member: User) -> None:
    required_from(organization, IN_TEN_DAYS)

    two_factor.remind(now=NOW + timedelta(days=5))

    assert len(titles_of(member)) == 1


def test_nobody_is_reminded_of_a_deleted_organization(organization: Organization, member: User) -> None:
    required_from(organization, IN_TEN_DAYS)
    Organization.objects.update(deleted_at=NOW)

    two_factor.remind(now=NOW + timedelta(days=9))

    assert titles_of(member) == []


def test_until_the_day_a_banner_asks_for_it(
    client: Client, organization: Organization, member: User, page_path: str
) -> None:
    required_from(organization, datetime.now(UTC) + timedelta(days=3))
    client.force_login(member)

    response = client.get(page_path)

    assert response.status_code == 200
    page = " ".join(response.content.decode().split())
    assert "Northwind requires two-factor authentication from" in page
    assert 'href="/me/two-factor/">set it up</a>' in page


def test_who_has_it_sees_no_banner(
    client: Client, organization: Organization, member: User, page_path: str
) -> None:
    required_from(organization, datetime.now(UTC) + timedelta(days=3))
    sign_in_verified(client, member)

    assert b"set it up" not in client.get(page_path).content


def test_the_banner_costs_nothing_where_nobody_requires_it(
    client: Client,
    organization: Organization,
    member: User,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    memberships = list(member.memberships.select_related("organization"))

    with django_assert_num_queries(0):
        demanding = two_factor.demanded_by(member, memberships)

    assert demanding == []


@pytest.mark.parametrize("method", ["get", "post"])
def test_after_the_day_pages_lead_to_the_set_up(
    client: Client, organization: Organization, admin: User, page_path: str, method: str
) -> None:
    required_from(organization, YESTERDAY)
    client.force_login(admin)

    response = getattr(client, method)(page_path + "create/", {"name": "k"})

    assert response["Location"] == "/me/two-factor/"
    assert not ApiKey.objects.exists()
    page = " ".join(client.get("/me/two-factor/").content.decode().split())
    assert "<strong>Northwind requires two-factor authentication</strong> and you have not set it up" in page
    assert 'href="/me/two-factor/set-up/"' in page


def test_after_the_day_the_api_refuses_sessions(
    client: Client, organization: Organization, member: User
) -> None:
    required_from(organization, YESTERDAY)
    client.force_login(member)

    response = client.get("/api/v1/jobs")

    assert response.status_code == 403
    assert "requires two-factor authentication" in response.json()["error"]["message"]


def test_after_the_day_the_api_refuses_personal_keys(
    client: Client, organization: Organization, personal_key: tuple[ApiKey, str]
) -> None:
    required_from(organization, YESTERDAY)

    response = client.get("/api/v1/jobs", headers={"authorization": f"Bearer {personal_key[1]}"})

    assert response.status_code == 403


def test_after_the_day_the_organizations_keys_work_on(
    client: Client, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    required_from(organization, YESTERDAY)

    response = client.get("/api/v1/jobs", headers={"authorization": f"Bearer {organization_key[1]}"})

    assert response.status_code == 200


def test_who_has_a_device_passes_the_gate(
    client: Client, organization: Organization, member: User, page_path: str
) -> None:
    required_from(organization, YESTERDAY)
    sign_in_verified(client, member)

    assert client.get(page_path).status_code == 200


def test_other_organizations_stay_open(
    client: Client, organization: Organization, other_organization: Organization, outsider: User
) -> None:
    required_from(organization, YESTERDAY)
    client.force_login(outsider)

    assert client.get(f"/o/{other_organization.uid}/api-keys/").status_code == 200
