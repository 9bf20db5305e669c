"""While an organization's keys are refused, the pages of those who wonder why requests fail say so, as verify does."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_usage
from usage import spending
from usage.models import Entitlement
from usage.verify import verify

PATHS = ["usage/", "jobs/", "usage/alerts/"]
SAID = {
    "SUSPENDED": "may not call the API now.",
    "SPEND_CAP_REACHED": "The spend cap is reached.",
    "OUT_OF_CREDITS": "No credits are left.",
}
SPENT: dict[str, Any] = {"credits_ceiling": Decimal(10), "credits_used": Decimal("10.5")}
CAPPED = {"spend_cap_reached_until": datetime(2100, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize("path", PATHS)
def test_a_reached_cap_is_said_to_everybody_until_it_is_raised(
    client: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    viewer: User,
    path: str,
) -> None:
    daily_usage(organization_key[0], datetime.now(UTC).date(), cost=Decimal(10))
    client.force_login(viewer)
    address, said = f"/o/{organization.uid}/{path}", "The spend cap is reached."
    assert said not in client.get(address).content.decode()

    spending.set_cap(organization=organization, amount=Decimal(10), actor=None)
    assert said in client.get(address).content.decode()

    spending.set_cap(organization=organization, amount=Decimal(11), actor=None)
    assert said not in client.get(address).content.decode()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"may_call": False, "reason": "The invoice of October is open."}, "SUSPENDED"),
        ({"may_call": False} | CAPPED | SPENT, "SUSPENDED"),
        (CAPPED | SPENT, "SPEND_CAP_REACHED"),
        (SPENT, "OUT_OF_CREDITS"),
        (SPENT | {"overage_allowed": True}, "VALID"),
        ({"credits_ceiling": Decimal(10), "credits_used": Decimal("9.5")}, "VALID"),
        ({"spend_cap_reached_until": datetime(2020, 1, 1, tzinfo=UTC)}, "VALID"),
    ],
)
def test_the_notice_tells_the_verdict_of_verify(
    client: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    member: User,
    path: str,
    fields: dict[str, Any],
    code: str,
) -> None:
    Entitlement.objects.update(**fields)
    organization.bump_access()
    client.force_login(member)

    page = client.get(f"/o/{organization.uid}/{path}").content.decode()

    answer = verify(organization_key[1], cost=Decimal(0), ip=None, now=timezone.now() + timedelta(seconds=1))
    assert answer["code"] == code
    assert [each for each, said in SAID.items() if said in page] == [code] * (code in SAID)
    assert fields.get("reason", "") in page


def test_the_usage_page_says_how_many_credits_are_left_where_something_limits_them(
    client: Client, organization: Organization, viewer: User
) -> None:
    client.force_login(viewer)
    address = f"/o/{organization.uid}/usage/"
    Entitlement.objects.update(credits_ceiling=None)
    assert "are left" not in client.get(address).content.decode()

    Entitlement.objects.update(credits_ceiling=Decimal(1300), credits_used=Decimal("65.5"))

    assert "<strong>1,234.5 credits</strong> are left" in client.get(address).content.decode()
