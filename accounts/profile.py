"""What people change about themselves at once: their name. Addresses and passwords have modules of their own."""

from django.db import transaction

from accounts import audit, team
from accounts.audit import Actor
from accounts.models import User


@transaction.atomic
def rename(*, user: User, name: str, actor: Actor) -> bool:
    """Give a person another name. Says whether it is another."""
    user = team.lock_person(user)
    before, user.name = user.name, name
    if before == name:
        return False
    user.save(update_fields=["name"])
    audit.record(
        audit.Action.USER_UPDATED,
        actor=actor,
        target=user,
        before={"name": before},
        after={"name": name},
    )
    return True
