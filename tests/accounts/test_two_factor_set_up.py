"""Turning two-factor authentication on and off, and the codes for a lost device."""

import re
import threading
import time
from base64 import b32decode
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import two_factor
from accounts.audit import Actor
from accounts.models import AuditEntry, Notification, Organization, RecoveryCodes, User
from tests.conftest import PASSWORD

OVERVIEW = "/me/two-factor/"
SET_UP = "/me/two-factor/set-up/"
CODES = "/me/two-factor/recovery-codes/"
DISABLE = "/me/two-factor/disable/"
RECOVERY_CODE = re.compile(r"\b(?:[0-9a-z]{4}-){3}[0-9a-z]{4}\b")


@pytest.fixture(autouse=True)
def fresh_limits(db: None) -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def sure(client: Client, owner: User) -> Client:
    """The owner's browser, just after they typed their password once more."""
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


@pytest.fixture
def enrolled(sure: Client, owner: User) -> tuple[Client, list[str]]:
    """The browser in which the owner has set it up, with their recovery codes."""
    page = sure.post(SET_UP, {"code": code_for(secret_on(sure))}).content.decode()
    return sure, codes_on(page)


@pytest.fixture
def elsewhere(owner: User) -> Client:
    """Another browser of the owner's, where the password has been typed."""
    other = Client()
    other.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    other.get(OVERVIEW)
    return other


def secret_on(client: Client) -> str:
    (secret,) = re.findall(r'id="secret" data-secret>([A-Z2-7]+)<', client.get(SET_UP).content.decode())
    return secret


def code_for(secret: str) -> str:
    totp = TOTP(b32decode(secret))
    totp.time = time.time()
    return f"{totp.token():06d}"


def next_code_of(user: User) -> str:
    """The code that their app shows half a minute later: the present one was used for setting up."""
    device = TOTPDevice.objects.get(user=user)
    totp = TOTP(device.bin_key)
    totp.time = time.time() + 30
    return f"{totp.token():06d}"


def codes_on(page: str) -> list[str]:
    return list(dict.fromkeys(RECOVERY_CODE.findall(page)))


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("id").values_list("action", flat=True))


def test_setting_up_asks_for_the_password_again(client: Client, owner: User) -> None:
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    response = client.get(SET_UP)

    assert response["Location"].startswith("/accounts/reauthenticate/")


def test_the_secret_is_shown_as_drawing_and_text(sure: Client, owner: User) -> None:
    page = sure.get(SET_UP).content.decode()

    assert re.search(r'<svg [^>]*viewBox="0 0 \d+ \d+"', page)
    assert "style=" not in page
    assert secret_on(sure) in page


def test_a_code_of_the_secret_turns_it_on(sure: Client, owner: User) -> None:
    response = sure.post(SET_UP, {"code": code_for(secret_on(sure))})

    page = response.content.decode()
    assert len(codes_on(page)) == 10
    assert "no-store" in response["Cache-Control"]
    assert two_factor.has_device(owner)
    assert sure.session[DEVICE_ID_SESSION_KEY] == TOTPDevice.objects.get().persistent_id


def test_what_turned_it_on_signs_in_no_more(enrolled: tuple[Client, list[str]], owner: User) -> None:
    device = TOTPDevice.objects.get()
    other = Client()
    other.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    totp = TOTP(device.bin_key)
    totp.time = time.time()
    other.post("/accounts/code/", {"code": f"{totp.token():06d}"})

    assert not get_user(other).is_authenticated


def test_a_wrong_code_changes_nothing(sure: Client, owner: User) -> None:
    secret = secret_on(sure)

    response = sure.post(SET_UP, {"code": "abc"})

    assert response.status_code == 400
    assert not TOTPDevice.objects.exists()
    assert not RecoveryCodes.objects.exists()
    assert secret_on(sure) == secret


