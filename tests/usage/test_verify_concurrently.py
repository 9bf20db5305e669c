"""Keys verified by several while they change."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey
from usage.models import Entitlement
from usage.verify import verify

pytestmark = pytest.mark.django_db(transaction=True)
Key = tuple[ApiKey, str]


def code(secret: str) -> str:
    answer: dict[str, Any] = verify(secret, cost=Decimal(0), ip=None, now=timezone.now())
    return str(answer["code"])


def test_no_call_that_begins_after_the_revocation_is_let_through(organization_key: Key) -> None:
    key, secret = organization_key
    Entitlement.objects.update(requests_per_minute=1_000_000)
    revoked = Event()

    def ask() -> list[tuple[bool, str]]:
        """Whether the revocation was over when each call began, and what it was answered."""
        try:
            answers: list[tuple[bool, str]] = []
            while len(answers) < 2_000 and sum(after for after, _ in answers) < 20:
                after = revoked.is_set()
                answers.append((after, code(secret)))
            return answers
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        keys.revoke(key=key, actor=None)
        revoked.set()
        answers = [answer for each in asking for answer in each.result(timeout=60)]

    assert {answered for after, answered in answers if after} == {"REVOKED"}
    assert {answered for _, answered in answers} <= {"VALID", "REVOKED"}


def test_a_key_is_never_without_a_working_secret_while_it_is_rotated(organization_key: Key) -> None:
    key, old = organization_key
    Entitlement.objects.update(requests_per_minute=1_000_000)
    rotated = Event()

    def ask() -> set[str]:
        try:
            codes: set[str] = set()
            while not rotated.is_set():
                codes.add(code(old))
            return codes
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)
        finally:
            rotated.set()

    assert {answered for each in asking for answered in each.result(timeout=60)} <= {"VALID"}
    assert code(new) == "VALID"
