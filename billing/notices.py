"""What people of an organization are told about its billing."""

from accounts import notifications
from accounts.models import NoticeKind, Organization, User
from accounts.permissions import Permission, roles_with
from billing.models import TopUp


def top_up_stopped(top_up: TopUp) -> None:
    """Tell that a pack could not be bought, and that none is bought by itself until somebody looks at it."""
    organization = top_up.organization
    notifications.notify(
        _who_see_billing(organization),
        kind=NoticeKind.BILLING,
        key=f"top_up.failed:{top_up.uid}",
        title=f"{organization.name}: automatic top-up has stopped",
        body=f"{top_up.credits.normalize():,f} credits for ${top_up.price:,.2f} could not be bought: {top_up.problem} "
        "No more are bought by themselves until the owner sets automatic top-up again on the billing page.",
        organization=organization,
    )


def _who_see_billing(organization: Organization) -> list[User]:
    found = User.objects.filter(
        is_active=True,
        memberships__organization=organization,
        memberships__role__in=roles_with(Permission.BILLING_VIEW),
    )
    return list(found)
