"""Where somebody lands who opens the address without more."""

from allauth.account.models import EmailAddress
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts.access import LAST_ORGANIZATION, SignedInRequest, signed_in
from accounts.models import Invitation, Membership, User


@signed_in
def home(request: SignedInRequest) -> HttpResponse:
    """Open the usage of the organization last looked at, or of the first one."""
    memberships = Membership.objects.of(request.user).in_order()
    last = request.session.get(LAST_ORGANIZATION)
    membership = memberships.filter(organization__uid=last).first() or memberships.first()
    if membership is None:
        return render(request, "no_organization.html", {"invitations": _invitations(request.user)})
    return redirect("usage:dashboard", organization_uid=membership.organization.uid)


def _invitations(user: User) -> QuerySet[Invitation]:
    """What waits for an answer from this person. Only the letter has the link that gives it."""
    addresses = EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    return (
        Invitation.objects.open()
        .filter(
            email__in=[address.lower() for address in addresses],
            expires_at__gt=timezone.now(),
            organization__deleted_at=None,
        )
        .select_related("organization", "invited_by")
        .order_by("created_at")
    )
