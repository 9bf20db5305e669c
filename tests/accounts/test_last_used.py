"""When a key was last used: noted in memory, handed to Redis together, saved in one statement."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import DatabaseError, connection, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import keys, last_used, volatile
from accounts.models import ApiKey, Organization

Key = tuple[ApiKey, str]


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Nothing is noted yet, and no timer hands over meanwhile."""
    last_used._noted.clear()
    last_used._waiting.clear()
    yield
    last_used._waiting.clear()
    last_used.hand_over()


def moment(key: ApiKey) -> datetime | None:
    return ApiKey.objects.get(pk=key.pk).last_used_at


def test_a_call_of_the_api_is_noted_and_saved(client: Client, organization_key: Key) -> None:
    key, secret = organization_key
    before = datetime.now(UTC)

    client.get("/api/v1/api-keys/whoami", headers={"Authorization": f"Bearer {secret}"})
    assert moment(key) is None
    last_used.hand_over()
    last_used.save()

    used = moment(key)
    assert used is not None and before - timedelta(seconds=1) < used <= datetime.now(UTC)


def test_many_calls_are_one_note_and_no_write(
    client: Client, organization_key: Key, clean_redis: redis.Redis
) -> None:
    for _ in range(3):
        client.get("/api/v1/api-keys/whoami", headers={"Authorization": f"Bearer {organization_key[1]}"})

    assert list(last_used._waiting) == [organization_key[0].pk]
    assert not clean_redis.exists(last_used._HASH)


def test_a_refused_key_is_not_noted(client: Client, organization_key: Key) -> None:
    keys.revoke(key=organization_key[0], actor=None)

    client.get("/api/v1/api-keys/whoami", headers={"Authorization": f"Bearer {organization_key[1]}"})

    assert not last_used._waiting


def test_many_keys_are_saved_by_one_statement(
    organization: Organization, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    made = [
        keys.create_organization_key(organization=organization, name=str(number), actor=None)[0]
        for number in range(5)
    ]
    for key in made:
        last_used.note(key.pk)
    last_used.hand_over()

    with django_assert_num_queries(1):
        assert last_used.save() == 5

    assert all(moment(key) for key in made)


def test_an_earlier_moment_never_replaces_a_later_one(organization_key: Key) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    ApiKey.objects.update(last_used_at=later)
    last_used.note(organization_key[0].pk)
    last_used.hand_over()

    last_used.save()

    assert moment(organization_key[0]) == later


def test_keys_that_are_gone_harm_no_other(organization_key: Key) -> None:
    last_used.note(10**15)
    last_used.note(organization_key[0].pk)
    last_used.hand_over()

    last_used.save()

    assert moment(organization_key[0])


def test_what_the_database_did_not_take_is_saved_by_the_next_run(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_used.note(organization_key[0].pk)
    last_used.hand_over()
    with monkeypatch.context() as broken, pytest.raises(DatabaseError), transaction.atomic():
        broken.setattr(last_used, "_SAVE", "SELECT 1 / 0, %s")
        last_used.save()

    assert last_used.save() == 1

    assert moment(organization_key[0])


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_being_changed_holds_up_no_other(organization_key: Key, personal_key: Key) -> None:
    def save() -> int:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '5s'")
            return last_used.save()
        finally:
            connection.close()

    changed, other = organization_key[0], personal_key[0]
    for key in (changed, other):
        last_used.note(key.pk)
    last_used.hand_over()
    with transaction.atomic(), ThreadPoolExecutor(1) as another:
        keys.disable(key=changed, actor=None)

        another.submit(save).result()

    assert moment(other)


def test_with_redis_down_it_is_lost_and_counted(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(question: Any) -> None:
        raise volatile.Unavailable

    monkeypatch.setattr(volatile, "ask", fail)
    before = next(last_used.lost)
    last_used.note(organization_key[0].pk)

    last_used.hand_over()

    assert last_used.save() == 0
    assert next(last_used.lost) == before + 3
