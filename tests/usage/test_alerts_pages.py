"""The pages of usage alerts."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client

from accounts import organizations
from accounts.audit import Actor
from accounts.models import ApiKey, Notification, Organization, User
from tests.usage.rows import daily_usage
from usage import alert_notices, alerts
from usage.models import TriggeredAlert, UsageAlert

NOW = datetime(2026, 6, 18, 12, tzinfo=UTC)
FORM = {"metric": "pages", "threshold": "100", "percentages": ["100"], "period": "monthly", "scope": ""}


@pytest.fixture(autouse=True)
def june() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def pages(organization: Organization) -> str:
    return f"/o/{organization.uid}/usage/alerts/"


@pytest.fixture
def alert(organization: Organization, owner: User) -> UsageAlert:
    [made] = alerts.create(
        organization=organization,
        metric="pages",
        period="monthly",
        thresholds=[Decimal(10_000)],
        actor=Actor(owner),
    )
    return made


@pytest.fixture
def browse(client: Client) -> Callable[[User, str], str]:
    def get(user: User, address: str) -> str:
        client.force_login(user)
        answer = client.get(address)
        assert answer.status_code == 200
        return " ".join(answer.content.decode().split())

    return get


def test_without_an_alert_the_page_says_what_one_is_for(
    browse: Callable[..., str], pages: str, member: User, viewer: User
) -> None:
    assert "50&nbsp;%, 80&nbsp;% and 100&nbsp;%" in browse(member, pages)
    assert "Create New Alert" in browse(member, pages)
    assert "Create New Alert" not in browse(viewer, pages)


def test_the_list_says_how_far_each_has_come(
    browse: Callable[..., str], pages: str, alert: UsageAlert, viewer: User, organization_key: Any
) -> None:
    daily_usage(organization_key[0], date(2026, 6, 2), pages=7_299)

    page = browse(viewer, pages)

    assert "10,000 pages a month" in page
    assert '<span>7,299 pages this month</span> <span class="muted">72&nbsp;%</span>' in page
    assert 'value="72"' in page


def test_a_form_makes_several_at_once(client: Client, pages: str, member: User) -> None:
    client.force_login(member)

    answer = client.post(
        f"{pages}create/", FORM | {"percentages": ["50", "80", "100"], "name": "pilot"}, follow=True
    )

    assert "3 alerts are on." in answer.content.decode()
    assert list(UsageAlert.objects.order_by("threshold").values_list("threshold", "name")) == [
        (50, "pilot, 50\u00a0%"),
        (80, "pilot, 80\u00a0%"),
        (100, "pilot, 100\u00a0%"),
    ]
    assert {alert.created_by for alert in UsageAlert.objects.all()} == {member}


def test_the_same_alert_is_not_made_twice(
    client: Client, pages: str, member: User, alert: UsageAlert
) -> None:
    client.force_login(member)
    said = "There is an alert at 10,000 pages a month already"
    form = FORM | {"threshold": "20000", "percentages": ["50", "80"]}

    answer = client.post(f"{pages}create/", form)

    assert (answer.status_code, said in answer.content.decode()) == (400, True)
    assert UsageAlert.objects.get() == alert
    alerts.update(alert=alert, changes={"is_enabled": False}, actor=None)
    assert f"{said}, turned off." in client.post(f"{pages}create/", form).content.decode()


def test_an_alert_of_a_key_and_one_of_a_product(
    client: Client, pages: str, member: User, organization_key: tuple[ApiKey, str]
) -> None:
    client.force_login(member)

    for scope in (organization_key[0].uid, "extract"):
        client.post(f"{pages}create/", FORM | {"scope": scope})

    made = UsageAlert.objects.order_by("pk").values_list("api_key", "product")
    assert list(made) == [(organization_key[0].pk, ""), (None, "extract")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": ""}, "Say how much."),
        ({"threshold": "0"}, "More than 0"),
        ({"threshold": "1.5", "percentages": ["100"], "metric": "cost"}, ""),
        ({"threshold": "NaN"}, "Enter a number."),
        ({"threshold": "1e15"}, "digits"),
        ({"period": "yearly"}, "Select a valid choice"),
        ({"scope": "key_of_somebody_else"}, "Select a valid choice"),
        ({"percentages": []}, "Choose at least one."),
        ({"percentages": ["33"]}, "Select a valid choice"),
        ({"name": "a\x00b"}, "Null characters are not allowed"),
        ({"name": "a\u202eb"}, "cannot be seen"),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(
    client: Client, pages: str, member: User, change: dict[str, Any], message: str
) -> None:
    client.force_login(member)

    answer = client.post(f"{pages}create/", FORM | change)

    assert answer.status_code == (400 if message else 302)
    assert message in answer.content.decode()
    assert UsageAlert.objects.exists() is not bool(message)


def test_one_too_many_is_refused_in_words(
    client: Client, pages: str, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MOST", 0)
    client.force_login(member)

    answer = client.post(f"{pages}create/", FORM)

    assert answer.status_code == 400
    assert "at most 0 alerts" in answer.content.decode()


def test_an_alert_is_edited(client: Client, pages: str, alert: UsageAlert, member: User) -> None:
    client.force_login(member)
    address = f"{pages}{alert.uid}/edit/"
    assert 'value="10000"' in client.get(address).content.decode()

    client.post(address, FORM | {"metric": "cost", "threshold": "12.50", "period": "weekly"})

    alert.refresh_from_db()
    assert (alert.metric, alert.threshold, alert.period) == ("cost", Decimal("12.5"), "weekly")


def test_an_alert_is_turned_off_and_on(client: Client, pages: str, alert: UsageAlert, member: User) -> None:
    client.force_login(member)

    off = client.post(f"{pages}{alert.uid}/disable/", follow=True).content.decode()
    assert "The alert is off." in off
    assert "Turn on" in off

    client.post(f"{pages}{alert.uid}/enable/")
    alert.refresh_from_db()
    assert alert.is_enabled


def test_a_test_names_who_hears_of_it(
    client: Client, pages: str, alert: UsageAlert, owner: User, member: User
) -> None:
    client.force_login(member)

    answer = client.post(f"{pages}{alert.uid}/test/", follow=True).content.decode()

    assert "A test notice is on its way to Olivia and Mia. It counts as nothing." in answer
    assert Notification.objects.filter(title__startswith="Test of a usage alert").count() == 2
    assert "It has not fired yet" in answer


def test_deleting_asks_once(client: Client, pages: str, alert: UsageAlert, member: User) -> None:
    client.force_login(member)
    address = f"{pages}{alert.uid}/delete/"

    assert "Nobody will be told any more" in client.get(address).content.decode()
    assert UsageAlert.objects.exists()
    client.post(address)

    assert not UsageAlert.objects.exists()
    assert client.post(address).status_code == 404


def test_the_history_says_who_was_told_and_how(
    browse: Callable[..., str],
    pages: str,
    alert: UsageAlert,
    owner: User,
    organization_key: tuple[ApiKey, str],
) -> None:
    daily_usage(organization_key[0], date(2026, 6, 2), pages=10_001)
    alerts.update(alert=alert, changes={"name": "pilot"}, actor=None)
    alert_notices.tell()
    assert "mail on its way" in browse(owner, f"{pages}{alert.uid}/")
    Notification.objects.filter(kind="usage").update(emailed_at=NOW)

    page = browse(owner, f"{pages}{alert.uid}/")

    assert "10,001 pages in June 2026" in page
    assert "set to 10,000 pages a month" in page
    assert "Olivia <span" in page
    assert "mailed <time" in page
    assert "Fired" in browse(owner, pages)


def test_a_firing_names_nobody_who_has_deleted_their_account(
    browse: Callable[..., str],
    pages: str,
    alert: UsageAlert,
    owner: User,
    organization_key: tuple[ApiKey, str],
) -> None:
    TriggeredAlert.objects.create(
        alert=alert,
        organization=alert.organization,
        metric="pages",
        period="monthly",
        period_start=date(2026, 5, 1),
        value=10_000,
        threshold=10_000,
        told_at=NOW,
        notified={"people": ["usr_gone"], "message": None},
    )

    assert "Nobody who is still here" in browse(owner, f"{pages}{alert.uid}/")


def test_alerts_of_others_are_not_there(
    client: Client, alert: UsageAlert, outsider: User, other_organization: Organization
) -> None:
    client.force_login(outsider)
    there = f"/o/{other_organization.uid}/usage/alerts/{alert.uid}/"

    answers = [client.get(there + path) for path in ("", "edit/", "delete/")]
    answers += [client.post(there + path) for path in ("edit/", "delete/", "test/", "enable/", "disable/")]

    assert {answer.status_code for answer in answers} == {404}


def test_alerts_are_made_in_the_organizations_zone(
    browse: Callable[..., str], pages: str, organization: Organization, owner: User
) -> None:
    organizations.update(
        organization=organization,
        changes={"time_zone": "America/New_York"},
        actor=None,
        now=datetime(2026, 6, 1, tzinfo=UTC),
    )

    assert "Days are cut in America/New York. Weeks start on Monday." in browse(owner, f"{pages}create/")


def test_a_long_list_takes_as_many_questions(
    client: Client,
    pages: str,
    organization: Organization,
    owner: User,
    organization_key: tuple[ApiKey, str],
    django_assert_max_num_queries: Any,
) -> None:
    client.force_login(owner)
    client.get(pages)
    alerts.create(
        organization=organization,
        metric="pages",
        period="daily",
        thresholds=[Decimal(number) for number in range(1, 60)],
        api_key=organization_key[0],
        actor=None,
    )

    with django_assert_max_num_queries(14):
        assert client.get(pages).content.count(b"<progress") == 59
