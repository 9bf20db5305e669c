"""Drafts of pipelines, which an organization keeps: made from a job or written anew, changed, deleted, handed over.

Each change is audited by its name and version; what the configuration says stays out of the trail, which outlives it.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.signing import TimestampSigner
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.names import clean_name
from accounts.permissions import Permission, roles_with
from usage import configurations, reports
from usage.models import Job, JobType, PipelineDraft

MOST = 1000  # in an organization
LONGEST_NAME = 120
# For so long whoever holds a token made for the Studio can read the draft it is about.
TOKEN_LASTS = timedelta(hours=1)

_signer = TimestampSigner(sep=".", salt="a draft and a member for the Studio")


class TooMany(Exception):
    """The organization has as many drafts as one may have."""


class NoConfiguration(Exception):
    """The job was reported without a configuration, or that was erased."""


class Changed(Exception):
    """Somebody else has changed the draft since. `draft` is what it is by now."""

    def __init__(self, draft: PipelineDraft) -> None:
        super().__init__(draft)
        self.draft = draft


def of(organization: Organization) -> "QuerySet[PipelineDraft, PipelineDraft]":
    """The drafts of this organization, as a list shows them: without their texts."""
    found = PipelineDraft.objects.filter(organization=organization)
    return found.select_related("created_by").defer("text", "original")


def _clean_name(name: Any) -> str:
    return clean_name(name, what="draft", longest=LONGEST_NAME)


def _clean_type(type: Any) -> str:
    if type not in JobType.values:
        raise ValidationError(f"One of: {', '.join(JobType.values)}.")
    return str(type)


def _clean_text(text: Any) -> str:
    stripped = str(text).strip()
    configurations.read(stripped)
    return stripped


_CLEAN: dict[str, Callable[[Any], str]] = {"name": _clean_name, "type": _clean_type, "text": _clean_text}


def _clean(fields: Mapping[str, Any]) -> dict[str, str]:
    """Raises ValidationError with a message for each bad field."""
    cleaned, errors = {}, {}
    for name, value in fields.items():
        try:
            cleaned[name] = _CLEAN[name](value)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    return cleaned


def create(
    *, organization: Organization, name: str, text: str, actor: Actor | None, type: str = JobType.PIPELINE
) -> PipelineDraft:
    """Keep a configuration that was written anew. Raises `TooMany`, and ValidationError with a message a field."""
    fields = _clean({"name": name, "type": type, "text": text})
    return _create(organization, actor, **fields)


def create_from_job(
    *, organization: Organization, job: Job, actor: Actor | None, name: str = ""
) -> PipelineDraft:
    """Keep a job's configuration as a draft. Raises as `create` does, and `NoConfiguration`."""
    text = reports.configurations(organization, [job]).get(job.config_sha256)
    if text is None:
        raise NoConfiguration
    try:
        laid_out = configurations.write(configurations.read(text))
    except ValidationError as error:
        raise ValidationError({"job_id": error.messages}) from error
    fields = _clean({"name": name or f"{job.type} from {_short(job.job_id)}"})
    return _create(
        organization, actor, type=job.type, text=laid_out, original=laid_out, job_id=job.job_id, **fields
    )


def _short(job_id: str) -> str:
    """As much of a job's id as a name needs, without what cannot be seen."""
    seen = "".join(character for character in job_id if character.isprintable())
    return seen if len(seen) <= 24 else f"{seen[:12]}…"


@transaction.atomic
def _create(organization: Organization, actor: Actor | None, **fields: str) -> PipelineDraft:
    # Those who add one at the same time count one after the other.
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    if PipelineDraft.objects.filter(organization=organization).count() >= MOST:
        raise TooMany
    now = timezone.now()
    draft = PipelineDraft.objects.create(
        organization=organization,
        created_by=actor.answerable if actor else None,
        created_at=now,
        updated_at=now,
        **fields,
    )
    audit.record(
        audit.Action.PIPELINE_CREATED,
        actor=actor,
        organization=organization,
        target=draft,
        after={"name": draft.name, "type": draft.type} | ({"job_id": draft.job_id} if draft.job_id else {}),
    )
    return draft


@transaction.atomic
def update(
    *, draft: PipelineDraft, changes: Mapping[str, Any], actor: Actor | None, version: int | None
) -> PipelineDraft:
    """Change name, type or text, and return the draft as it is then.

    `version` is the one that the change was made to. Raises `Changed` where that is no longer the latest (None:
    whatever it is), ValidationError as `create` does, and PipelineDraft.DoesNotExist if the draft has been deleted
    meanwhile.
    """
    cleaned = _clean(changes)
    kept = PipelineDraft.objects.select_for_update().get(pk=draft.pk)
    before = {name: getattr(kept, name) for name in cleaned}
    changed = [name for name, value in cleaned.items() if value != before[name]]
    if not changed:
        return kept
    if version is not None and version != kept.version:
        raise Changed(kept)
    for name in changed:
        setattr(kept, name, cleaned[name])
    kept.version += 1
    kept.updated_at = timezone.now()
    kept.save(update_fields=[*changed, "version", "updated_at"])
    shown = [name for name in changed if name != "text"]
    audit.record(
        audit.Action.PIPELINE_UPDATED,
        actor=actor,
        organization=kept.organization,
        target=kept,
        before={name: before[name] for name in shown} | {"version": kept.version - 1},
        after={name: cleaned[name] for name in shown} | {"version": kept.version},
    )
    return kept


@transaction.atomic
def delete(*, draft: PipelineDraft, actor: Actor | None) -> bool:
    """Delete a draft for good. Says whether it was still there."""
    kept = PipelineDraft.objects.select_for_update().filter(pk=draft.pk).first()
    if kept is None:
        return False
    audit.record(
        audit.Action.PIPELINE_DELETED,
        actor=actor,
        organization=kept.organization,
        target=kept,
        before={"name": kept.name, "type": kept.type, "version": kept.version},
    )
    kept.delete()
    return True


# ── The Studio ───────────────────────────────────────────────────────────────────────────────────────────────


def studio_address(draft: PipelineDraft, *, user: User) -> str:
    """Where the Studio opens this draft for somebody: it fetches it with the token that the address carries."""
    separator = "&" if "?" in settings.STUDIO_URL else "?"
    token = _signer.sign(f"{draft.uid}.{user.uid}")
    return f"{settings.STUDIO_URL}{separator}{urlencode({'draft': token})}"


def of_token(token: str) -> PipelineDraft:
    """The draft that a token made for the Studio is about.

    Raises SignatureExpired after an hour, BadSignature for what was not made here, and PipelineDraft.DoesNotExist if
    the draft or its organization is gone, or whom it was made for may not see it any more.
    """
    draft, user = _signer.unsign(token, max_age=TOKEN_LASTS).split(".")
    may_see = Membership.objects.filter(user__uid=user, role__in=roles_with(Permission.JOBS_VIEW))
    return PipelineDraft.objects.get(
        uid=draft, organization__deleted_at=None, organization__memberships__in=may_see
    )
