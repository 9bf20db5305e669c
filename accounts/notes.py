"""What support keeps in mind about organizations and people. Warnings are shown to all staff wherever these are.

No page of customers shows notes; those on a person are in the data that they may download.

A note's text is never changed, so that it says what was known then: it is taken back, and another one written.
"""

from typing import Any

from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.ids import new_uid
from accounts.models import Membership, Note, Organization, User


class AlreadyWritten(Exception):
    """A note with this id exists: the same one was asked for before."""


def warnings_of(shown: Model) -> QuerySet[Note]:
    """The pinned notes to be shown with a row: on the organization and on the person that it is or belongs to.

    With a person those on their organizations, too.
    """
    if isinstance(shown, Organization):
        about = Q(organization=shown)
    elif isinstance(shown, User):
        theirs = Membership.objects.filter(user=shown).values("organization")
        about = Q(user=shown) | Q(organization__in=theirs)
    else:
        owners = {name: getattr(shown, name, None) for name in ("organization_id", "user_id")}
        about = Q(pk__in=[])
        for name, pk in owners.items():
            about |= Q(**{name: pk}) if pk else Q()
    warnings = Note.objects.warnings().filter(about)
    if isinstance(shown, Note):
        warnings = warnings.exclude(pk=shown.pk)  # it is its own page
    return warnings.select_related("organization", "user", "created_by").newest_first()


@transaction.atomic
def add(
    *,
    about: Organization | User,
    kind: Note.Kind,
    text: str,
    actor: Actor,
    is_pinned: bool = False,
    uid: str | None = None,
) -> Note:
    """Write a note. A pinned one is shown wherever what it is about is shown.

    With a `uid` chosen beforehand a repeated call writes no second one, and raises `AlreadyWritten`.
    """
    said: dict[str, Any] = {"organization" if isinstance(about, Organization) else "user": about}
    said |= {"kind": kind, "text": text, "is_pinned": is_pinned, "created_by": actor.user}
    note, is_new = Note.objects.get_or_create(uid=uid or new_uid("note"), defaults=said)
    if not is_new:
        raise AlreadyWritten
    _record(audit.Action.NOTE_ADDED, note, actor, after={"kind": kind, "pinned": is_pinned})
    return note


@transaction.atomic
def pin(*, note: Note, is_pinned: bool, actor: Actor) -> bool:
    """Show a note wherever its subject is, or no longer. Says whether that changed anything."""
    changed = Note.objects.standing().filter(pk=note.pk, is_pinned=not is_pinned).update(is_pinned=is_pinned)
    if changed:
        note.is_pinned = is_pinned
        _record(
            audit.Action.NOTE_CHANGED,
            note,
            actor,
            before={"pinned": not is_pinned},
            after={"pinned": is_pinned},
        )
    return bool(changed)


@transaction.atomic
def remove(*, note: Note, actor: Actor) -> bool:
    """Take a note back: it stays in its list, struck out. Says whether it still stood."""
    removed = (
        Note.objects.standing().filter(pk=note.pk).update(removed_at=timezone.now(), removed_by=actor.user)
    )
    if removed:
        _record(audit.Action.NOTE_REMOVED, note, actor, before={"kind": note.kind, "pinned": note.is_pinned})
    return bool(removed)


def _record(action: audit.Action, note: Note, actor: Actor, **values: Any) -> None:
    """In nobody's audit trail but the operator's: of no organization, for its members read theirs."""
    audit.record(action, actor=actor, target=note, **values)
