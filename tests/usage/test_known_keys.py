"""What a process keeps of keys, by its own clock: believed for less than a second, and no change missed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts import keys, prepared
from accounts.models import ApiKey, Organization
from usage import known_keys
from usage.models import Entitlement

Key = tuple[ApiKey, str]

START = 1_000.0


@pytest.fixture(autouse=True)
def knowing_nothing() -> None:
    known_keys.forget()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries sent from here on."""
    sent: list[str] = []
    fetch = prepared.fetch

    def counted(query: Any, values: Any) -> Any:
        sent.append(query)
        return fetch(query, values)

    monkeypatch.setattr(prepared, "fetch", counted)
    return sent


def find(secret: str, monkeypatch: pytest.MonkeyPatch, at: float = START) -> known_keys.Found:
    """Let this process read a key at this moment of its clock."""
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: at)
        found = known_keys.find(secret)
    assert found
    return found


def test_what_was_read_is_recalled_without_a_query(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    found = find(organization_key[1], monkeypatch)
    del reads[:]

    assert known_keys.recall(organization_key[1], clock=START + 0.5) is found
    assert reads == []


def test_keys_made_under_an_earlier_pepper_are_found(
    organization_key: Key, service_key: Key, settings: Settings
) -> None:
    settings.KEY_PEPPERS = settings.KEY_PEPPERS | {"next": "p" * 64}

    found = known_keys.find(organization_key[1])

    assert found and found.uid == organization_key[0].uid
    assert known_keys.find_scopes(service_key[1], now=timezone.now()) == service_key[0].scopes


def test_nothing_is_believed_that_was_not_found_to_be_so_within_the_second(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(organization_key[1], monkeypatch)

    assert known_keys.BELIEVED < 1
    assert known_keys.recall(organization_key[1], clock=START + 1) is None


def test_a_look_lets_what_has_not_changed_be_believed_again(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find(organization_key[1], monkeypatch)

    known_keys.look(clock=START + 5)

    assert known_keys.recall(organization_key[1], clock=START + 5.8) is found


def test_a_look_forgets_the_keys_of_an_organization_whose_access_has_changed(
    organization_key: Key, other_organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = keys.create_organization_key(organization=other_organization, name="x", actor=None)
    for secret in (organization_key[1], other):
        find(secret, monkeypatch)
    keys.disable(key=organization_key[0], actor=None)

    known_keys.look(clock=START + 0.3)

    assert known_keys.recall(organization_key[1], clock=START + 0.3) is None
    assert known_keys.recall(other, clock=START + 0.3) is not None


def test_it_looks_at_most_every_quarter_of_a_second(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    find(organization_key[1], monkeypatch)
    del reads[:]

    for tenth in range(10):
        known_keys.look(clock=START + tenth / 10)

    assert len(reads) == 4  # at 0, 0.3, 0.6 and 0.9


def test_one_look_asks_about_all_keys_by_one_query(
    organization: Organization, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    for number in range(5):
        _, secret = keys.create_organization_key(organization=organization, name=f"{number}", actor=None)
        find(secret, monkeypatch)
    del reads[:]

    known_keys.look(clock=START + 1)

    assert len(reads) == 1


def test_a_process_that_knows_nothing_asks_nothing(db: None, reads: list[str]) -> None:
    known_keys.look(clock=START)

    assert reads == []


def test_who_finds_another_looking_does_not_wait(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    find(organization_key[1], monkeypatch)
    del reads[:]

    with known_keys._looking:
        known_keys.look(clock=START + 5)

    assert reads == []


def test_remaining_credits_move_on_without_a_new_version(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(organization_key[1], monkeypatch)
    Entitlement.objects.update(credits_ceiling=1000, credits_used=Decimal("999.5"))

    known_keys.look(clock=START + 0.3)

    found = known_keys.recall(organization_key[1], clock=START + 0.3)
    assert found and found.credits == Decimal("0.5")


def test_a_look_that_fails_lets_nothing_be_believed_longer(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("the database is away")

    find(organization_key[1], monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(prepared, "fetch", refuse)
        known_keys.look(clock=START + 0.5)

    assert known_keys.recall(organization_key[1], clock=START + 1) is None


def test_once_the_database_answers_again_what_is_still_so_is_believed(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find(organization_key[1], monkeypatch)

    known_keys.look(clock=START + 3)

    assert known_keys.recall(organization_key[1], clock=START + 3) is found


def test_keys_nobody_asks_for_are_forgotten(organization_key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    find(organization_key[1], monkeypatch)

    known_keys.look(clock=START + known_keys.KEPT_UNASKED + 1)

    assert known_keys._keys == {}


def test_every_key_is_read_anew_after_a_while_however_often_it_is_asked_for(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(organization_key[1], monkeypatch)

    recalled = []
    for half in range(int(known_keys.KEPT) * 2 + 2):
        clock = START + half / 2
        known_keys.look(clock=clock)
        recalled.append(known_keys.recall(organization_key[1], clock=clock) is not None)

    assert recalled == [True] * int(known_keys.KEPT * 2 + 1) + [False]


def test_unknown_keys_are_not_kept(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_keys.find("sk_live_imported_later") is None
    assert known_keys.find("é\0") is None
    assert known_keys.recall("\ud800", clock=START) is None
    assert known_keys._keys == {}


def test_no_more_keys_are_kept_than_there_is_room_for(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "_MOST_KEYS", 2)
    secrets = [
        keys.create_organization_key(organization=organization, name=f"{number}", actor=None)[1]
        for number in range(3)
    ]

    for secret in [*secrets, *secrets]:
        find(secret, monkeypatch)

    kept = [known_keys.recall(secret, clock=START) is not None for secret in secrets]
    assert kept == [True, True, False]


def test_a_rotated_keys_two_secrets_are_known_apart(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, old = organization_key
    new = keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)
    for secret in (old, new):
        find(secret, monkeypatch)

    until = [
        known_keys.recall(secret, clock=START).old_secret_until  # type: ignore[union-attr]
        for secret in (old, new)
    ]

    assert until == [key.previous_expires_at, None]


def test_a_service_key_is_believed_for_less_than_a_second(
    service_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: START)
        known_keys.find_scopes(service_key[1], now=timezone.now())

    known_keys.look(clock=START + 0.5)

    assert known_keys.recall_scopes(service_key[1], clock=START + 0.8) == service_key[0].scopes
    assert known_keys.recall_scopes(service_key[1], clock=START + 1) is None


def test_a_customers_key_is_no_service_key(organization_key: Key) -> None:
    known_keys.find_scopes(organization_key[1], now=timezone.now())

    assert known_keys._service_keys == {}


@pytest.mark.django_db(transaction=True)
def test_a_change_committed_long_after_it_was_made_is_not_missed(
    organization_key: Key, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = organization_key
    find(secret, monkeypatch)
    changed, commit = Event(), Event()

    def change_slowly() -> None:
        try:
            with transaction.atomic():
                keys.revoke(key=key, actor=None)
                # As if its transaction had begun an hour ago, by a clock that is late besides.
                Organization.objects.update(access_changed_at=timezone.now() - timedelta(hours=1))
                changed.set()
                assert commit.wait(30)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change_slowly)
        try:
            assert changed.wait(30)
            known_keys.look(clock=START + 0.3)
            before = known_keys.recall(secret, clock=START + 0.3)
        finally:
            commit.set()
        changing.result(timeout=30)
    known_keys.look(clock=START + 0.6)

    assert before is not None
    assert known_keys.recall(secret, clock=START + 0.6) is None


@pytest.mark.django_db(transaction=True)
def test_what_was_read_before_a_change_but_kept_after_a_look_is_found_out_by_the_next(
    organization_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow thread puts down what it read before the change, when the look for that change is over."""
    key, secret = organization_key
    fetch: Callable[..., Any] = prepared.fetch

    def overtaken(*query: Any) -> Any:
        rows = fetch(*query)
        keys.revoke(key=key, actor=None)
        known_keys.look(clock=START + 0.1)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "fetch", overtaken)
        find(secret, monkeypatch)
    kept = known_keys.recall(secret, clock=START + 0.2)
    known_keys.look(clock=START + 0.4)

    assert kept is not None
    assert known_keys.recall(secret, clock=START + 0.4) is None
