"""Signing in with a second factor, through every door."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.internal.flows.login import complete_login
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth import get_user
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.http import HttpRequest, HttpResponseBase
from django.test import Client
from django.urls import include, path
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from accounts import two_factor
from accounts.models import AuditEntry, Notification, Organization, RecoveryCodes, User
from accounts.recovery_codes import code_hash
from tests.conftest import PASSWORD

CHALLENGE = "/accounts/code/"
LOGIN = "/accounts/login/"


@pytest.fixture(autouse=True)
def fresh_limits(db: None) -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def device(owner: User) -> TOTPDevice:
    return two_factor.enrol_totp(user=owner, actor=None).device


@pytest.fixture
def recovery_code(owner: User) -> str:
    code = "k3mz-7qwx-p04d-vt9h"
    RecoveryCodes.objects.create(user=owner, hashes=[code_hash(code), code_hash("another")])
    return code


def arrive(request: HttpRequest) -> HttpResponseBase:
    """What happens when somebody comes back from a provider that knows them."""
    login = SocialLogin(
        account=SocialAccount(provider="github", uid="1"),
        provider=get_adapter().get_provider(request, "github"),
    )
    return complete_login(request, login)


urlpatterns = [path("arrive/", arrive), path("", include("config.urls"))]


def code_of(device: TOTPDevice) -> str:
    totp = TOTP(device.bin_key)
    totp.time = time.time()
    return f"{totp.token():06d}"


def wrong_code_of(device: TOTPDevice) -> str:
    return f"{(int(code_of(device)) + 1) % 1_000_000:06d}"


def by_password(client: Client, user: User) -> str:
    response = client.post(LOGIN, {"login": user.email, "password": PASSWORD, "next": "/me/two-factor/"})
    return response["Location"]


def is_in(client: Client, user: User) -> bool:
    return get_user(client) == user


def test_a_password_alone_leads_to_the_challenge(client: Client, owner: User, device: TOTPDevice) -> None:
    location = by_password(client, owner)

    assert location == CHALLENGE
    assert 'autocomplete="one-time-code"' in client.get(CHALLENGE).content.decode()
    assert not is_in(client, owner)


def test_a_right_code_signs_in_verified_and_leads_on(client: Client, owner: User, device: TOTPDevice) -> None:
    by_password(client, owner)

    response = client.post(CHALLENGE, {"code": code_of(device)})

    assert response["Location"] == "/me/two-factor/"
    assert is_in(client, owner)
    assert client.session[DEVICE_ID_SESSION_KEY] == device.persistent_id
    assert client.get("/me/two-factor/").wsgi_request.user.is_verified()  # type: ignore[union-attr]


def test_spaces_in_a_code_do_not_matter(client: Client, owner: User, device: TOTPDevice) -> None:
    by_password(client, owner)

    code = code_of(device)
    client.post(CHALLENGE, {"code": f" {code[:3]} {code[3:]} "})

    assert is_in(client, owner)


def test_without_a_device_nothing_is_asked(client: Client, owner: User) -> None:
    location = by_password(client, owner)

    assert location == "/me/two-factor/"
    assert is_in(client, owner)


def test_recovery_codes_alone_are_no_second_factor(client: Client, owner: User, recovery_code: str) -> None:
    by_password(client, owner)

    assert is_in(client, owner)


def test_the_half_signed_in_are_nobody(
    client: Client, owner: User, device: TOTPDevice, organization: Organization
) -> None:
    by_password(client, owner)

    for page in ("/", "/me/", "/me/two-factor/", f"/o/{organization.uid}/api-keys/"):
        assert client.get(page)["Location"].startswith(LOGIN)
    assert client.get("/api/v1/jobs").status_code == 401
    assert client.get(LOGIN)["Location"] == CHALLENGE


def test_a_new_password_by_mail_still_takes_the_code(
    client: Client, owner: User, device: TOTPDevice, mailoutbox: list[EmailMessage], settings: Settings
) -> None:
    settings.ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
    client.post("/accounts/password/reset/", {"email": owner.email})
    (link,) = re.findall(r"https?://[^/\s]+(/accounts/password/reset/key/\S+)", str(mailoutbox[-1].body))
    form = client.get(link, follow=True).redirect_chain[-1][0]

    response = client.post(form, {"password1": "another long one", "password2": "another long one"})

    assert response["Location"] == CHALLENGE
    assert not is_in(client, owner)
    client.post(CHALLENGE, {"code": code_of(device)})
    assert is_in(client, owner)


def test_confirming_an_address_still_takes_the_code(
    client: Client, owner: User, device: TOTPDevice, mailoutbox: list[EmailMessage]
) -> None:
    EmailAddress.objects.update(verified=False)
    by_password(client, owner)
    (link,) = re.findall(r"https?://[^/\s]+(/accounts/confirm-email/\S+)", str(mailoutbox[-1].body))

    client.post(link)
    by_password(client, owner)

    assert not is_in(client, owner)
    client.post(CHALLENGE, {"code": code_of(device)})
    assert is_in(client, owner)


@pytest.mark.urls(__name__)
def test_signing_in_by_an_account_elsewhere_still_takes_the_code(
    client: Client, owner: User, device: TOTPDevice, settings: Settings
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {"github": {"APPS": [{"client_id": "id", "secret": "secret"}]}}
    SocialAccount.objects.create(user=owner, provider="github", uid="1")

    response = client.get("/arrive/")

    assert response["Location"] == CHALLENGE
    assert not is_in(client, owner)
    client.post(CHALLENGE, {"code": code_of(device)})
    assert is_in(client, owner)


def test_a_code_works_once(client: Client, owner: User, device: TOTPDevice) -> None:
    code = code_of(device)
    by_password(client, owner)
    client.post(CHALLENGE, {"code": code})
    other = Client()
    by_password(other, owner)

    page = other.post(CHALLENGE, {"code": code})

    assert "wrong, or it was used before" in page.content.decode()
    assert not is_in(other, owner)


@pytest.mark.parametrize(
    "code", ["000", "abcdef", "12345678901234567890", "nul\0", "k3mz-7qwx-p04d-vt9h", "٣٤٥٦٧٨"]
)
def test_what_is_no_code_of_theirs_does_not_count(
    client: Client, owner: User, device: TOTPDevice, code: str
) -> None:
    by_password(client, owner)

    response = client.post(CHALLENGE, {"code": code})

    assert response.status_code == 400
    assert not is_in(client, owner)


def test_the_code_of_another_person_does_not_count(
    client: Client, owner: User, device: TOTPDevice, outsider: User
) -> None:
    others = two_factor.enrol_totp(user=outsider, actor=None).device
    by_password(client, owner)

    client.post(CHALLENGE, {"code": code_of(others)})

    assert not is_in(client, owner)


def test_after_a_wrong_code_the_next_has_to_wait(client: Client, owner: User, device: TOTPDevice) -> None:
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        by_password(client, owner)
        wrong = client.post(CHALLENGE, {"code": wrong_code_of(device)})
        early = client.post(CHALLENGE, {"code": code_of(device)})
        still_out = not is_in(client, owner)
        clock.shift(timedelta(seconds=2))
        client.post(CHALLENGE, {"code": code_of(device)})

    assert "That code is wrong, or it was used before." in wrong.content.decode()
    assert "Wait 1 second before you try again." in early.content.decode()
    assert still_out
    assert is_in(client, owner)


def test_an_address_that_tries_many_codes_is_stopped(
    client: Client, owner: User, device: TOTPDevice, settings: Settings
) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"two_factor": "2/m/ip"}
    by_password(client, owner)

    statuses = [client.post(CHALLENGE, {"code": "000000"}).status_code for _ in range(3)]

    assert statuses == [400, 400, 429]


@pytest.mark.parametrize(
    "typed", ["k3mz-7qwx-p04d-vt9h", "K3MZ7QWXP04DVT9H", " k3mz 7qwx p04d vt9h ", "k3mz-7qwx-pO4d-vt9h"]
)
def test_a_recovery_code_signs_in_however_it_is_typed(
    client: Client, owner: User, device: TOTPDevice, recovery_code: str, typed: str
) -> None:
    by_password(client, owner)

    client.post(CHALLENGE + "?recovery", {"code": typed})

    assert is_in(client, owner)
    assert client.get("/me/two-factor/").wsgi_request.user.is_verified()  # type: ignore[union-attr]


def test_a_recovery_code_works_once(
    client: Client, owner: User, device: TOTPDevice, recovery_code: str
) -> None:
    by_password(client, owner)
    client.post(CHALLENGE, {"code": recovery_code})
    other = Client()
    by_password(other, owner)

    page = other.post(CHALLENGE, {"code": recovery_code})

    assert "That code is wrong, or it was used before." in page.content.decode()
    assert not is_in(other, owner)


def test_a_used_recovery_code_is_recorded_and_told(
    client: Client, owner: User, device: TOTPDevice, recovery_code: str
) -> None:
    by_password(client, owner)

    client.post(CHALLENGE, {"code": recovery_code})

    entry = AuditEntry.objects.get(action="recovery_code.used")
    assert (entry.actor, entry.after, entry.ip) == (owner, {"recovery_codes": 1}, "127.0.0.1")
    assert recovery_code not in str(vars(entry))
    notice = Notification.objects.get(user=owner)
    assert notice.title == "A recovery code of yours was used"
    assert notice.kind == "security"


def test_wrong_recovery_codes_do_not_hold_up_the_app(
    client: Client, owner: User, device: TOTPDevice, recovery_code: str
) -> None:
    by_password(client, owner)
    client.post(CHALLENGE, {"code": "wrong-wrong-wrong"})

    client.post(CHALLENGE, {"code": code_of(device)})

    assert is_in(client, owner)


def test_a_sign_in_that_takes_too_long_starts_again(client: Client, owner: User, device: TOTPDevice) -> None:
    by_password(client, owner)

    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=False):
        response = client.post(CHALLENGE, {"code": code_of(device)})

    assert response["Location"].startswith(LOGIN)
    assert not is_in(client, owner)


def test_a_sign_in_begun_with_an_old_password_starts_again(
    client: Client, owner: User, device: TOTPDevice
) -> None:
    by_password(client, owner)
    owner.set_password("another long one")
    owner.save()

    response = client.post(CHALLENGE, {"code": code_of(device)})

    assert response["Location"].startswith(LOGIN)
    assert not is_in(client, owner)


def test_somebody_switched_off_meanwhile_stays_out(client: Client, owner: User, device: TOTPDevice) -> None:
    by_password(client, owner)
    User.objects.update(is_active=False)

    client.post(CHALLENGE, {"code": code_of(device)})

    assert not is_in(client, owner)


def test_the_challenge_is_for_those_who_showed_a_password(client: Client, device: TOTPDevice) -> None:
    response = client.post(CHALLENGE, {"code": code_of(device)})

    assert response["Location"].startswith(LOGIN)


def test_who_cancels_may_sign_in_as_somebody_else(
    client: Client, owner: User, device: TOTPDevice, outsider: User
) -> None:
    by_password(client, owner)

    cancelled = client.post(CHALLENGE + "cancel/")
    by_password(client, outsider)

    assert cancelled["Location"] == LOGIN
    assert is_in(client, outsider)


def test_a_code_shown_for_one_person_lets_in_nobody_else(
    client: Client, owner: User, device: TOTPDevice, outsider: User
) -> None:
    two_factor.enrol_totp(user=outsider, actor=None)
    by_password(client, owner)
    client.post(CHALLENGE, {"code": wrong_code_of(device)})
    client.post(CHALLENGE + "cancel/")

    location = by_password(client, outsider)
    client.post(CHALLENGE, {"code": code_of(device)})

    assert location == CHALLENGE
    assert not is_in(client, outsider)
    assert not is_in(client, owner)


def test_somebody_signed_in_is_led_past_the_challenge(client: Client, owner: User) -> None:
    client.force_login(owner)

    assert client.get(CHALLENGE)["Location"] == "/"
