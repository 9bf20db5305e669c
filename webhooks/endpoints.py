"""Making, changing and deleting endpoints, whatever the engine. Every change is recorded in the audit trail.

Errors are the SDK's: HTTPValidationError for a field that is wrong, HttpError with 404 for an unknown endpoint.
"""

from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from svix.api import EndpointListOptions
from svix.exceptions import HTTPValidationError
from svix.models import ApplicationIn, EndpointIn, EndpointOut, EndpointPatch

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from webhooks.embedded import calls, egress
from webhooks.gateway import get_svix
from webhooks.models import Application, Endpoint

_AUDITED = ("url", "description", "event_types", "channels", "disabled")


@dataclass(frozen=True)
class NewEndpoint:
    endpoint: EndpointOut
    secret: str


def create(
    *,
    organization: Organization,
    url: str,
    description: str = "",
    event_types: list[str] | None = None,
    channels: list[str] | None = None,
    actor: Actor | None,
) -> NewEndpoint:
    """Add an endpoint, and from now on write messages for its organization. None means all types, all channels."""
    _check_url(url)
    _subscribe(organization)
    svix = get_svix()
    svix.application.get_or_create(ApplicationIn(uid=organization.uid, name=organization.name))
    endpoint = svix.endpoint.create(
        organization.uid,
        EndpointIn(url=url, description=description, event_types=event_types, channels=channels),
    )
    secret = svix.endpoint.get_secret(organization.uid, endpoint.id).key
    audit.record(
        audit.Action.ENDPOINT_CREATED,
        actor=actor,
        organization=organization,
        target=_target(endpoint),
        after=_values(endpoint),
    )
    return NewEndpoint(endpoint, secret)


def update(
    *,
    organization: Organization,
    endpoint_id: str,
    changes: EndpointPatch,
    actor: Actor | None,
) -> EndpointOut:
    """Change what `changes` sets; null event types or channels mean all. Unchanged values leave no audit row."""
    if changes.url is not None:
        _check_url(changes.url)
    svix = get_svix()
    before = svix.endpoint.get(organization.uid, endpoint_id)
    after = svix.endpoint.patch(organization.uid, endpoint_id, changes)
    changed = [name for name, value in _values(after).items() if value != _values(before)[name]]
    if changed:
        audit.record(
            audit.Action.ENDPOINT_UPDATED,
            actor=actor,
            organization=organization,
            target=_target(after),
            before={name: _values(before)[name] for name in changed},
            after={name: _values(after)[name] for name in changed},
        )
    return after


def delete(*, organization: Organization, endpoint_id: str, actor: Actor | None) -> None:
    """Delete an endpoint. What was still to be sent to it is not sent any more."""
    svix = get_svix()
    endpoint = svix.endpoint.get(organization.uid, endpoint_id)
    svix.endpoint.delete(organization.uid, endpoint_id)
    audit.record(
        audit.Action.ENDPOINT_DELETED,
        actor=actor,
        organization=organization,
        target=_target(endpoint),
        before=_values(endpoint),
    )


def signing_secrets(*, organization: Organization) -> list[str]:
    """Return the secrets that verify what the organization is sent: its endpoints' and that of its jobs' URLs."""
    svix = get_svix()
    found = [application.secret for application in Application.objects.filter(organization=organization)]
    if found:
        endpoints = svix.endpoint.list(organization.uid, EndpointListOptions(limit=250)).data
        found += [svix.endpoint.get_secret(organization.uid, endpoint.id).key for endpoint in endpoints]
    return found


def _check_url(url: str) -> None:
    # A Svix server takes some that the embedded engine refuses, such as one with a password, which we would record.
    if problem := egress.url_problem(url):
        refusal = calls.invalid("url", problem)
        raise HTTPValidationError.init_exception(refusal.body, refusal.status)


def _subscribe(organization: Organization) -> None:
    # Before the endpoint exists, so that nothing that happens from then on is missed.
    application, _ = Application.objects.get_or_create(
        organization=organization, defaults={"name": organization.name}
    )
    Application.objects.filter(pk=application.pk, subscribed_at=None).update(subscribed_at=timezone.now())


def _target(endpoint: EndpointOut) -> Endpoint:
    """Name the endpoint to the audit trail; with a Svix server there is no row of ours."""
    return Endpoint(uid=endpoint.id, url=endpoint.url)


def _values(endpoint: EndpointOut) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in _AUDITED}
