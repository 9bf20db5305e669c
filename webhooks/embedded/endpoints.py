"""Endpoints of the embedded engine. Requests are read and answers written by the SDK's own models."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, models, transaction
from django.db.models import Q
from django.utils import timezone
from svix.models import (
    BackgroundTaskStatus,
    BackgroundTaskType,
    EndpointHeadersIn,
    EndpointHeadersOut,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    EndpointSecretOut,
    EndpointSecretRotateIn,
    EndpointStats,
    EndpointUpsertIn,
    ListResponseEndpointOut,
    RecoverIn,
    RecoverOut,
)

from accounts.ids import new_uid
from webhooks import operational
from webhooks.embedded import applications, attempt_counts, egress, event_types
from webhooks.embedded.calls import (
    Answer,
    Call,
    bad_request,
    check_channels,
    check_name,
    check_text,
    conflict,
    invalid,
    not_found,
    page,
)
from webhooks.models import Application, Endpoint, Status

MOST_CHANNELS = 10
MOST_METADATA = 4_096  # bytes
FASTEST = 65_535  # messages a second
SHORTEST_SECRET, LONGEST_SECRET = 24, 75  # bytes

GRACE = 24 * 3600  # seconds for which a replaced secret goes on signing, if nothing else is said
LONGEST_GRACE = 7 * 24 * 3600

MOST_HEADERS = 50
LONGEST_HEADER = 4_096  # bytes
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_NOT_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What the sender sets itself, what belongs to the connection, and what networks on the way add.
_KEPT_HEADERS = re.compile(
    "age|cache-control|clear-site-data|connection|expires|host|keep-alive|pragma|te|trailers?|transfer-encoding"
    "|upgrade|user-agent|warning"
    "|(content|proxy|svix|webhook|x-svix|x-azure|x-fd|x-goog)-.*|(x-amz|x-gfe|x-google).*",
    re.IGNORECASE,
)
# Those whose values are not told to anybody.
_SENSITIVE = frozenset(("authorization", "x-api-key", "x-auth-token", "www-authenticate"))

STATISTICS = timedelta(days=28)
RECOVERY = timedelta(days=14)
CLOCKS = timedelta(minutes=5)  # by which a caller's may differ from ours
MOST_RECOVERED = 100_000


def create(call: Call) -> Answer:
    return _created(applications.find(call), _fields(EndpointIn.model_validate_json(call.body)))


def list_(call: Call) -> Answer:
    """Newest first, if nothing else is asked for."""
    order = call.word("order", "ascending", "descending")
    everything = Endpoint.objects.filter(organization_id=applications.organization_of(call))
    found = page(everything.existing(), call, among=everything, ascending=order == "ascending")
    return Answer(200, ListResponseEndpointOut(data=[out(row) for row in found.rows], **found.around))


def get(call: Call) -> Answer:
    return Answer(200, out(find(call)))


@transaction.atomic
def upsert(call: Call) -> Answer:
    """Put all fields as they are given, or in their absence to their defaults; an unknown endpoint is made."""
    given = EndpointUpsertIn.model_validate_json(call.body)
    fields = _fields(EndpointUpsertIn.model_validate(given.model_dump()))
    application = applications.find(call)
    endpoint = _found(call, application.organization_id, lock=True)
    return _changed(application, endpoint, fields) if endpoint else _created(application, fields)


@transaction.atomic
def patch(call: Call) -> Answer:
    """A field that is absent stays; null clears uid, throttle rate, event types and channels."""
    fields = _fields(EndpointPatch.model_validate_json(call.body))
    application = applications.find(call)
    endpoint = _found(call, application.organization_id, lock=True)
    if endpoint is None:
        raise not_found()
    return _changed(application, endpoint, fields)


@transaction.atomic
def delete(call: Call) -> Answer:
    application = applications.find(call)
    endpoint = _found(call, application.organization_id, lock=True)
    if endpoint is None:
        raise not_found()
    Endpoint.objects.filter(pk=endpoint.pk).update(deleted_at=timezone.now())
    _tell("endpoint.deleted", application, endpoint)
    return Answer(204)


def get_secret(call: Call) -> Answer:
    return Answer(200, EndpointSecretOut(key=find(call).secret))


@transaction.atomic
def rotate_secret(call: Call) -> Answer:
    """Sign with a new secret, and for a while with the old ones too. Without a grace period only with the new."""
    wanted = EndpointSecretRotateIn.model_validate_json(call.body)
    grace = GRACE if wanted.grace_period_seconds is None else wanted.grace_period_seconds
    if not 0 <= grace <= LONGEST_GRACE:
        raise invalid("gracePeriodSeconds", f"0 to {LONGEST_GRACE}")
    secret = None if wanted.key is None else _secret("key", wanted.key)
    application = applications.find(call)
    endpoint = _found(call, application.organization_id, lock=True)
    if endpoint is None:
        raise not_found()
    if not endpoint.rotate(secret, grace=timedelta(seconds=grace), now=timezone.now()):
        raise bad_request("limit_reached", "Too many old secrets are still in use; wait for some to end")
    _tell("endpoint.updated", application, endpoint)
    return Answer(204)


def get_headers(call: Call) -> Answer:
    headers = find(call).headers
    told = {name: value for name, value in headers.items() if name.lower() not in _SENSITIVE}
    return Answer(200, EndpointHeadersOut(headers=told, sensitive=sorted(headers.keys() - told.keys())))


def set_headers(call: Call) -> Answer:
    return _with_headers(call, EndpointHeadersIn.model_validate_json(call.body).headers)


@transaction.atomic
def patch_headers(call: Call) -> Answer:
    """Change the headers that are named and leave the others, also those whose values are not told."""
    wanted = EndpointHeadersPatchIn.model_validate_json(call.body)
    gone = {name.lower() for name in (*wanted.headers, *(wanted.delete_headers or []))}
    kept = {name: value for name, value in find(call, lock=True).headers.items() if name.lower() not in gone}
    return _with_headers(call, kept | wanted.headers)


@transaction.atomic
def _with_headers(call: Call, headers: dict[str, str]) -> Answer:
    _check_headers(headers)
    endpoint = find(call, lock=True)
    endpoint.headers = headers
    endpoint.save(update_fields=["stored_headers", "updated_at"])
    return Answer(204)


def get_stats(call: Call) -> Answer:
    """Count the attempts of at most four weeks, by what came of them."""
    now = timezone.now()
    until = call.moment("until") or now
    since = call.moment("since") or until - STATISTICS
    if until > now:
        raise bad_request("invalid_range", "until may not lie in the future")
    if until - since > STATISTICS + CLOCKS:
        raise bad_request("invalid_range", f"since may not lie more than {STATISTICS.days} days before until")
    counts = attempt_counts.of(find(call), since=since, until=until)
    return Answer(
        200, EndpointStats(success=counts.arrived, fail=counts.failed, pending=0, sending=0, canceled=0)
    )


def recover(call: Call) -> Answer:
    """Have every message sent again now that failed within a time and has not succeeded since.

    So has what was still to be sent when the endpoint was turned off: a backlog that was never tried.
    """
    wanted = RecoverIn.model_validate_json(call.body)
    now = timezone.now()
    since, until = _in_utc(wanted.since), _in_utc(wanted.until) if wanted.until else now
    if until - since > RECOVERY + CLOCKS:
        raise invalid("since", f"At most {RECOVERY.days} days")
    endpoint = find(call)
    if not endpoint.disabled:
        with connection.cursor() as cursor:
            cursor.execute(
                _RECOVER,
                {
                    "endpoint": endpoint.pk,
                    "since": since,
                    "until": until,
                    "failed": Status.FAIL,
                    "canceled": Status.CANCELED,
                    "pending": Status.PENDING,
                    "succeeded": Status.SUCCESS,
                    "limit": MOST_RECOVERED,
                },
            )
    return Answer(
        202,
        RecoverOut(
            id=new_uid("qtask"),
            status=BackgroundTaskStatus.FINISHED,
            task=BackgroundTaskType.ENDPOINT_RECOVER,
            updated_at=now,
        ),
    )


def find(call: Call, *, lock: bool = False) -> Endpoint:
    """Return the endpoint in the path, by its id or its uid."""
    endpoint = _found(call, applications.organization_of(call), lock=lock)
    if endpoint is None:
        raise not_found()
    return endpoint


def named(name: str, organization_id: int) -> models.QuerySet[Endpoint]:
    """An organization's endpoint of this id or uid, if it is not deleted."""
    by_name = Q(uid=name) if name.startswith("ep_") else Q(own_name=name)
    return Endpoint.objects.existing().filter(by_name, organization_id=organization_id)


