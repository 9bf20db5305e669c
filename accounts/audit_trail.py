"""Reading an organization's audit trail. One list of columns, `Line`, serves the page, the API and the CSV."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, Q, Value, When

from accounts import audit, cursors, spreadsheets
from accounts.cursors import Cursor
from accounts.models import AuditEntry, AuditEntryQuerySet, Organization

READ_AT_ONCE = 1000


@dataclass(frozen=True)
class Filters:
    """What is asked for; empty for all. Days are the organization's, and the last one counts as well."""

    action: str = ""  # one, or a group such as `api_key.*`
    actor: str = ""  # a person's or key's id, or part of a name
    target: str = ""  # an id
    since: date | None = None
    until: date | None = None

    def apply(self, entries: AuditEntryQuerySet, organization: Organization) -> AuditEntryQuerySet:
        if self.action.endswith(".*"):
            entries = entries.filter(action__startswith=self.action[:-1])
        elif self.action:
            entries = entries.filter(action=self.action)
        if self.actor:
            # By what is shown: who of the staff it was cannot be spelled out by searching either.
            entries = entries.filter(
                Q(shown_actor__icontains=self.actor)
                | Q(api_key_uid=self.actor)
                | Q(by_staff=False, actor__uid=self.actor)
                | Q(by_staff=False, actor__name__icontains=self.actor)
            )
        if self.target:
            entries = entries.filter(target_uid=self.target)
        if self.since:
            entries = entries.filter(created_at__gte=_midnight(self.since, organization))
        if self.until and self.until < date.max:
            entries = entries.filter(created_at__lt=_midnight(self.until + timedelta(days=1), organization))
        return entries


def _midnight(day: date, organization: Organization) -> datetime:
    return datetime.combine(day, time(), tzinfo=organization.zone)


@dataclass(frozen=True)
class Line:
    """An audit entry as its organization's members see it: of the staff they learn only that it was support."""

    id: str
    created_at: datetime
    action: str
    actor_id: str | None
    actor: str
    api_key_id: str | None
    target_type: str
    target_id: str
    target: str
    ip: str | None
    before: dict[str, Any]
    after: dict[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> "Line":
        """Read an entry of `_entries`. Whoever made it may be gone, and only the name tells of them."""
        person = None if entry.by_staff else entry.actor
        return cls(
            id=f"aud_{Cursor(entry.created_at, entry.pk)}",
            created_at=entry.created_at,
            action=entry.action,
            actor_id=person.uid if person else None,
            actor=entry.shown_actor,  # type: ignore[attr-defined]
            api_key_id=entry.api_key_uid or None,
            target_type=entry.target_type,
            target_id=entry.target_uid,
            target=entry.target_name,
            ip=None if entry.by_staff else entry.ip,
            before=entry.before,
            after=entry.after,
        )

    def cells(self) -> list[str | None]:
        """What a spreadsheet shows of it, column by column."""
        values = vars(self) | {
            "created_at": audit.time_text(self.created_at),
            "before": json.dumps(self.before, ensure_ascii=False),
            "after": json.dumps(self.after, ensure_ascii=False),
        }
        return [values[column] for column in COLUMNS]


COLUMNS = [field.name for field in fields(Line)]


@dataclass(frozen=True)
class Page:
    lines: list[Line]
    older: Cursor | None


def page(
    organization: Organization, *, filters: Filters, limit: int, older_than: Cursor | None = None
) -> Page:
    """A page of the trail, newest first."""
    entries, older = cursors.page(_entries(organization, filters), limit=limit, older_than=older_than)
    return Page([Line.of(entry) for entry in entries], older)


def csv(organization: Organization, *, filters: Filters) -> Iterator[str]:
    """The whole trail as lines of CSV, newest first: times in UTC, values as JSON. Takes little memory."""
    entries = _entries(organization, filters).iterator(chunk_size=READ_AT_ONCE)
    return spreadsheets.lines(COLUMNS, (Line.of(entry).cells() for entry in entries))


def _entries(organization: Organization, filters: Filters) -> AuditEntryQuerySet:
    entries = organization.audit_entries.select_related("actor").annotate(
        shown_actor=Case(When(by_staff=True, then=Value(f"{settings.BRAND} support")), default="actor_name")
    )
    return filters.apply(entries, organization).newest_first()
