"""Reading, making, changing and deleting endpoints, whatever the engine. Every change is recorded in the audit trail.

Errors are the SDK's: HTTPValidationError for a field that is wrong, HttpError with 404 for an unknown endpoint.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone
from svix.api import EndpointListOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    ApplicationIn,
    AppPortalAccessIn,
    EndpointHeadersOut,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    EndpointSecretRotateIn,
)

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from webhooks.embedded import calls, egress
from webhooks.gateway import get_svix, is_embedded
from webhooks.models import Application, Endpoint

_AUDITED = ("url", "description", "event_types", "channels", "throttle_rate", "disabled")

DAY = timedelta(days=1)
LONGEST_GRACE = timedelta(days=7)  # of a secret that is replaced
_CAPITAL = re.compile("[A-Z]")
MOST_LISTED = 250  # what Svix lists at once


@dataclass(frozen=True)
class NewEndpoint:
    endpoint: EndpointOut
    secret: str


@dataclass(frozen=True)
class Page:
    """A part of the list of endpoints, newest first; `cursor` leads on, and is empty at the end."""

    endpoints: list[EndpointOut]
    cursor: str


@dataclass(frozen=True)
class HeaderChanges:
    """Headers to set, and names of those to remove. Others stay."""

    to_set: dict[str, str] = field(default_factory=dict)
    to_remove: list[str] = field(default_factory=list)


def page(*, organization: Organization, cursor: str = "", limit: int) -> Page:
    """List endpoints. An organization that the engine has never heard of has none."""
    options = EndpointListOptions(limit=min(limit, MOST_LISTED), iterator=cursor or None)
    try:
        answer = get_svix().endpoint.list(organization.uid, options)
    except HttpError as error:
        if error.status_code != 404:
            raise
        return Page([], "")
    return Page(answer.data, "" if answer.done else answer.iterator or "")


def get(*, organization: Organization, endpoint_id: str) -> EndpointOut:
    return get_svix().endpoint.get(organization.uid, endpoint_id)


def headers(*, organization: Organization, endpoint_id: str, with_values: bool) -> EndpointHeadersOut:
    """Return what an endpoint is sent besides; of those whose values are told to nobody, the names.

    Any of them may be a password, so who may not manage endpoints learns the names alone.
    """
    found = get_svix().endpoint.get_headers(organization.uid, endpoint_id)
    if with_values:
        return found
    return EndpointHeadersOut(headers={}, sensitive=sorted({*found.headers, *found.sensitive}))


def create(
    *,
    organization: Organization,
    url: str,
    description: str = "",
    event_types: list[str] | None = None,
    channels: list[str] | None = None,
    throttle_rate: int | None = None,
    disabled: bool = False,
    headers: dict[str, str] | None = None,
    actor: Actor | None,
    reason: str = "",
) -> NewEndpoint:
    """Add an endpoint, and from now on write messages for its organization. None means all types, all channels."""
    _check_url(url)
    subscribe(organization)
    svix = get_svix()
    svix.application.get_or_create(ApplicationIn(uid=organization.uid, name=organization.name))
    endpoint = svix.endpoint.create(
        organization.uid,
        EndpointIn(
            url=url,
            description=description,
            event_types=event_types,
            channels=channels,
            throttle_rate=throttle_rate,
            disabled=disabled,
            headers=headers or {},
        ),
    )
    secret = svix.endpoint.get_secret(organization.uid, endpoint.id).key
    audit.record(
        audit.Action.ENDPOINT_CREATED,
        actor=actor,
        organization=organization,
        target=_target(endpoint),
        after=_values(endpoint)
        | ({"headers": sorted(headers)} if headers else {})
        | audit.with_reason(reason),
    )
    return NewEndpoint(endpoint, secret)


def update(
    *,
    organization: Organization,
    endpoint_id: str,
    changes: EndpointPatch,
    headers: HeaderChanges | None = None,
    actor: Actor | None,
    reason: str = "",
) -> EndpointOut:
    """Change what `changes` sets; null event types or channels mean all. Unchanged values leave no audit row.

    Of headers the audit trail names those that were set or removed, never their values.
    """
    if changes.url is not None:
        _check_url(changes.url)
    svix = get_svix()
    before = svix.endpoint.get(organization.uid, endpoint_id)
    if headers and (headers.to_set or headers.to_remove):  # first: of the two it is refused more easily
        wanted = EndpointHeadersPatchIn(headers=headers.to_set, delete_headers=headers.to_remove)
        svix.endpoint.patch_headers(organization.uid, endpoint_id, wanted)
    after = svix.endpoint.patch(organization.uid, endpoint_id, changes)
    old, new = _values(before), _values(after)
    changed = [name for name, value in new.items() if value != old[name]]
    was, became = {name: old[name] for name in changed}, {name: new[name] for name in changed}
    if headers and headers.to_set:
        became["headers_set"] = sorted(headers.to_set)
    if headers and headers.to_remove:
        became["headers_removed"] = sorted(headers.to_remove)
    if became:
        audit.record(
            audit.Action.ENDPOINT_UPDATED,
            actor=actor,
            organization=organization,
            target=_target(after),
            before=was,
            after=became | audit.with_reason(reason),
        )
    return after


def delete(*, organization: Organization, endpoint_id: str, actor: Actor | None, reason: str = "") -> None:
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
        after=audit.with_reason(reason),
    )


def reveal_secret(*, organization: Organization, endpoint_id: str, actor: Actor | None) -> str:
    """Return the secret that an endpoint's messages are signed with, to be shown to a person or a program."""
    svix = get_svix()
    endpoint = svix.endpoint.get(organization.uid, endpoint_id)
    secret = svix.endpoint.get_secret(organization.uid, endpoint_id).key
    audit.record(
        audit.Action.ENDPOINT_SECRET_REVEALED,
        actor=actor,
        organization=organization,
        target=_target(endpoint),
    )
    return secret


