"""A key's monthly credit budget: reached, raised, over with the month, told once."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Notification, Organization, User
from tests.usage.rows import daily_usage
from usage import budgets
from usage.verify import verify

NOW = datetime(2026, 6, 18, 12, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
Key = tuple[ApiKey, str]


@pytest.fixture(autouse=True)
def june() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def budgeted(organization: Organization, admin: User) -> Key:
    """A key of the admin's making that may use ten credits a month."""
    return keys.create_organization_key(
        organization=organization, name="checkout", actor=Actor(admin), monthly_credit_budget=Decimal(10)
    )


@pytest.fixture
def reached(budgeted: Key) -> Key:
    daily_usage(budgeted[0], date(2026, 6, 3), credits=Decimal(10))
    budgets.settle()
    return budgeted


def code(key: Key, now: datetime = NOW) -> str:
    answer: str = verify(key[1], cost=Decimal(0), ip=None, now=now)["code"]
    return answer


def version(key: Key) -> int:
    return Organization.objects.get(api_keys=key[0]).access_version


def test_below_its_budget_a_key_goes_on(budgeted: Key) -> None:
    daily_usage(budgeted[0], date(2026, 6, 3), credits=Decimal("9.999999"))

    assert budgets.settle() == 0
    assert code(budgeted) == "VALID"


def test_at_its_budget_it_stops_until_the_month_ends(budgeted: Key) -> None:
    daily_usage(budgeted[0], date(2026, 6, 1), credits=Decimal(4))
    daily_usage(budgeted[0], date(2026, 6, 30), credits=Decimal(6))
    before = version(budgeted)

    assert budgets.settle() == 1

    assert ApiKey.objects.get().budget_reached_until == JULY
    assert code(budgeted) == "BUDGET_EXCEEDED"
    assert code(budgeted, JULY) == "VALID"
    assert version(budgeted) == before + 1


def test_other_months_and_keys_do_not_count(budgeted: Key, organization: Organization) -> None:
    other, _ = keys.create_organization_key(organization=organization, name="other", actor=None)
    daily_usage(budgeted[0], date(2026, 5, 31), credits=Decimal(100))
    daily_usage(budgeted[0], date(2026, 7, 1), credits=Decimal(100))
    daily_usage(other, date(2026, 6, 3), credits=Decimal(100))

    assert budgets.settle() == 0


def test_the_month_is_the_organizations(budgeted: Key) -> None:
    Organization.objects.update(time_zone="Pacific/Auckland")
    daily_usage(budgeted[0], date(2026, 6, 3), credits=Decimal(10))

    budgets.settle()

    assert ApiKey.objects.get().budget_reached_until == datetime(2026, 6, 30, 12, tzinfo=UTC)


def test_settling_again_changes_nothing(reached: Key) -> None:
    before = version(reached)

    assert budgets.settle() == 0
    assert version(reached) == before


@pytest.mark.parametrize("budget", [Decimal("10.000001"), None])
def test_a_raised_budget_counts_at_once(reached: Key, admin: User, budget: Decimal | None) -> None:
    keys.update(key=reached[0], changes={"monthly_credit_budget": budget}, actor=Actor(admin))

    assert code(reached) == "VALID"
    assert reached[0].budget_reached_until is None


def test_a_lowered_budget_counts_at_once(budgeted: Key, admin: User) -> None:
    daily_usage(budgeted[0], date(2026, 6, 3), credits=Decimal(5))

    keys.update(key=budgeted[0], changes={"monthly_credit_budget": Decimal(5)}, actor=Actor(admin))

    assert code(budgeted) == "BUDGET_EXCEEDED"


def test_a_key_made_with_no_budget_at_all_may_use_nothing(organization: Organization, admin: User) -> None:
    key = keys.create_organization_key(
        organization=organization, name="idle", actor=Actor(admin), monthly_credit_budget=Decimal(0)
    )

    assert code(key) == "BUDGET_EXCEEDED"
    assert not Notification.objects.filter(kind="api_keys").exists()


def test_credits_given_back_let_it_go_on(reached: Key) -> None:
    daily_usage(reached[0], date(2026, 6, 3), feature="complex", credits=Decimal(-1))

    budgets.settle()

    assert code(reached) == "VALID"


def test_the_next_month_begins_anew(reached: Key) -> None:
    assert budgets.settle(now=JULY) == 0
    assert code(reached, JULY) == "VALID"


def test_maker_and_owner_are_told_once_a_month(reached: Key, owner: User, admin: User, member: User) -> None:
    daily_usage(reached[0], date(2026, 6, 3), feature="complex", credits=Decimal(-1))
    budgets.settle()
    daily_usage(reached[0], date(2026, 6, 4), credits=Decimal(10))

    budgets.settle()

    told = Notification.objects.filter(kind="api_keys", key__startswith="api_key.budget:")
    assert {notice.user for notice in told} == {owner, admin}
    assert told.count() == 2


def test_they_are_told_again_when_a_raised_budget_is_used_up_too(
    reached: Key, owner: User, admin: User
) -> None:
    keys.update(key=reached[0], changes={"monthly_credit_budget": Decimal(20)}, actor=Actor(admin))
    daily_usage(reached[0], date(2026, 6, 4), credits=Decimal(10))

    budgets.settle()

    told = Notification.objects.filter(kind="api_keys", user=owner)
    assert [notice.body.split(" credits")[0].split()[-1] for notice in told.order_by("pk")] == ["10", "20"]


def test_they_are_told_what_was_used_however_much_more_it_is(budgeted: Key, admin: User) -> None:
    daily_usage(budgeted[0], date(2026, 6, 3), credits=Decimal("1200.5"))

    budgets.settle()

    notice = Notification.objects.get(kind="api_keys", user=admin)
    assert "has used 1,200.5 credits this month; it may use 10 credits a month." in notice.body


def test_a_budget_changed_meanwhile_is_not_marked_by_the_old_one(budgeted: Key) -> None:
    stale = ApiKey.objects.select_related("organization").get()
    daily_usage(budgeted[0], date(2026, 6, 3), credits=Decimal(10))
    ApiKey.objects.update(monthly_credit_budget=Decimal(50))

    assert budgets._settle([stale], NOW) == 0
    assert ApiKey.objects.get().budget_reached_until is None


def test_queries_do_not_grow_with_keys_below_their_budgets(
    organization: Organization, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for number in range(5):
        keys.create_organization_key(
            organization=organization, name=str(number), actor=None, monthly_credit_budget=Decimal(10)
        )

    with django_assert_num_queries(3):
        budgets.settle()