def test_an_abandoned_set_up_leaves_nothing(sure: Client, owner: User) -> None:
    secret = secret_on(sure)
    sure.post("/accounts/logout/")

    response = Client().post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    assert response["Location"] == "/"
    assert not TOTPDevice.objects.exists()
    sure.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    sure.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert secret_on(sure) != secret


def test_a_second_device_is_not_set_up(enrolled: tuple[Client, list[str]]) -> None:
    client, _ = enrolled

    response = client.post(SET_UP, {"code": "123456"})

    assert response["Location"] == OVERVIEW
    assert TOTPDevice.objects.count() == 1


def test_the_codes_are_kept_nowhere(
    enrolled: tuple[Client, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    client, codes = enrolled

    kept = str(RecoveryCodes.objects.values().get()) + str(list(AuditEntry.objects.values()))
    kept += str(dict(client.session)) + client.get(OVERVIEW).content.decode() + caplog.text
    assert not [code for code in codes if code in kept or code.replace("-", "") in kept]
    assert TOTPDevice.objects.get().key not in kept


def test_turning_on_is_recorded_and_told(enrolled: tuple[Client, list[str]], owner: User) -> None:
    entry = AuditEntry.objects.get(action="two_factor.enabled")

    assert entry.actor == owner
    assert entry.after == {"device": "Authenticator app", "recovery_codes": 10}
    notice = Notification.objects.get(user=owner)
    assert (notice.kind, notice.title) == ("security", "Two-factor authentication is on")


def test_turning_it_on_ends_the_other_sessions(sure: Client, owner: User, elsewhere: Client) -> None:
    sure.post(SET_UP, {"code": code_for(secret_on(sure))})

    assert not get_user(elsewhere).is_authenticated
    assert get_user(sure) == owner


def test_turning_it_off_ends_the_other_sessions(
    enrolled: tuple[Client, list[str]], owner: User, elsewhere: Client
) -> None:
    client, codes = enrolled
    elsewhere.post("/accounts/code/", {"code": codes[0]})
    elsewhere.get(OVERVIEW)
    was_in = get_user(elsewhere) == owner

    client.post(DISABLE, {"code": codes[1]})

    assert was_in
    assert not get_user(elsewhere).is_authenticated
    assert get_user(client) == owner


def test_new_codes_replace_the_old_ones(enrolled: tuple[Client, list[str]], owner: User) -> None:
    client, old = enrolled

    page = client.post(CODES, {"code": next_code_of(owner)}).content.decode()

    new = codes_on(page)
    assert len(new) == 10
    assert not set(new) & set(old)
    with pytest.raises(two_factor.WrongCode):
        two_factor.verify(user=owner, code=old[0], actor=None)
    entry = AuditEntry.objects.get(action="recovery_codes.replaced")
    assert (entry.before, entry.after) == ({"recovery_codes": 10}, {"recovery_codes": 10})


@pytest.mark.parametrize("path", [CODES, DISABLE])
def test_a_wrong_code_renews_and_ends_nothing(
    enrolled: tuple[Client, list[str]], owner: User, path: str
) -> None:
    client, _ = enrolled
    before = RecoveryCodes.objects.get().hashes

    response = client.post(path, {"code": "12345"})

    assert response.status_code == 400
    assert RecoveryCodes.objects.get().hashes == before
    assert two_factor.has_device(owner)


def test_turning_off_takes_a_code_and_forgets_everything(
    enrolled: tuple[Client, list[str]], owner: User
) -> None:
    client, _ = enrolled

    client.post(DISABLE, {"code": next_code_of(owner)})

    assert not TOTPDevice.objects.exists()
    assert not RecoveryCodes.objects.exists()
    entry = AuditEntry.objects.get(action="two_factor.disabled")
    assert entry.before == {"device": "Authenticator app", "recovery_codes": 10}
    assert not client.get(OVERVIEW).wsgi_request.user.is_verified()  # type: ignore[union-attr]


def test_a_recovery_code_turns_it_off_too(enrolled: tuple[Client, list[str]], owner: User) -> None:
    client, codes = enrolled

    client.post(DISABLE, {"code": codes[0]})

    assert not two_factor.has_device(owner)
    assert actions()[-2:] == ["recovery_code.used", "two_factor.disabled"]


def test_the_page_says_whom_turning_off_shuts_out(
    enrolled: tuple[Client, list[str]], organization: Organization
) -> None:
    client, _ = enrolled
    Organization.objects.update(two_factor_required_from=datetime(2026, 1, 1, tzinfo=UTC))

    page = " ".join(client.get(DISABLE).content.decode().split())

    assert "<strong>Northwind</strong> requires it: you are shut out of it at once" in page


@pytest.mark.parametrize("path", [CODES, DISABLE])
def test_without_a_device_there_is_nothing_to_renew_or_end(client: Client, owner: User, path: str) -> None:
    client.force_login(owner)

    assert client.get(path)["Location"] == OVERVIEW
    assert client.post(path, {"code": "123456"})["Location"] == OVERVIEW


def test_the_overview_tells_the_state(enrolled: tuple[Client, list[str]], owner: User) -> None:
    client, codes = enrolled
    two_factor.verify(user=owner, code=codes[0], actor=None)

    page = client.get(OVERVIEW).content.decode()

    assert "Authenticator app" in page
    assert "9 left" in page


def test_staff_who_set_it_up_may_open_the_back_office(client: Client, staff: User) -> None:
    client.post("/accounts/login/", {"login": staff.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    page = client.post(SET_UP, {"code": code_for(secret_on(client))}).content.decode()

    assert 'href="/admin/"' in page
    assert client.get("/admin/").status_code == 200


def test_with_the_last_device_the_recovery_codes_go(enrolled: tuple[Client, list[str]], owner: User) -> None:
    client, _ = enrolled
    second = two_factor.enrol_totp(user=owner, actor=None, name="Tablet").device

    two_factor.remove(device=second, actor=None)
    kept = RecoveryCodes.objects.exists()
    two_factor.remove(device=TOTPDevice.objects.get(), actor=None)

    assert kept
    assert not RecoveryCodes.objects.exists()
    assert not get_user(client).is_authenticated
    assert Notification.objects.filter(title__contains="removed a device").count() == 2


@pytest.mark.django_db(transaction=True)
def test_one_recovery_code_tried_by_many_at_once_works_once(owner: User) -> None:
    _, key_codes = _set_up(owner)
    answers: list[bool] = []
    start = threading.Barrier(4)

    def use() -> None:
        start.wait()
        try:
            two_factor.verify(user=owner, code=key_codes[0], actor=Actor(owner))
            answers.append(True)
        except two_factor.CodeRefused:
            answers.append(False)
        finally:
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [False, False, False, True]
    assert two_factor.codes_left(owner) == 9
    assert actions().count("recovery_code.used") == 1


@pytest.mark.django_db(transaction=True)
def test_unlocked_copies_spend_a_code_once(owner: User) -> None:
    _, codes = _set_up(owner)
    first, second = RecoveryCodes.objects.get(), RecoveryCodes.objects.get()

    answers = [first.verify_token(codes[0]), second.verify_token(codes[0])]

    assert answers == [True, False]
    assert two_factor.codes_left(owner) == 9


@pytest.mark.django_db(transaction=True)
def test_setting_up_twice_at_once_makes_one_device(owner: User) -> None:
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def attempt() -> None:
        key, offer = two_factor.offer(owner)
        start.wait()
        try:
            two_factor.set_up(user=owner, key=key, code=code_for(offer.secret), actor=Actor(owner))
            outcomes.append("done")
        except two_factor.AlreadySetUp:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["done", "refused"]
    assert TOTPDevice.objects.count() == 1


def _set_up(user: User) -> tuple[TOTPDevice, list[str]]:
    key, offer = two_factor.offer(user)
    return two_factor.set_up(user=user, key=key, code=code_for(offer.secret), actor=Actor(user))
