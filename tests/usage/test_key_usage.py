"""What a key's own page says that it was used for."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, Organization, User
from tests.usage.conftest import item

pytestmark = pytest.mark.django_db

Json = dict[str, Any]


def address(organization: Organization, key: ApiKey) -> str:
    return reverse("usage:key_usage", args=[organization.uid, key.uid])


def test_it_counts_this_key_alone(
    client: Client,
    viewer: User,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    personal_key: tuple[ApiKey, str],
    post_jobs: Callable[..., Json],
    job: Callable[..., Json],
    rates: None,
) -> None:
    post_jobs(job("one", usage=[item("a", pages=7)]), job("two", usage=[item("b", pages=4)]))
    post_jobs(job("three", api_key_id=personal_key[0].uid, usage=[item("c", pages=100)]))
    client.force_login(viewer)

    page = " ".join(client.get(address(organization, organization_key[0])).content.decode().split())

    assert "2 requests, 11 pages, 11 credits" in page
    assert "11 credits, without a budget" in page
    assert "<svg" in page


def test_it_shows_the_month_beside_the_budget(
    client: Client, viewer: User, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    ApiKey.objects.filter(pk=organization_key[0].pk).update(monthly_credit_budget=Decimal(500))
    client.force_login(viewer)

    page = " ".join(client.get(address(organization, organization_key[0])).content.decode().split())

    assert "0 of 500 credits that it may use" in page
    assert "Not used in these days." in page


def test_another_organizations_key_is_not_found(
    client: Client, outsider: User, other_organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    client.force_login(outsider)

    assert client.get(address(other_organization, organization_key[0])).status_code == 404


def test_the_keys_page_asks_for_it(
    client: Client, viewer: User, organization: Organization, organization_key: tuple[ApiKey, str]
) -> None:
    client.force_login(viewer)

    page = client.get(reverse("accounts:api_key", args=[organization.uid, organization_key[0].uid]))

    assert f'hx-get="{address(organization, organization_key[0])}"' in page.content.decode()
