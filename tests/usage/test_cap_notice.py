"""While the spend cap is reached, the pages of those who wonder why requests fail say so."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client

from accounts.models import ApiKey, Organization, User
from tests.usage.rows import daily_usage
from usage import spending


@pytest.mark.parametrize("path", ["usage/", "jobs/", "usage/alerts/"])
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
