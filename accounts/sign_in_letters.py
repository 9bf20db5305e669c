"""Letters that support has sent to somebody who cannot get in: allauth's own, within its limits, and recorded."""

from allauth.account.internal.flows.email_verification import consume_email_verification_rate_limit
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress
from allauth.core import ratelimit
from django.http import HttpRequest

from accounts import audit
from accounts.access import actor_of
from accounts.models import User


class TooSoon(Exception):
    """Such a letter went out a moment ago, or too many have of late."""


def unverified(user: User) -> EmailAddress | None:
    """The address whose owner has yet to follow a link: the one they sign in with before others."""
    addresses = EmailAddress.objects.filter(user=user, verified=False)
    return addresses.order_by("-primary", "pk").first()


def send_verification(request: HttpRequest, address: EmailAddress) -> None:
    """Send the link that verifies an address once more. Raises `TooSoon`."""
    if not consume_email_verification_rate_limit(request, address.email):
        raise TooSoon
    audit.record(
        audit.Action.USER_VERIFICATION_SENT,
        actor=actor_of(request),
        target=address.user,
        after={"email": address.email},
    )
    address.send_confirmation(request)


def send_password_letter(request: HttpRequest, user: User) -> None:
    """Send somebody the link with which they choose a new password; nobody else ever sets one. Raises `TooSoon`."""
    if not ratelimit.consume(request, action="reset_password", key=user.email):
        raise TooSoon
    audit.record(audit.Action.USER_PASSWORD_LETTER_SENT, actor=actor_of(request), target=user)
    request_password_reset(request, user.email, [user], token_generator=None)
