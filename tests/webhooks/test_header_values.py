"""What goes with each message may be a password: who may only look at endpoints learns the headers' names."""

from collections.abc import Callable

import pytest
from django.test import Client

from accounts import keys
from accounts.models import Organization, User
from accounts.permissions import Scope
from tests.webhooks.conftest import Receiver, deliver
from webhooks import endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.models import Message

HIDDEN = "open sesame"
Send = Callable[..., None]


@pytest.fixture
def endpoint(organization: Organization, receiver: Receiver) -> NewEndpoint:
    return endpoints.create(
        organization=organization, url=receiver.url, headers={"X-Door": HIDDEN}, actor=None
    )


def test_pages_tell_viewers_of_headers_by_name(
    client: Client, organization: Organization, viewer: User, admin: User, endpoint: NewEndpoint, send: Send
) -> None:
    send()
    deliver()
    pages = f"/o/{organization.uid}/webhooks"
    addresses = [
        f"{pages}/endpoints/{endpoint.endpoint.id}/",
        f"{pages}/messages/{Message.objects.get().uid}/",
    ]

    client.force_login(viewer)
    seen = [client.get(address).text for address in addresses]
    client.force_login(admin)
    managed = [client.get(address).text for address in addresses]

    assert all("X-Door" in text and HIDDEN not in text for text in seen)
    assert all(HIDDEN in text for text in managed)


def test_the_api_tells_headers_by_name_to_who_may_not_manage_endpoints(
    client: Client, organization: Organization, member: User, endpoint: NewEndpoint
) -> None:
    _, secret = keys.create_personal_key(
        user=member, organization=organization, name="laptop", scopes=[Scope.WEBHOOKS]
    )

    shown = client.get(
        f"/api/v1/webhooks/endpoints/{endpoint.endpoint.id}", headers={"authorization": f"Bearer {secret}"}
    ).json()

    assert (shown["headers"], shown["sensitive_headers"]) == ({}, ["X-Door"])
