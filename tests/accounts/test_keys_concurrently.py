"""Changes of one key by several at once, on their own connections."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from accounts import keys
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry

pytestmark = pytest.mark.django_db(transaction=True)
Key = tuple[ApiKey, str]


def at_once(*changes: Callable[[ApiKey], Any], pk: int) -> list[Any]:
    """What each change of the key, as all of them saw it before, returned or raised."""
    barrier = Barrier(len(changes))

    def run(change: Callable[[ApiKey], Any]) -> Any:
        try:
            key = ApiKey.objects.get(pk=pk)
            barrier.wait(timeout=30)
            return change(key)
        except (keys.StillInGrace, keys.Ended) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(changes)) as pool:
        return list(pool.map(run, changes))


def rotate(grace: timedelta) -> Callable[[ApiKey], str]:
    return lambda key: keys.rotate(key=key, grace=grace, actor=None)


@pytest.mark.parametrize("grace", keys.GRACES.values())
def test_of_two_rotations_one_wins_and_its_secret_works(organization_key: Key, grace: timedelta) -> None:
    key, old = organization_key

    answers = at_once(rotate(grace), rotate(grace), rotate(grace), pk=key.pk)

    [secret] = [answer for answer in answers if isinstance(answer, str)]
    assert sum(isinstance(answer, keys.StillInGrace) for answer in answers) == 2
    assert usable_key(secret) == key
    assert usable_key(old) == (key if grace else None)
    assert AuditEntry.objects.filter(action="api_key.rotated").count() == 1


def test_revoked_by_two_it_is_recorded_once(organization_key: Key) -> None:
    def revoke(key: ApiKey) -> bool:
        return keys.revoke(key=key, actor=None)

    answers = at_once(revoke, revoke, revoke, pk=organization_key[0].pk)

    assert sorted(answers) == [False, False, True]
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_disabled_while_rotated_it_is_both(organization_key: Key) -> None:
    def disable(key: ApiKey) -> bool:
        return keys.disable(key=key, actor=None)

    disabled, secret = at_once(disable, rotate(timedelta(hours=1)), pk=organization_key[0].pk)

    key = ApiKey.objects.get(pk=organization_key[0].pk)
    assert (disabled, key.state) == (True, "disabled")
    assert usable_key(secret) is None
    keys.enable(key=key, actor=None)
    assert usable_key(secret) == key


def test_revoked_while_rotated_no_secret_works(organization_key: Key) -> None:
    def revoke(key: ApiKey) -> bool:
        return keys.revoke(key=key, actor=None)

    revoked, rotated = at_once(revoke, rotate(timedelta(hours=1)), pk=organization_key[0].pk)

    assert revoked
    assert usable_key(organization_key[1]) is None
    assert isinstance(rotated, keys.Ended) or usable_key(rotated) is None


def test_two_changes_of_different_fields_both_hold(organization_key: Key) -> None:
    def change(**changes: Any) -> Callable[[ApiKey], bool]:
        return lambda key: keys.update(key=key, changes=changes, actor=None)

    at_once(change(requests_per_minute=5), change(name="other"), pk=organization_key[0].pk)

    key = ApiKey.objects.get(pk=organization_key[0].pk)
    assert (key.requests_per_minute, key.name) == (5, "other")
