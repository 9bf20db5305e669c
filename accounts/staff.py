"""The operator's support staff: who may open the admin."""

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import password_changed, validate_password
from django.db import transaction

from accounts import audit
from accounts.audit import Actor
from accounts.models import User


@transaction.atomic
def make_staff(
    *,
    email: str,
    name: str = "",
    password: str | None = None,
    is_superuser: bool | None = None,
    actor: Actor | None = None,
) -> User:
    """Put a person on the staff, making them first if nobody has this address.

    Without `password` a known person keeps theirs. Without `is_superuser` somebody already on the staff stays
    what they are, and anybody else becomes a superuser. Raises ValidationError for a weak password.
    """
    user = User.objects.filter(email__iexact=email).first()
    action = audit.Action.USER_UPDATED if user else audit.Action.USER_CREATED
    before = {"is_staff": user.is_staff, "is_superuser": user.is_superuser} if user else {}
    if user is None:
        user = User(email=User.objects.normalize_email(email))
        user.set_unusable_password()
    if is_superuser is None:
        is_superuser = user.is_superuser if user.is_staff else True
    user.is_staff, user.is_superuser, user.name = True, is_superuser, name or user.name
    if password is not None:
        validate_password(password, user)
        user.set_password(password)
    user.save()
    if password is not None:
        password_changed(password, user)
    # The operator vouches for the address, so that the customers' pages let them sign in, too.
    EmailAddress.objects.get_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )
    after = {"is_staff": True, "is_superuser": is_superuser}
    audit.record(action, actor=actor, target=user, before=before, after=after)
    return user
