"""Setting up a second factor while somebody else changes the same organization: neither waits for the other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from django.db import connection
from django.utils import timezone
from django_otp.oath import totp

from accounts import members, two_factor
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.permissions import Role

pytestmark = pytest.mark.django_db(transaction=True)


def test_setting_up_does_not_block_who_tells_that_person_something(
    organization: Organization, owner: User, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Organization.objects.update(two_factor_required_from=timezone.now() + timedelta(days=7))
    membership = Membership.objects.select_related("organization", "user").get(user=member)
    key, offer = two_factor.offer(member)
    code = f"{totp(offer.device.bin_key):06}"
    holds_person, has_told = Event(), Event()
    bump = two_factor._bump_access

    def bump_later(user: User) -> None:
        holds_person.set()
        has_told.wait(5)
        bump(user)

    def change_role() -> None:
        holds_person.wait(5)
        members.change_role(membership=membership, role=Role.VIEWER, actor=Actor(owner))
        has_told.set()

    def set_up() -> None:
        two_factor.set_up(user=member, key=key, code=code, actor=Actor(member))

    def closing(act: Callable[[], None]) -> None:
        try:
            act()
        finally:
            connection.close()

    monkeypatch.setattr(two_factor, "_bump_access", bump_later)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(closing, [set_up, change_role]))

    assert two_factor.has_device(member)
    assert Membership.objects.get(user=member).role == Role.VIEWER
