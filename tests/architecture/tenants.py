"""Organizations with one of everything that an address can name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.base import ContentFile
from django.utils import timezone
from svix.models import MessageIn

from accounts import keys, links, organizations, team
from accounts.audit import Actor
from accounts.ids import new_uid
from accounts.models import Invitation, NoticeKind, Notification, Organization, OwnershipOffer, User
from accounts.permissions import Role
from billing.models import Invoice
from tests.conftest import person
from tests.usage.rows import job_row
from usage import files
from usage.models import PipelineDraft, UsageAlert, UsageExportFile
from webhooks import endpoints
from webhooks.gateway import get_svix


@dataclass(frozen=True)
class Tenant:
    """An organization, its people by role, and what its addresses name."""

    organization: Organization
    people: Mapping[str, User]
    named: dict[str, str]

    @property
    def owner(self) -> User:
        return self.people[Role.OWNER]


def tenant(name: str) -> Tenant:
    people = {role.value: person(f"{role}-{name}") for role in Role}
    owner = people[Role.OWNER]
    organization = organizations.create(name=name, owner=owner)
    somebody = person(f"somebody-{name}")
    for user, role in [
        (somebody, Role.MEMBER),
        *((people[role], role) for role in Role if role != Role.OWNER),
    ]:
        team.add_member(organization=organization, user=user, role=role, actor=None)
    key, _ = keys.create_organization_key(
        organization=organization, name="checkout", scopes=["api_keys"], actor=Actor(owner)
    )
    token, token_hash = links.new_token()
    invitation = Invitation.objects.create(
        organization=organization,
        email=f"invited-{name}@example.com",
        token_hash=token_hash,
        invited_by=owner,
        expires_at=timezone.now() + timedelta(days=7),
    )
    OwnershipOffer.objects.create(
        organization=organization,
        to=somebody,
        offered_by=owner,
        expires_at=timezone.now() + timedelta(days=7),
    )
    return Tenant(
        organization,
        people,
        {
            "organization_uid": organization.uid,
            "user_uid": somebody.uid,
            "key_uid": key.uid,
            "invitation_uid": invitation.uid,
            "draft_uid": PipelineDraft.objects.create(organization=organization, name="draft", text="{}").uid,
            "alert_uid": UsageAlert.objects.create(
                organization=organization, metric="pages", period="monthly", threshold=1000
            ).uid,
            "export_uid": UsageExportFile.objects.create(
                organization=organization,
                created_by=owner,
                kind="records",
                state=UsageExportFile.State.DONE,
                path=files.exports().save(f"{name}.csv", ContentFile(b"job_id")),
                expires_at=timezone.now() + timedelta(days=1),
            ).uid,
            "endpoint_id": endpoints.create(
                organization=organization, url="https://example.com/hook", actor=None
            ).endpoint.id,
            "message_id": get_svix()
            .message.create(organization.uid, MessageIn(event_type="job.completed", payload={"type": "test"}))
            .id,
            "plan_slug": "pro",
            "interval": "month",
            "pack_slug": "1000",
            "invoice_uid": Invoice.objects.create(
                organization=organization,
                stripe_id=f"in_{name}",
                status="paid",
                total=Decimal(10),
                amount_due=Decimal(0),
                amount_paid=Decimal(10),
                created_at=timezone.now(),
            ).uid,
            "job_id": job_row(key, f"job-of-{name}").job_id,
            "token": token,
            "file": "letter",
            "number": "1",
            "name": "usage_for_billing/nothing.csv.gz",
        }
        | own(owner),
    )


def own(user: User) -> dict[str, str]:
    """What addresses name that is a person's own."""
    store = SessionStore()
    store.create()
    session = UserSession.objects.create(
        user=user, session_key=store.session_key, ip="203.0.113.7", user_agent=""
    )
    notice = Notification.objects.create(
        user=user, kind=NoticeKind.TEAM, key=new_uid("fact"), title="Something happened"
    )
    return {"session_id": str(session.pk), "notification_uid": notice.uid}
