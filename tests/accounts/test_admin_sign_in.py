import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import time_machine
from django.contrib import admin
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import two_factor
from accounts.models import RecoveryCodes, User
from accounts.recovery_codes import code_hash
from config.backoffice.site import BackOffice
from tests.conftest import PASSWORD, sign_in_verified

LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def fresh_limits(db: None) -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def device(staff: User) -> TOTPDevice:
    return two_factor.enrol_totp(user=staff, actor=None).device


def code_of(device: TOTPDevice) -> str:
    totp = TOTP(device.bin_key)
    totp.time = time.time()
    return f"{totp.token():06d}"


def wrong_code_of(device: TOTPDevice) -> str:
    return f"{(int(code_of(device)) + 1) % 1_000_000:06d}"


def sign_in(client: Client, user: User, code: str, password: str = PASSWORD) -> str:
    """Fill in the form; answers the text of the page that comes."""
    form = {"username": user.email, "password": password, "otp_token": code, "next": "/admin/"}
    return client.post(LOGIN, form, follow=True).content.decode()


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def test_the_site_is_ours_with_the_check_of_one_time_codes() -> None:
    assert type(admin.site._wrapped) is BackOffice  # type: ignore[attr-defined]
    assert admin.site.name == "admin"


def test_password_and_code_let_staff_in(client: Client, staff: User, device: TOTPDevice) -> None:
    page = sign_in(client, staff, code_of(device))

    assert is_in(client)
    assert "Overview" in page


def test_the_sign_in_leads_on_to_the_page_that_was_asked_for(
    client: Client, staff: User, device: TOTPDevice
) -> None:
    asked = reverse("admin:accounts_organization_changelist")
    login = client.get(asked)["Location"]

    form = {"username": staff.email, "password": PASSWORD, "otp_token": code_of(device), "next": asked}
    response = client.post(login, form)

    assert response["Location"] == asked


@pytest.mark.parametrize("code", ["", "000", "abcdef"])
def test_a_password_alone_does_not(client: Client, staff: User, device: TOTPDevice, code: str) -> None:
    sign_in(client, staff, code)

    assert not is_in(client)


def test_a_wrong_code_does_not(client: Client, staff: User, device: TOTPDevice) -> None:
    page = sign_in(client, staff, wrong_code_of(device))

    assert "That code is wrong" in page
    assert not is_in(client)


def test_the_password_is_never_sent_back(client: Client, staff: User, device: TOTPDevice) -> None:
    page = sign_in(client, staff, wrong_code_of(device))

    assert PASSWORD not in page


def test_a_code_works_once(client: Client, staff: User, device: TOTPDevice) -> None:
    code = code_of(device)
    sign_in(client, staff, code)
    other = Client()

    sign_in(other, staff, code)

    assert not is_in(other)


def test_after_a_wrong_code_the_next_has_to_wait(client: Client, staff: User, device: TOTPDevice) -> None:
    with time_machine.travel(datetime.now(UTC), tick=False):
        sign_in(client, staff, wrong_code_of(device))
        page = sign_in(client, staff, code_of(device))

    assert "Wait 1 second before you try again" in page
    assert not is_in(client)


def test_wrong_passwords_are_limited(client: Client, staff: User, device: TOTPDevice) -> None:
    for _ in range(10):
        sign_in(client, staff, code_of(device), password="guess")

    page = sign_in(client, staff, code_of(device))

    assert "Too many failed login attempts" in page
    assert not is_in(client)


def test_the_code_of_another_persons_device_does_not_count(
    client: Client, staff: User, device: TOTPDevice, owner: User
) -> None:
    others = two_factor.enrol_totp(user=owner, actor=None).device

    sign_in(client, staff, code_of(others))

    assert not is_in(client)


def test_a_code_of_either_of_two_devices_counts(client: Client, staff: User, device: TOTPDevice) -> None:
    second = two_factor.enrol_totp(user=staff, actor=None, name="Tablet").device

    sign_in(client, staff, code_of(second))

    assert is_in(client)
    device.refresh_from_db()
    assert device.throttling_failure_count == 0


def test_a_recovery_code_lets_staff_in_once(client: Client, staff: User, device: TOTPDevice) -> None:
    code = "k3mz-7qwx-p04d-vt9h"
    RecoveryCodes.objects.create(user=staff, hashes=[code_hash(code)])
    other = Client()

    sign_in(client, staff, code)
    sign_in(other, staff, code)

    assert is_in(client)
    assert not is_in(other)


def test_staff_who_gave_their_code_on_the_customers_pages_are_in(
    client: Client, staff: User, device: TOTPDevice
) -> None:
    client.post("/accounts/login/", {"login": staff.email, "password": PASSWORD})
    client.post("/accounts/code/", {"code": code_of(device)})

    assert is_in(client)


def test_staff_signed_in_on_the_pages_are_asked_for_the_code_only(
    client: Client, staff: User, device: TOTPDevice
) -> None:
    client.force_login(staff)

    page = client.get(LOGIN).content.decode()
    client.post(LOGIN, {"otp_token": code_of(device)})

    assert 'name="password"' not in page
    assert 'name="otp_token"' in page
    assert is_in(client)


def test_signed_in_staff_without_the_code_are_refused(
    client: Client, staff: User, device: TOTPDevice
) -> None:
    client.force_login(staff)

    client.post(LOGIN, {"otp_token": wrong_code_of(device)})

    assert not is_in(client)


@pytest.mark.parametrize("is_signed_in", [True, False])
def test_staff_without_a_device_are_told_the_way_to_one(
    client: Client, staff: User, is_signed_in: bool
) -> None:
    if is_signed_in:
        client.force_login(staff)
        page = client.get(LOGIN).content.decode()
    else:
        page = sign_in(client, staff, "123456")

    assert 'href="/me/two-factor/set-up/"' in page
    assert not is_in(client)


def test_who_has_a_device_is_not_told_without_the_password(client: Client, staff: User) -> None:
    page = sign_in(client, staff, "", password="guess")

    assert "/me/two-factor/set-up/" not in page


def test_staff_with_a_password_only_are_refused_everywhere(client: Client, staff: User) -> None:
    client.force_login(staff)

    for url in pages():
        response = client.get(url)
        assert response.status_code == 302, url
        assert response["Location"].startswith(LOGIN), url


def test_verified_customers_are_refused_everywhere(client: Client, owner: User) -> None:
    sign_in_verified(client, owner)

    for url in pages():
        response = client.get(url)
        assert response.status_code == 302, url
        assert response["Location"].startswith(LOGIN), url


def test_verified_staff_get_in_everywhere(back_office: Client) -> None:
    for url in pages():
        assert back_office.get(url).status_code == 200, url


def test_switched_off_staff_are_out_at_once(back_office: Client, staff: User) -> None:
    staff.is_active = False
    staff.save()

    assert not is_in(back_office)


def test_a_removed_device_ends_the_sessions_it_verified(back_office: Client, staff: User) -> None:
    two_factor.remove(device=TOTPDevice.objects.get(user=staff), actor=None)

    assert not is_in(back_office)


def test_somebody_signed_in_may_change_over_to_another_account(
    client: Client, owner: User, staff: User, device: TOTPDevice
) -> None:
    client.force_login(owner)

    page = client.get(LOGIN).content.decode()
    sign_in(client, staff, code_of(device))

    assert re.search(r"signed in as\s+a customer", page)
    assert is_in(client)


def pages() -> list[str]:
    """The overview and the list of each model."""
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in admin.site._registry
    ]
    return [reverse("admin:index"), reverse("admin:password_change"), *lists]