def rotate_secret(
    *, organization: Organization, endpoint_id: str, grace: timedelta = DAY, actor: Actor | None
) -> None:
    """Sign with a new secret from now on, and until `grace` is over with the old one besides."""
    svix = get_svix()
    endpoint = svix.endpoint.get(organization.uid, endpoint_id)
    seconds = int(grace.total_seconds())
    svix.endpoint.rotate_secret(
        organization.uid, endpoint_id, EndpointSecretRotateIn(grace_period_seconds=seconds)
    )
    audit.record(
        audit.Action.ENDPOINT_SECRET_ROTATED,
        actor=actor,
        organization=organization,
        target=_target(endpoint),
        after={"grace_seconds": seconds},
    )


def old_secrets_end(*, organization: Organization, endpoint_id: str) -> list[datetime]:
    """When each secret that was replaced and still signs stops, the last at the end; a Svix server does not tell."""
    row = Endpoint.objects.filter(organization=organization, uid=endpoint_id).first()
    return row.old_secrets_end(timezone.now()) if row else []


def allowed_networks() -> list[str]:
    """The networks that endpoints may be in besides the public internet; a Svix server has its own."""
    return list(settings.WEBHOOK_ALLOWED_NETWORKS) if is_embedded() else []


def has_portal() -> bool:
    """Only hosted Svix has one: a server of one's own answers a page of documentation, with a token that lasts."""
    host = urlsplit(settings.SVIX_SERVER_URL).hostname or ""
    return bool(settings.SVIX_AUTH_TOKEN) and f".{host}".endswith(".svix.com")


def open_portal(*, organization: Organization, actor: Actor | None) -> str:
    """Return the URL of the organization's pages at Svix, where endpoints can be added and changed too."""
    subscribe(organization)
    svix = get_svix()
    svix.application.get_or_create(ApplicationIn(uid=organization.uid, name=organization.name))
    url = svix.authentication.app_portal_access(organization.uid, AppPortalAccessIn()).url
    audit.record(
        audit.Action.ENDPOINT_PORTAL_OPENED, actor=actor, organization=organization, target=organization
    )
    return url


def signing_secrets(*, organization: Organization) -> list[str]:
    """Return the secrets that verify what the organization is sent: its endpoints' and that of its jobs' URLs."""
    svix = get_svix()
    found = [application.secret for application in Application.objects.filter(organization=organization)]
    if found:
        endpoints = svix.endpoint.list(organization.uid, EndpointListOptions(limit=250)).data
        found += [svix.endpoint.get_secret(organization.uid, endpoint.id).key for endpoint in endpoints]
    return found


def sentence(error: HttpError | HTTPValidationError) -> str:
    """What the engine said, in a sentence that a customer may read: its own troubles are told as such."""
    if error.status_code >= 500 or error.status_code in (401, 403):
        return "The server that sends webhooks does not answer as it should. Nothing was saved: try again in a minute."
    detail = error.detail if isinstance(error, HttpError) else next(iter(refusals(error).values()), "")
    return f"{(detail or 'It was refused').rstrip('.')}."


def refusals(error: HTTPValidationError) -> dict[str, str]:
    """What is wrong, by our own names of fields; the engine writes `throttleRate` for `throttle_rate`."""
    return {
        _CAPITAL.sub(
            lambda found: f"_{found[0].lower()}", str([*item.loc, "", ""][1])
        ): f"{item.msg.rstrip('.')}."
        for item in error.detail
    }


def _check_url(url: str) -> None:
    # A Svix server takes some that the embedded engine refuses, such as one with a password, which we would record.
    if problem := egress.url_problem(url):
        refusal = calls.invalid("url", problem)
        raise HTTPValidationError.init_exception(refusal.body, refusal.status)


def subscribe(organization: Organization) -> None:
    """Write messages for the organization from now on."""
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
