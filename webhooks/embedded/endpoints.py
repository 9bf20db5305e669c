"""Endpoints of the embedded engine. Requests are read and answers written by the SDK's own models."""

from typing import Any

from django.db import models, transaction
from django.utils import timezone
from svix.models import EndpointIn, EndpointOut, EndpointPatch, EndpointSecretOut, ListResponseEndpointOut

from webhooks.embedded import applications, egress
from webhooks.embedded.calls import Answer, Call, check_channels, invalid, not_found, page
from webhooks.events import EVENT_TYPES
from webhooks.models import Endpoint

MOST_CHANNELS = 10
# What this engine stores of an endpoint; anything else is refused rather than dropped.
_FIELDS = {"url", "description", "event_types", "channels", "disabled"}


def create(call: Call) -> Answer:
    application = applications.find(call)
    fields = _fields(EndpointIn.model_validate_json(call.body))
    endpoint = Endpoint.objects.create(organization=application.organization, **fields)
    return Answer(201, _out(endpoint))


def list_(call: Call) -> Answer:
    """Newest first."""
    rows, done = page(_all(call), call)
    iterator = rows[-1].uid if rows else None
    data = [_out(row) for row in rows]
    return Answer(200, ListResponseEndpointOut(data=data, iterator=iterator, done=done))


def get(call: Call) -> Answer:
    return Answer(200, _out(_find(call)))


@transaction.atomic
def patch(call: Call) -> Answer:
    """A field that is absent stays; null clears event types and channels."""
    fields = _fields(EndpointPatch.model_validate_json(call.body))
    endpoint = _find(call, lock=True)
    for name, value in fields.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=[*fields, "updated_at"])
    return Answer(200, _out(endpoint))


def delete(call: Call) -> Answer:
    endpoint = _find(call)
    Endpoint.objects.existing().filter(pk=endpoint.pk).update(deleted_at=timezone.now())
    return Answer(204)


def get_secret(call: Call) -> Answer:
    return Answer(200, EndpointSecretOut(key=_find(call).secret))


def _all(call: Call) -> models.QuerySet[Endpoint]:
    return Endpoint.objects.existing().filter(organization_id=applications.find(call).organization_id)


def _find(call: Call, *, lock: bool = False) -> Endpoint:
    endpoints = _all(call).select_for_update() if lock else _all(call)
    endpoint = endpoints.filter(uid=call.names["endpoint"]).first()
    if endpoint is None:
        raise not_found()
    return endpoint


def _fields(given: EndpointIn | EndpointPatch) -> dict[str, Any]:
    fields = given.model_dump(exclude_unset=True)
    for name in fields.keys() - _FIELDS:
        raise invalid(name, "The embedded engine does not take this field")
    # Only the form: whether its address may be reached is decided at each sending, when it is known.
    if "url" in fields and (problem := egress.url_problem(fields["url"] or "")):
        raise invalid("url", problem)
    if fields.get("event_types") is not None:
        _check_event_types(fields["event_types"])
    if fields.get("channels") is not None:
        check_channels(fields["channels"], most=MOST_CHANNELS)
    # What may not be null means its default.
    for name, default in (("description", ""), ("disabled", False)):
        if name in fields and fields[name] is None:
            fields[name] = default
    if "\0" in fields.get("description", ""):
        raise invalid("description", "NUL is not a character")
    return fields


def _check_event_types(names: list[str]) -> None:
    if not names:
        raise invalid("eventTypes", "Leave it out to receive every type")
    for name in names:
        if name not in EVENT_TYPES:
            raise invalid("eventTypes", f"There is no event type {name}")


def _out(endpoint: Endpoint) -> EndpointOut:
    return EndpointOut(
        id=endpoint.uid,
        url=endpoint.url,
        description=endpoint.description,
        event_types=endpoint.event_types,
        channels=endpoint.channels,
        disabled=endpoint.disabled,
        metadata={},
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )
