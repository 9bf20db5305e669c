"""The spend cap: reached, raised, removed, over with the month, told once; by pages, REST and the back office."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.test import Client

from accounts import keys
from accounts.audit import Action, Actor
from accounts.models import ApiKey, AuditEntry, Notification, Organization, User
from accounts.permissions import Scope
from tests.usage.rows import daily_usage
from usage import alert_periods, alerts, firings, spending
from usage.alert_periods import Kind
from usage.models import Entitlement, SpendCap, UsageDay
from usage.verify import verify
from webhooks import endpoints
from webhooks.models import OutboxMessage

NOW = datetime(2026, 6, 18, 12, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
Key = tuple[ApiKey, str]


@pytest.fixture(autouse=True)
def june() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def spent(organization_key: Key) -> None:
    """Ten dollars of June, and some of the months beside it."""
    for day, cost in (("2026-05-31", 99), ("2026-06-01", 4), ("2026-06-30", 6), ("2026-07-01", 99)):
        daily_usage(organization_key[0], date.fromisoformat(day), cost=Decimal(cost))


def cap(organization: Organization, amount: str, actor: Actor | None = None) -> SpendCap:
    return spending.set_cap(organization=organization, amount=Decimal(amount), actor=actor)


def code(key: Key, now: datetime = NOW) -> str:
    answer: str = verify(key[1], cost=Decimal(0), ip=None, now=now)["code"]
    return answer


def version() -> int:
    return Organization.objects.get().access_version


def test_below_the_cap_calls_go_on(organization: Organization, organization_key: Key, spent: None) -> None:
    cap(organization, "10.01")

    assert code(organization_key) == "VALID"
    assert Entitlement.objects.get().spend_cap_reached_until is None


def test_at_the_cap_they_stop_until_the_month_ends(organization: Organization, organization_key: Key) -> None:
    cap(organization, "10")
    daily_usage(organization_key[0], date(2026, 6, 3), cost=Decimal(10))
    before = version()

    firings.evaluate(now=NOW)

    assert Entitlement.objects.get().spend_cap_reached_until == JULY
    assert SpendCap.objects.get().reached_for == date(2026, 6, 1)
    assert code(organization_key) == "SPEND_CAP_REACHED"
    assert code(organization_key, JULY) == "VALID"
    assert version() == before + 1


def test_only_what_changed_is_looked_at(organization: Organization, organization_key: Key) -> None:
    cap(organization, "10")
    firings.evaluate(now=NOW)
    daily_usage(organization_key[0], date(2026, 6, 3), cost=Decimal(10))
    UsageDay.objects.update(changed_at=datetime(2020, 1, 1, tzinfo=UTC))
    firings.evaluate(now=NOW)
    assert code(organization_key) == "VALID"

    firings.evaluate_all(now=NOW)

    assert code(organization_key) == "SPEND_CAP_REACHED"


def test_a_cap_set_below_what_is_spent_counts_at_once(
    organization: Organization, organization_key: Key, spent: None
) -> None:
    cap(organization, "10")

    assert code(organization_key) == "SPEND_CAP_REACHED"


def test_a_raised_cap_counts_at_once(organization: Organization, organization_key: Key, spent: None) -> None:
    cap(organization, "10")
    before = version()

    cap(organization, "11")

    assert code(organization_key) == "VALID"
    assert SpendCap.objects.get().reached_for is None
    assert version() == before + 1


def test_a_removed_cap_counts_at_once(organization: Organization, organization_key: Key, spent: None) -> None:
    cap(organization, "10")

    assert spending.remove_cap(organization=organization, actor=None)

    assert code(organization_key) == "VALID"
    assert not spending.remove_cap(organization=organization, actor=None)


def test_costs_given_back_let_calls_go_on(
    organization: Organization, organization_key: Key, spent: None
) -> None:
    cap(organization, "10")
    daily_usage(organization_key[0], date(2026, 6, 3), feature="complex", cost=Decimal(-1))

    firings.evaluate(now=NOW)

    assert code(organization_key) == "VALID"


def test_the_month_is_the_organizations(
    organization: Organization, organization_key: Key, spent: None
) -> None:
    Organization.objects.update(time_zone="Pacific/Auckland")
    organization.refresh_from_db()

    cap(organization, "10")

    assert Entitlement.objects.get().spend_cap_reached_until == datetime(2026, 6, 30, 12, tzinfo=UTC)


def test_looking_again_changes_nothing(organization: Organization, spent: None) -> None:
    cap(organization, "10")
    before = version()

    firings.evaluate_all(now=NOW)

    assert version() == before


def test_everybody_is_told_once_for_a_cap_and_month(
    organization: Organization, organization_key: Key, owner: User, viewer: User
) -> None:
    endpoints.create(organization=organization, url="https://example.com/hook", actor=Actor(owner))
    cap(organization, "10")
    OutboxMessage.objects.all().delete()
    daily_usage(organization_key[0], date(2026, 6, 3), cost=Decimal("10.5"))

    for _ in range(2):
        firings.evaluate_all(now=NOW)

    told = Notification.objects.filter(kind="usage")
    assert {notice.user for notice in told} == {owner, viewer}
    assert told[0].title == "Northwind has reached its spend cap of $10.00"
    assert "refused until 1 July" in told[0].body
    assert [message.event_type for message in OutboxMessage.objects.all()] == ["spend_cap.reached"]
    assert '"spend":10.5' in OutboxMessage.objects.get().payload


def test_each_change_is_in_the_audit_trail(organization: Organization, owner: User) -> None:
    cap(organization, "10", Actor(owner))
    cap(organization, "10", Actor(owner))
    cap(organization, "12.50", Actor(owner))
    spending.remove_cap(organization=organization, actor=Actor(owner))

    entries = AuditEntry.objects.filter(action__startswith="spend_cap.").order_by("pk")
    assert [(entry.action, entry.before, entry.after) for entry in entries] == [
        (Action.SPEND_CAP_SET, {}, {"amount": 10.0}),
        (Action.SPEND_CAP_SET, {"amount": 10.0}, {"amount": 12.5}),
        (Action.SPEND_CAP_REMOVED, {"amount": 12.5}, {}),
    ]


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "1000000000000", "NaN", "Infinity"])
def test_what_is_no_amount_of_money_is_refused(organization: Organization, amount: str) -> None:
    with pytest.raises(ValidationError) as refused:
        cap(organization, amount)

    assert "amount" in refused.value.message_dict
    assert not SpendCap.objects.exists()


def test_cost_alerts_and_caps_count_the_same(organization: Organization, spent: None) -> None:
    [alert] = alerts.create(
        organization=organization, metric="cost", period="monthly", thresholds=[Decimal(1000)], actor=None
    )

    counted = firings.standings(organization, now=NOW)[alert.pk].value

    month = alert_periods.current(organization, Kind.MONTHLY, now=NOW)
    assert counted == spending.spend(organization, month) == 10


# ── REST ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def api(organization: Organization, owner: User) -> Client:
    _, secret = keys.create_organization_key(
        organization=organization, name="operations", scopes=[Scope.ALERTS], actor=Actor(owner)
    )
    return Client(headers={"Authorization": f"Bearer {secret}"})


def test_a_program_reads_sets_and_removes_the_cap(api: Client, spent: None) -> None:
    nothing = api.get("/api/v1/spend-cap").json()
    assert nothing == {
        "amount": None,
        "spend": 10.0,
        "period_start": "2026-06-01",
        "period_end": "2026-06-30",
        "reached": False,
        "reached_until": None,
    }

    answer = api.put("/api/v1/spend-cap", {"amount": 10}, content_type="application/json")

    assert answer.status_code == 200
    assert answer.json() == nothing | {
        "amount": 10.0,
        "reached": True,
        "reached_until": "2026-07-01T00:00:00.000000Z",
    }
    assert api.delete("/api/v1/spend-cap").status_code == 204
    assert api.get("/api/v1/spend-cap").json() == nothing


@pytest.mark.parametrize(
    "body", [{}, {"amount": None}, {"amount": 0}, {"amount": [5]}, {"amount": "much"}, {"amount": 1e300}]
)
def test_a_bad_amount_is_named(api: Client, body: Any) -> None:
    answer = api.put("/api/v1/spend-cap", body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "amount"


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def page(client: Client, organization: Organization) -> Callable[[User, str], Any]:
    def get(user: User, path: str = "") -> Any:
        client.force_login(user)
        return client.get(f"/o/{organization.uid}/usage/spend-cap/{path}")

    return get


def test_the_owner_sets_and_removes_it_on_its_page(
    client: Client, organization: Organization, page: Callable[..., Any], owner: User, spent: None
) -> None:
    assert "no cap" in page(owner).content.decode()
    address = f"/o/{organization.uid}/usage/spend-cap/"

    answer = client.post(address, {"amount": "10"}, follow=True).content.decode()
    assert "This much is spent already" in answer
    assert "The cap is reached." in answer
    assert "Without the cap of $10.00" in page(owner, "remove/").content.decode()
    client.post(f"{address}remove/")

    assert not SpendCap.objects.exists()


def test_a_member_sees_it_without_a_form(page: Callable[..., Any], member: User) -> None:
    answer = page(member)

    assert answer.status_code == 200
    assert 'name="amount"' not in answer.content.decode()


def test_staff_set_raise_and_remove_it_in_the_back_office(
    back_office: Client, organization: Organization, organization_key: Key, spent: None, staff: User
) -> None:
    cap = {"organization": organization.pk, "amount": "10", "reason": "They asked for it"}
    its_page = f"/admin/accounts/organization/{organization.pk}/change/"
    assert back_office.post("/admin/usage/spendcap/add/", cap)["Location"] == its_page
    assert code(organization_key) == "SPEND_CAP_REACHED"

    more = {"amount": "20", "reason": "They asked for more"}
    answer = back_office.post(f"/admin/usage/spendcap/{organization.pk}/change/", more)
    assert answer["Location"] == its_page
    assert code(organization_key) == "VALID"

    answer = back_office.post(
        f"/admin/usage/spendcap/{organization.pk}/remove/",
        {"reason": "Not needed", "_form_submitted": "True"},
    )
    assert answer["Location"] == its_page
    assert not SpendCap.objects.exists()
    entries = AuditEntry.objects.filter(action__startswith="spend_cap.", actor=staff).order_by("pk")
    assert [entry.after["reason"] for entry in entries] == [
        "They asked for it",
        "They asked for more",
        "Not needed",
    ]


def test_staff_set_no_cap_without_a_reason(back_office: Client, organization: Organization) -> None:
    cap = {"organization": organization.pk, "amount": "10", "reason": ""}
    back_office.post("/admin/usage/spendcap/add/", cap)

    assert not SpendCap.objects.exists()
