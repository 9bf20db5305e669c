"""Changes of a person and of their organization at once: organizations are locked first, so none waits in a ring."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from accounts import staff as support
from accounts import team, two_factor
from accounts.audit import Actor
from accounts.models import Organization, User
from accounts.two_factor import IdentityCheck

pytestmark = pytest.mark.django_db(transaction=True)


def switch_off(person: User, actor: Actor) -> None:
    support.switch(user=person, is_active=False, reason="Asked by mail", actor=actor)


def reset(person: User, actor: Actor) -> None:
    two_factor.reset(user=person, check=IdentityCheck.OWNER, seen="Asked by mail", actor=actor)


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("change", [switch_off, reset])
def test_what_support_does_to_a_person_waits_for_what_is_done_to_their_organization(
    organization: Organization, member: User, staff: User, change: Callable[[User, Actor], None]
) -> None:
    two_factor.enrol_totp(user=member, actor=None)

    def by_support() -> None:
        try:
            change(member, Actor(staff))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            team.lock(organization)
            second = pool.submit(by_support)
            while not waits_for_a_lock() and not second.done():
                pass
            team.lock_person(member)

        second.result(timeout=30)
