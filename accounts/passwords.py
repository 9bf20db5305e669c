"""What follows from a new password, whoever set it and however."""

from django.db import transaction
from django.urls import reverse

from accounts import audit, sessions
from accounts.audit import Actor
from accounts.models import NoticeKind, User
from accounts.notifications import notify


@transaction.atomic
def change(*, user: User, password: str, actor: Actor, keep: str | None = None) -> None:
    """Give somebody a new password. Of their sessions only the one with the key `keep` goes on."""
    user.set_password(password)
    user.save(update_fields=["password"])
    changed(user=user, actor=actor, keep=keep)


@transaction.atomic
def changed(*, user: User, actor: Actor, keep: str | None = None) -> None:
    """End the sessions that the old password began, and tell its owner, who may not have been the one."""
    ended = sessions.end_all(user, keep=keep)
    entry = audit.record(
        audit.Action.USER_PASSWORD_CHANGED, actor=actor, target=user, after={"sessions_ended": ended}
    )
    notify(
        [user],
        kind=NoticeKind.SECURITY,
        key=f"password_changed:{entry.pk}",
        title="Your password was changed",
        body="Wherever else you were signed in, you no longer are. If this was not you, reset your password now, "
        "and look through your account for other changes.",
        url=reverse("accounts:sessions"),
    )
