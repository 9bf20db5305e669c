"""Event types of the embedded engine: those of the catalogue, which are always there, and others it was told of."""

from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from svix.models import EventTypeIn, EventTypeOut, EventTypePatch, EventTypeUpsertIn, ListResponseEventTypeOut

from webhooks.embedded.calls import Answer, Call, check_name, check_text, conflict, invalid, not_found
from webhooks.events import EVENT_TYPES, utc
from webhooks.models import CustomEventType

# When the catalogue's types came to be, as far as anybody asks.
_ALWAYS = datetime(2026, 1, 1, tzinfo=UTC)


def list_(call: Call) -> Answer:
    """In the order of their names."""
    with_content = call.flag("with_content", default=False)
    custom = CustomEventType.objects.exclude(name__in=EVENT_TYPES)
    if not call.flag("include_archived", default=False):
        custom = custom.filter(is_archived=False)
    everything = [*map(_of_catalogue, EVENT_TYPES), *map(_out, custom)]
    everything.sort(key=lambda event_type: event_type.name)
    limit, (iterator, is_backwards) = call.limit(), call.iterator()
    if is_backwards:
        found = [one for one in everything if one.name < iterator]
        data = found[-limit:]
    else:
        found = [one for one in everything if one.name > iterator]
        data = found[:limit]
    if not with_content:
        data = [one.model_copy(update={"schemas": None}) for one in data]
    return Answer(
        200,
        ListResponseEventTypeOut(
            data=data,
            iterator=data[-1].name if data else None,
            prev_iterator=f"-{data[0].name}" if data else None,
            done=len(found) <= limit,
        ),
    )


def create(call: Call) -> Answer:
    """Add a type, or bring one back from the archive."""
    wanted = EventTypeIn.model_validate_json(call.body)
    check_name("name", wanted.name)
    fields = _fields(wanted)
    taken = conflict("An event type with this name already exists", code="event_type_exists")
    if wanted.name in EVENT_TYPES:
        raise taken
    try:
        with transaction.atomic():
            archived = CustomEventType.objects.select_for_update().filter(name=wanted.name).first()
            if archived and not archived.is_archived:
                raise taken
            return _saved(archived or CustomEventType(name=wanted.name), {"is_archived": False} | fields, 201)
    except IntegrityError as error:
        raise taken from error


def get(call: Call) -> Answer:
    return Answer(200, _named(call.names["event_type"]))


@transaction.atomic
def upsert(call: Call) -> Answer:
    """Put a type as it is given. A type of the catalogue stays as it is."""
    name = call.names["event_type"]
    check_name("event_type_name", name, where="path")
    given = EventTypeUpsertIn.model_validate_json(call.body)
    if name in EVENT_TYPES:
        return Answer(200, _of_catalogue(name))
    fields = _fields(EventTypeUpsertIn.model_validate(given.model_dump()))
    existing = CustomEventType.objects.select_for_update().filter(name=name).first()
    return _saved(existing or CustomEventType(name=name), fields, 200 if existing else 201)


@transaction.atomic
def patch(call: Call) -> Answer:
    fields = _fields(EventTypePatch.model_validate_json(call.body))
    return _saved(_changeable(call), fields, 200)


@transaction.atomic
def delete(call: Call) -> Answer:
    """Put a type into the archive, or with `expunge` away altogether."""
    event_type = _changeable(call)
    if call.flag("expunge", default=False):
        event_type.delete()
    else:
        event_type.is_archived = True
        event_type.save()
    return Answer(204)


def check(names: list[str]) -> None:
    """Refuse types that an endpoint cannot ask for."""
    if not names:
        raise invalid("eventTypes", "Leave it out to receive every type")
    unknown = set(names) - EVENT_TYPES.keys()
    for name in unknown:
        check_name("eventTypes", name)
    if unknown:
        known = CustomEventType.objects.filter(name__in=unknown, is_archived=False)
        unknown -= set(known.values_list("name", flat=True))
    for name in sorted(unknown):
        raise invalid("eventTypes", f"There is no event type {name}")


def example(name: str) -> dict[str, Any] | None:
    """What a message of this type looks like when it is sent now, if that is known."""
    if name in EVENT_TYPES:
        return _example(name, timezone.now())
    schemas = _named(name).schemas or {}
    versions = [schema for schema in schemas.values() if isinstance(schema, dict)]
    found = next(iter(versions[-1].get("examples") or []), None) if versions else None
    return found if isinstance(found, dict) else None


def _named(name: str) -> EventTypeOut:
    if name in EVENT_TYPES:
        return _of_catalogue(name)
    event_type = CustomEventType.objects.filter(name=name).first()
    if event_type is None:
        raise not_found()
    return _out(event_type)


def _changeable(call: Call) -> CustomEventType:
    name = call.names["event_type"]
    if name in EVENT_TYPES:
        raise conflict("This event type belongs to the catalogue")
    event_type = CustomEventType.objects.select_for_update().filter(name=name).first()
    if event_type is None:
        raise not_found()
    return event_type


def _saved(event_type: CustomEventType, fields: dict[str, Any], status: int) -> Answer:
    for name, value in fields.items():
        setattr(event_type, name, value)
    event_type.save()
    return Answer(status, _out(event_type))


def _fields(given: EventTypeIn | EventTypeUpsertIn | EventTypePatch) -> dict[str, Any]:
    """Return what is given by the names of the model, checked."""
    fields = given.model_dump(include=given.model_fields_set - {"name", "feature_flags"})
    for theirs, ours in (("archived", "is_archived"), ("deprecated", "is_deprecated")):
        if theirs in fields:
            fields[ours] = bool(fields.pop(theirs))
    if "description" in fields:
        fields["description"] = fields["description"] or ""
        check_text("description", fields["description"])
    if fields.get("group_name") is not None:
        check_name("groupName", fields["group_name"])
    if "\\u0000" in given.model_dump_json(include={"schemas"}):
        raise invalid("schemas", "May not contain NUL characters")
    return fields


def _example(name: str, moment: datetime) -> dict[str, Any]:
    return {"type": name, "timestamp": utc(moment), "data": EVENT_TYPES[name].example}


def _of_catalogue(name: str) -> EventTypeOut:
    event_type = EVENT_TYPES[name]
    schema = {
        "title": name,
        "description": event_type.description,
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": name},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": event_type.schema,
        },
        "examples": [_example(name, _ALWAYS)],
    }
    return EventTypeOut(
        name=name,
        description=event_type.description,
        archived=False,
        deprecated=False,
        group_name=event_type.group,
        schemas={str(event_type.version): schema},
        created_at=_ALWAYS,
        updated_at=_ALWAYS,
    )


def _out(event_type: CustomEventType) -> EventTypeOut:
    return EventTypeOut(
        name=event_type.name,
        description=event_type.description,
        archived=event_type.is_archived,
        deprecated=event_type.is_deprecated,
        group_name=event_type.group_name,
        schemas=event_type.schemas,
        created_at=event_type.created_at,
        updated_at=event_type.updated_at,
    )
