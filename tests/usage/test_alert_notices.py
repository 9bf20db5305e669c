"""Who is told of an alert that fired, in which words, once, and whatever became of whoever was to tell."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import time_machine

from accounts import keys, notification_preferences
from accounts.audit import Actor
from accounts.models import ApiKey, NoticeKind, Notification, Organization, User
from tests.usage.rows import daily_usage
from usage import alert_history, alert_notices, alerts, firings
from usage.models import TriggeredAlert, UsageAlert
from webhooks import endpoints
from webhooks.models import OutboxMessage

NOW = datetime(2026, 6, 18, 12, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture(autouse=True)
def june() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def alert(organization: Organization, owner: User) -> UsageAlert:
    """10 pages a month."""
    [made] = alerts.create(
        organization=organization,
        metric="pages",
        period="monthly",
        thresholds=[Decimal(10)],
        name="pilot",
        actor=Actor(owner),
    )
    return made


@pytest.fixture
def fired(alert: UsageAlert, key: ApiKey) -> TriggeredAlert:
    other, _ = keys.create_organization_key(organization=alert.organization, name="batch", actor=None)
    daily_usage(key, date(2026, 6, 3), pages=8)
    daily_usage(other, TODAY, pages=4, product="extract")
    firings.evaluate_all(now=NOW)
    return TriggeredAlert.objects.get()


@pytest.fixture
def endpoint(organization: Organization, owner: User) -> None:
    endpoints.create(organization=organization, url="https://example.com/hook", actor=Actor(owner))


def notices() -> list[Notification]:
    return list(Notification.objects.filter(kind=NoticeKind.USAGE).order_by("pk"))


def test_everybody_in_the_organization_is_told_once(
    fired: TriggeredAlert, owner: User, member: User, viewer: User, outsider: User
) -> None:
    assert [alert_notices.tell() for _ in range(2)] == [1, 0]

    assert {notice.user for notice in notices()} == {owner, member, viewer}
    fired.refresh_from_db()
    assert fired.told_at == NOW
    assert set(fired.notified["people"]) == {owner.uid, member.uid, viewer.uid}


def test_the_notice_says_how_much_of_what_when_and_by_whom(fired: TriggeredAlert, owner: User) -> None:
    alert_notices.tell()

    [notice] = notices()
    assert notice.title == "Usage alert: 12 pages in June 2026, set to 10 pages"
    assert (
        "Northwind has used 12 pages in June 2026. The alert “pilot” is set to 10 pages a month."
        in notice.body
    )
    assert "By API key: production 8 pages, batch 4 pages." in notice.body
    assert "By product: Parse 8 pages, Extract 4 pages." in notice.body
    assert notice.url == f"/o/{fired.organization.uid}/usage/?from=2026-06-01&to=2026-06-30"


def test_the_notice_of_one_key_leads_to_its_usage(organization: Organization, key: ApiKey) -> None:
    daily_usage(key, TODAY, cost=Decimal("7.5"))
    alerts.create(
        organization=organization,
        metric="cost",
        period="daily",
        thresholds=[Decimal(5)],
        api_key=key,
        actor=None,
    )

    alert_notices.tell()

    [notice] = notices()
    assert "$7.50 with the API key production on 18 June 2026" in notice.title
    assert notice.url.endswith(f"?from=2026-06-18&to=2026-06-18&api_key={key.uid}")


def test_the_webhook_says_the_same_to_programs(
    endpoint: None, fired: TriggeredAlert, alert: UsageAlert, key: ApiKey
) -> None:
    OutboxMessage.objects.all().delete()

    alert_notices.tell()

    message = OutboxMessage.objects.get()
    data = msgspec.json.decode(message.payload)["data"]
    assert message.event_type == "usage_alert.triggered"
    assert data["alert_id"] == alert.uid
    assert data["firing_id"] == fired.uid
    assert (data["value"], data["threshold"], data["metric"]) == (12, 10, "pages")
    assert (data["period_start"], data["period_end"]) == ("2026-06-01", "2026-06-30")
    assert data["top_keys"][0] == {"api_key_id": key.uid, "name": "production", "value": 8}
    assert data["top_products"][0] == {"product": "parse", "value": 8}
    assert data["is_test"] is False
    fired.refresh_from_db()
    assert fired.notified["message"] == message.uid


def test_who_wants_no_mail_still_has_it_in_the_bell(
    fired: TriggeredAlert, organization: Organization, owner: User
) -> None:
    notification_preferences.change(
        user=owner, wanted={notification_preferences.Place(organization, NoticeKind.USAGE): False}, actor=None
    )

    alert_notices.tell()

    assert [notice.by_mail for notice in notices()] == [False]


def test_a_teller_that_dies_midway_is_followed_by_one_that_tells_all(
    endpoint: None, fired: TriggeredAlert, monkeypatch: pytest.MonkeyPatch
) -> None:
    OutboxMessage.objects.all().delete()

    class KilledError(BaseException):
        pass

    def die(**_: Any) -> bool:
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr("usage.alert_notices.outbox.send", die)
        alert_notices.tell()
    assert notices() == []

    assert alert_notices.tell() == 1
    assert len(notices()) == 1
    assert OutboxMessage.objects.count() == 1


def test_one_that_cannot_be_told_does_not_keep_the_others(
    organization: Organization, fired: TriggeredAlert, key: ApiKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts.create(
        organization=organization, metric="pages", period="daily", thresholds=[Decimal(2)], actor=None
    )
    tell = alert_notices._tell

    def stumble(firing: TriggeredAlert) -> None:
        if firing == fired:
            raise ValueError("no words")
        tell(firing)

    monkeypatch.setattr(alert_notices, "_tell", stumble)

    assert alert_notices.tell() == 1
    assert TriggeredAlert.objects.filter(told_at=None).get() == fired


def test_what_was_used_by_a_key_that_is_gone_is_named_so(
    organization: Organization, alert: UsageAlert, key: ApiKey
) -> None:
    daily_usage(key, TODAY, pages=10)
    firings.evaluate_all(now=NOW)
    key.delete()

    alert_notices.tell()

    assert "By API key: a deleted key 10 pages." in notices()[0].body


# ── Tests of alerts ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_test_is_marked_and_counts_nothing(endpoint: None, alert: UsageAlert, owner: User) -> None:
    OutboxMessage.objects.all().delete()

    sent = alert_notices.test(alert, now=NOW)

    assert sent.people == [owner]
    [notice] = notices()
    assert notice.title.startswith("Test of a usage alert: 0 pages in June 2026")
    assert "This is a test" in notice.body
    message = OutboxMessage.objects.get()
    assert sent.message == message.uid
    assert msgspec.json.decode(message.payload)["data"]["is_test"] is True
    assert not TriggeredAlert.objects.exists()


def test_a_test_asked_twice_is_sent_once(endpoint: None, alert: UsageAlert) -> None:
    OutboxMessage.objects.all().delete()

    first, second = (alert_notices.test(alert, now=NOW) for _ in range(2))

    assert first == second
    assert len(notices()) == OutboxMessage.objects.count() == 1


# ── What became of it ────────────────────────────────────────────────────────────────────────────────────────


def test_the_history_says_who_was_told_and_whether_it_arrived(
    endpoint: None, fired: TriggeredAlert, owner: User, member: User
) -> None:
    alert_notices.tell()
    Notification.objects.filter(user=owner).update(emailed_at=NOW)
    Notification.objects.filter(user=member).update(by_mail=False)
    OutboxMessage.objects.filter(event_type="usage_alert.triggered").update(handed_over_at=NOW)
    fired.refresh_from_db()

    [arrival] = alert_history.arrivals(fired.organization, [fired])

    assert [(told.person, told.mail) for told in arrival.told] == [(owner, "mailed"), (member, "not mailed")]
    assert (arrival.message, arrival.fate) == (fired.notified["message"], "handed over")


def test_the_history_is_read_in_as_many_questions_however_long_it_is(
    fired: TriggeredAlert, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    alert_notices.tell()
    fired.refresh_from_db()
    many = []
    for month in range(1, 6):
        fired.pk, fired.uid, fired.period_start = None, f"trg_{month}", date(2026, month, 1)
        fired.save()
        many.append(TriggeredAlert.objects.get(pk=fired.pk))

    with django_assert_max_num_queries(5):
        assert len(alert_history.arrivals(fired.organization, many)) == 5
