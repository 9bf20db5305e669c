"""The project's own functions for endpoints leave their trace."""

import pytest
from django.test import override_settings
from svix.exceptions import HTTPValidationError
from svix.models import EndpointPatch

from accounts.audit import Action, Actor
from accounts.models import AuditEntry, Organization, User
from webhooks import endpoints
from webhooks.embedded import egress
from webhooks.endpoints import NewEndpoint


def _last_entry() -> AuditEntry:
    return AuditEntry.objects.newest_first()[0]


def test_making_one_is_recorded(organization: Organization, owner: User) -> None:
    made = endpoints.create(organization=organization, url="https://example.com/hook", actor=Actor(owner))

    entry = _last_entry()
    assert (entry.action, entry.actor, entry.organization) == (Action.ENDPOINT_CREATED, owner, organization)
    assert (entry.target_uid, entry.target_name) == (made.endpoint.id, "https://example.com/hook")
    assert made.secret not in str([entry.before, entry.after])


def test_a_change_is_recorded_with_what_was_before(
    organization: Organization, owner: User, endpoint: NewEndpoint
) -> None:
    endpoints.update(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        changes=EndpointPatch(disabled=True, url=endpoint.endpoint.url),
        actor=Actor(owner),
    )

    entry = _last_entry()
    assert entry.action == Action.ENDPOINT_UPDATED
    assert (entry.before, entry.after) == ({"disabled": False}, {"disabled": True})


def test_a_change_of_nothing_is_not(organization: Organization, owner: User, endpoint: NewEndpoint) -> None:
    endpoints.update(
        organization=organization,
        endpoint_id=endpoint.endpoint.id,
        changes=EndpointPatch(url=endpoint.endpoint.url),
        actor=Actor(owner),
    )

    assert _last_entry().action == Action.ENDPOINT_CREATED


def test_deleting_one_is_recorded(organization: Organization, owner: User, endpoint: NewEndpoint) -> None:
    endpoints.delete(organization=organization, endpoint_id=endpoint.endpoint.id, actor=Actor(owner))

    assert _last_entry().action == Action.ENDPOINT_DELETED


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "https://me:secret@example.com", "https://me@example.com"]
)
def test_a_wrong_one_leaves_nothing(url: str, organization: Organization, owner: User) -> None:
    with pytest.raises(HTTPValidationError):
        endpoints.create(organization=organization, url=url, actor=Actor(owner))

    assert not AuditEntry.objects.filter(action=Action.ENDPOINT_CREATED).exists()


@override_settings(SVIX_SERVER_URL="http://127.0.0.1:9/", SVIX_AUTH_TOKEN="token")
def test_a_password_in_a_url_reaches_no_engine(organization: Organization, owner: User) -> None:
    url = "https://me:secret@example.com"

    for change in (
        lambda: endpoints.create(organization=organization, url=url, actor=Actor(owner)),
        lambda: endpoints.update(
            organization=organization, endpoint_id="ep_1", changes=EndpointPatch(url=url), actor=Actor(owner)
        ),
    ):
        with pytest.raises(HTTPValidationError) as error:
            change()
        assert error.value.detail[0].msg == egress.NO_CREDENTIALS