def _found(call: Call, organization_id: int, *, lock: bool) -> Endpoint | None:
    endpoints = named(call.names["endpoint"], organization_id)
    return (endpoints.select_for_update() if lock else endpoints).first()


def _created(application: Application, fields: dict[str, Any]) -> Answer:
    endpoint = Endpoint(organization=application.organization)
    _put(endpoint, fields)
    _save(endpoint, application, "endpoint.created")
    return Answer(201, out(endpoint))


def _changed(application: Application, endpoint: Endpoint, fields: dict[str, Any]) -> Answer:
    _put(endpoint, fields)
    _save(endpoint, application, "endpoint.updated")
    return Answer(200, out(endpoint))


def _save(endpoint: Endpoint, application: Application, event_type: str) -> None:
    try:
        with transaction.atomic():
            endpoint.save()
            _tell(event_type, application, endpoint)
    except IntegrityError as error:
        if "endpoint_own_name" in str(error):
            raise conflict("An endpoint with this uid already exists") from error
        raise


def _put(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    disabled = fields.pop("disabled", endpoint.disabled)
    if disabled != endpoint.disabled:
        endpoint.switch(disabled=disabled, now=timezone.now())
    for name, value in fields.items():
        setattr(endpoint, name, value)


def _tell(event_type: str, application: Application, endpoint: Endpoint) -> None:
    operational.emit(
        application.organization_id,
        event_type,
        {
            "appId": application.uid,
            "appUid": application.organization.uid,
            "endpointId": endpoint.uid,
            "endpointUid": endpoint.own_name,
        },
    )


def _fields(given: EndpointIn | EndpointPatch | EndpointUpsertIn) -> dict[str, Any]:
    """Return what is given by the names of the model, checked."""
    fields = given.model_dump(exclude_unset=True)
    # Only the form: whether its address may be reached is decided at each sending, when it is known.
    if "url" in fields and (problem := egress.url_problem(fields["url"] or "")):
        raise invalid("url", problem)
    if fields.get("event_types") is not None:
        event_types.check(fields["event_types"])
    if fields.get("channels") is not None:
        check_channels(fields["channels"], most=MOST_CHANNELS)
    if fields.get("uid") is not None:
        check_name("uid", fields["uid"], not_like="ep_")
    if fields.get("throttle_rate") is not None and not 1 <= fields["throttle_rate"] <= FASTEST:
        raise invalid("throttleRate", f"1 to {FASTEST}")
    # What may not be null means its default.
    for name, default in (("description", ""), ("disabled", False), ("metadata", {})):
        if name in fields and fields[name] is None:
            fields[name] = default
    check_text("description", fields.get("description", ""))
    metadata = json.dumps(fields.get("metadata", {}))
    if len(metadata) > MOST_METADATA or "\\u0000" in metadata:
        raise invalid("metadata", f"At most {MOST_METADATA} bytes, without NUL characters")
    if "uid" in fields:
        fields["own_name"] = fields.pop("uid")
    if (secret := fields.pop("secret", None)) is not None:
        fields["secret"] = _secret("secret", secret)
    if (headers := fields.pop("headers", None)) is not None:
        _check_headers(headers)
        fields["headers"] = headers
    return fields


def _secret(field: str, text: str) -> str:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(field, "whsec_ and base64") from error
    if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise invalid(field, f"{SHORTEST_SECRET} to {LONGEST_SECRET} bytes")
    return "whsec_" + base64.b64encode(key).decode()


def _check_headers(headers: dict[str, str]) -> None:
    if len(headers) > MOST_HEADERS or len({name.lower() for name in headers}) < len(headers):
        raise invalid("headers", f"At most {MOST_HEADERS}, each once")
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise invalid("headers", "Not the name of a header")
        if _KEPT_HEADERS.fullmatch(name):
            raise invalid("headers", f"{name} is not for endpoints to set")
        if _NOT_IN_HEADERS.search(value) or len(value.encode()) > LONGEST_HEADER:
            raise invalid("headers", f"{name}: at most {LONGEST_HEADER} bytes, without control characters")


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def out(endpoint: Endpoint) -> EndpointOut:
    return EndpointOut(
        id=endpoint.uid,
        uid=endpoint.own_name,
        url=endpoint.url,
        description=endpoint.description,
        throttle_rate=endpoint.throttle_rate,
        event_types=endpoint.event_types,
        channels=endpoint.channels,
        disabled=endpoint.disabled,
        metadata=endpoint.metadata,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


# In the order of ids, as whoever else locks several deliveries.
_RECOVER = """
    UPDATE webhooks_delivery
    SET is_manual = TRUE, next_attempt_at = now(),
        status = CASE status WHEN %(canceled)s THEN %(pending)s ELSE status END
    WHERE id IN (
        SELECT delivery.id
        FROM webhooks_delivery AS delivery
        JOIN webhooks_message AS message ON message.id = delivery.message_id
        WHERE delivery.endpoint_id = %(endpoint)s
            AND delivery.status <> %(succeeded)s
            AND message.expunged_at IS NULL
            AND NOT (delivery.is_manual AND delivery.next_attempt_at IS NOT NULL)
            AND delivery.id IN (
                SELECT tried.id
                FROM webhooks_attempt AS attempt JOIN webhooks_delivery AS tried USING (message_id, endpoint_id)
                WHERE attempt.endpoint_id = %(endpoint)s AND attempt.status = %(failed)s
                    AND attempt.timestamp >= %(since)s AND attempt.timestamp < %(until)s
                UNION ALL
                SELECT id FROM webhooks_delivery
                WHERE endpoint_id = %(endpoint)s AND status = %(canceled)s
                    AND created_at >= %(since)s AND created_at < %(until)s
            )
        ORDER BY delivery.id
        LIMIT %(limit)s
        FOR UPDATE OF delivery
    )
"""
