"""The operator's support staff: who may open the admin, and who of them may change whose account."""

from collections.abc import Collection, Iterable

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.password_validation import password_changed, validate_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from accounts import audit, sessions, team
from accounts.audit import Actor
from accounts.models import User

MANAGE = "accounts.manage_staff"


class OutOfReach(PermissionDenied):
    """Whoever acts may not change this account, or not give what they want to give."""


def reaches(colleague: User, person: User) -> bool:
    """Whether somebody on the staff may change this account by hand, if they may change accounts.

    Never their own; that of a colleague only if they manage the staff; and a superuser's only as one.
    """
    if person == colleague or person.deleted_at:
        return False
    if person.is_superuser and not colleague.is_superuser:
        return False
    return not person.is_staff or colleague.has_perm(MANAGE)


def may_give(colleague: User, group: Group) -> bool:
    """Whether somebody has all that this group may do: nobody gives what they do not have."""
    return colleague.is_superuser or colleague.has_perms(_labels(group.permissions.all()))


def _labels(permissions: Iterable[Permission]) -> list[str]:
    return [f"{each.content_type.app_label}.{each.codename}" for each in permissions]


@transaction.atomic
def make_staff(
    *,
    email: str,
    name: str = "",
    password: str | None = None,
    is_superuser: bool | None = None,
    groups: Collection[str] = (),
    actor: Actor | None = None,
) -> User:
    """Put a person on the staff, making them first if nobody has this address.

    Without `password` a known person keeps theirs. Groups are named, and added to those they are in. Without
    `is_superuser` somebody already on the staff stays what they are, and anybody else becomes a superuser unless there
    are groups. Raises ValidationError for a weak password, or for a group that there is not.
    """
    found = _named(groups)
    user = User.objects.filter(email__iexact=email).first()
    action = audit.Action.USER_UPDATED if user else audit.Action.USER_CREATED
    before = standing(user) if user else {}
    if user is None:
        user = User(email=User.objects.normalize_email(email))
        user.set_unusable_password()
    if is_superuser is None:
        is_superuser = user.is_superuser if user.is_staff else not found
    user.is_staff, user.is_superuser, user.name = True, is_superuser, name or user.name
    if password is not None:
        validate_password(password, user)
        user.set_password(password)
    user.save()
    user.groups.add(*found)
    if password is not None:
        password_changed(password, user)
    # The operator vouches for the address, so that the customers' pages let them sign in, too.
    EmailAddress.objects.get_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )
    audit.record(action, actor=actor, target=user, before=before, after=standing(user))
    return user


def _named(names: Collection[str]) -> list[Group]:
    found = {group.name: group for group in Group.objects.filter(name__in=names)}
    if unknown := [name for name in names if name not in found]:
        there = ", ".join(Group.objects.order_by("name").values_list("name", flat=True))
        raise ValidationError(f"There is no group “{unknown[0]}”. There are: {there}.")
    return list(found.values())


def standing(user: User) -> dict[str, object]:
    """What somebody is on the staff, as the audit trail tells it."""
    told: dict[str, object] = {"is_staff": user.is_staff, "is_superuser": user.is_superuser}
    groups = sorted(user.groups.values_list("name", flat=True))
    return told | ({"groups": groups} if groups else {})


@transaction.atomic
def appoint(
    *,
    user: User,
    is_staff: bool,
    is_superuser: bool,
    groups: Collection[Group],
    reason: str,
    actor: Actor,
) -> bool:
    """Say whether somebody is on the staff, and in which groups. Says whether anything is new.

    Whoever leaves the staff leaves all groups, and their sessions end. Raises `OutOfReach`: nobody appoints
    themselves, gives what they do not have, or makes a superuser without being one.
    """
    user.refresh_from_db(from_queryset=User.objects.select_for_update(no_key=True))
    colleague = actor.user
    wanted = set(groups) if is_staff else set()
    is_superuser = is_superuser and is_staff
    have = set(user.groups.all())
    if colleague is None or not colleague.has_perm(MANAGE) or not reaches(colleague, user):
        raise OutOfReach("This account is not yours to appoint.")
    if is_superuser and not colleague.is_superuser:
        raise OutOfReach("Only superusers make superusers.")
    if beyond := [group.name for group in wanted - have if not may_give(colleague, group)]:
        raise OutOfReach(f"You do not have all that the group “{beyond[0]}” has.")
    if (user.is_staff, user.is_superuser, have) == (is_staff, is_superuser, wanted):
        return False
    before = standing(user)
    left = user.is_staff and not is_staff
    user.is_staff, user.is_superuser = is_staff, is_superuser
    user.save(update_fields=["is_staff", "is_superuser"])
    user.groups.set(wanted)
    audit.record(
        audit.Action.USER_UPDATED,
        actor=actor,
        target=user,
        before=before,
        after=standing(user) | {"reason": reason},
    )
    if left:
        sessions.end_all(user)
    return True


@transaction.atomic
def switch(*, user: User, is_active: bool, reason: str, actor: Actor) -> bool:
    """Switch an account off or on again. Off, its sessions end and its personal keys stop at once.

    Says whether this call did it.
    """
    organizations = team.lock_organizations_of(user)
    user = team.lock_person(user)
    if user.is_active == is_active:
        return False
    user.is_active = is_active
    user.save(update_fields=["is_active"])
    for organization in organizations:
        organization.bump_access()
    if not is_active:
        sessions.end_all(user)
    audit.record(
        audit.Action.USER_UPDATED,
        actor=actor,
        target=user,
        before={"is_active": not is_active},
        after={"is_active": is_active, "reason": reason},
    )
    return True
