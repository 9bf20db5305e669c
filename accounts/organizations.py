"""Making organizations and putting people in them."""

from django.db import transaction

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.permissions import Role


@transaction.atomic
def create(*, name: str, owner: User, time_zone: str = "UTC", actor: Actor | None = None) -> Organization:
    """Make an organization with its one owner. Its entitlement and free credits follow from the audit row."""
    organization = Organization.objects.create(name=name, time_zone=time_zone, billing_email=owner.email)
    Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
    audit.record(
        audit.Action.ORGANIZATION_CREATED,
        actor=actor or Actor(owner),
        organization=organization,
        target=organization,
        after={"name": name, "owner": owner.email},
    )
    return organization


@transaction.atomic
def add_member(*, organization: Organization, user: User, role: Role, actor: Actor | None) -> Membership:
    """Put a person in an organization."""
    membership = Membership.objects.create(organization=organization, user=user, role=role)
    audit.record(
        audit.Action.MEMBER_ADDED,
        actor=actor,
        organization=organization,
        target=user,
        after={"role": role},
    )
    return membership
