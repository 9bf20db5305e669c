"""The audit trail and allauth's limits see the client, not the proxy before us, and believe nobody else."""

import pytest
from allauth.account.adapter import get_adapter
from django.test import Client, RequestFactory
from pytest_django import Settings

from accounts.access import client_ip
from accounts.models import ApiKey, AuditEntry, Organization, User

PROXY = "10.0.0.1"


@pytest.fixture
def behind_proxy(settings: Settings) -> None:
    settings.BEHIND_PROXY = True
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1


def test_without_a_proxy_the_header_is_a_claim() -> None:
    request = RequestFactory(headers={"x-forwarded-for": "1.2.3.4"}).get("/", REMOTE_ADDR="9.9.9.9")

    assert client_ip(request) == "9.9.9.9"
    assert get_adapter(request).get_client_ip(request) == "9.9.9.9"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6,  2001:DB8::1", "2001:db8::1"),
    ],
)
def test_behind_one_it_is_the_address_that_the_proxy_added(
    forwarded: str, expected: str, behind_proxy: None
) -> None:
    request = RequestFactory(headers={"x-forwarded-for": forwarded}).get("/", REMOTE_ADDR=PROXY)

    assert client_ip(request) == expected
    assert get_adapter(request).get_client_ip(request) == expected


def test_what_does_not_come_through_the_proxy_has_its_own_address(behind_proxy: None) -> None:
    assert client_ip(RequestFactory().get("/", REMOTE_ADDR="127.0.0.1")) == "127.0.0.1"


@pytest.mark.parametrize("forwarded", ["unknown", "1.2.3.4, _hidden", "1.2.3.4,", "1.2.3.400"])
def test_what_is_no_address_is_none(forwarded: str, behind_proxy: None) -> None:
    request = RequestFactory(headers={"x-forwarded-for": forwarded}).get("/", REMOTE_ADDR=PROXY)

    assert client_ip(request) is None


@pytest.mark.parametrize("address", ["", "unix:"])
def test_a_socket_without_address_has_none(address: str) -> None:
    assert client_ip(RequestFactory().get("/", REMOTE_ADDR=address)) is None


def test_a_zone_is_left_out() -> None:
    assert client_ip(RequestFactory().get("/", REMOTE_ADDR="fe80::1%eth0")) == "fe80::1"


def test_the_audit_trail_names_the_client(
    behind_proxy: None, organization: Organization, organization_key: tuple[ApiKey, str], owner: User
) -> None:
    browser = Client(headers={"x-forwarded-for": "6.6.6.6, 1.2.3.4"})
    browser.force_login(owner)

    browser.post(f"/o/{organization.uid}/api-keys/{organization_key[0].uid}/revoke/")

    assert AuditEntry.objects.get(action="api_key.revoked").ip == "1.2.3.4"
