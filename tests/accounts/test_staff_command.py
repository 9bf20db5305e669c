import io
import re
import time
from base64 import b32decode
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import audit
from accounts.models import AuditEntry, User
from tests.conftest import PASSWORD


def create_staff(email: str, *arguments: str) -> str:
    output = io.StringIO()
    call_command("create_staff", "--email", email, *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


def test_somebody_new_becomes_a_superuser_with_a_verified_address(db: None) -> None:
    create_staff("sam@example.com", "--name", "Sam", "--password", PASSWORD)

    user = User.objects.get()
    assert (user.email, user.name, user.is_staff, user.is_superuser) == ("sam@example.com", "Sam", True, True)
    assert user.check_password(PASSWORD)
    assert EmailAddress.objects.get(user=user).verified


def test_the_printed_secret_makes_codes_that_the_device_takes(db: None) -> None:
    printed = create_staff("sam@example.com", "--password", PASSWORD)

    secret = re.search(r"Secret: (\S+)", printed)
    assert secret
    totp = TOTP(b32decode(secret[1]))
    totp.time = time.time()
    assert TOTPDevice.objects.get().verify_token(totp.token())


def test_a_url_and_a_drawing_for_the_authenticator_app_are_printed(db: None) -> None:
    printed = create_staff("sam@example.com", "--password", PASSWORD)

    url = urlsplit(printed.strip().splitlines()[-1])
    secret = re.search(r"Secret: (\S+)", printed)
    assert (url.scheme, url.netloc, url.path) == ("otpauth", "totp", "/Countinghouse%3Asam%40example.com")
    assert secret
    assert parse_qs(url.query)["secret"] == [secret[1]]
    assert printed.count("█") > 100


def test_the_new_device_is_audited_without_its_secret(db: None) -> None:
    create_staff("sam@example.com", "--password", PASSWORD)

    entry = AuditEntry.objects.get(action=audit.Action.STAFF_DEVICE_ADDED)
    assert (entry.actor_name, entry.target_name) == ("system", "sam@example.com")
    assert TOTPDevice.objects.get().key not in str(vars(entry))


def test_without_a_terminal_a_password_is_made_up_and_printed_once(db: None) -> None:
    printed = create_staff("sam@example.com")

    password = re.search(r"Password, shown once: (\S+)", printed)
    assert password
    assert User.objects.get().check_password(password[1])


def test_a_weak_password_is_refused_and_nothing_is_made(db: None) -> None:
    with pytest.raises(CommandError, match="too short"):
        create_staff("sam@example.com", "--password", "secret")

    assert not User.objects.exists()


def test_what_is_no_address_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="valid email"):
        create_staff("sam", "--password", PASSWORD)


def test_a_customer_is_promoted_and_keeps_the_password(owner: User) -> None:
    create_staff(owner.email.upper())

    owner.refresh_from_db()
    assert (owner.is_staff, owner.is_superuser) == (True, True)
    assert owner.check_password(PASSWORD)
    assert TOTPDevice.objects.filter(user=owner).count() == 1


def test_no_superuser_makes_plain_staff(db: None) -> None:
    create_staff("sam@example.com", "--password", PASSWORD, "--no-superuser")

    assert not User.objects.get().is_superuser


def test_a_second_run_says_so_and_changes_nothing(db: None) -> None:
    create_staff("sam@example.com", "--password", PASSWORD)
    entries = AuditEntry.objects.count()

    printed = create_staff("sam@example.com", "--password", "another long password")

    assert "nothing was changed" in printed
    assert "Secret" not in printed
    assert User.objects.get().check_password(PASSWORD)
    assert AuditEntry.objects.count() == entries


def test_another_device_is_enrolled_when_asked_for(db: None) -> None:
    create_staff("sam@example.com", "--password", PASSWORD, "--no-superuser")

    create_staff("sam@example.com", "--new-device")

    assert TOTPDevice.objects.count() == 2
    assert not User.objects.get().is_superuser


def test_with_a_group_somebody_new_is_in_it_and_no_superuser(db: None) -> None:
    create_staff("sam@example.com", "--password", PASSWORD, "--group", "Support", "--group", "Engineer")

    user = User.objects.get()
    assert (user.is_staff, user.is_superuser) == (True, False)
    assert set(user.groups.values_list("name", flat=True)) == {"Support", "Engineer"}
    assert AuditEntry.objects.get(action=audit.Action.USER_CREATED).after["groups"] == ["Engineer", "Support"]


def test_somebody_on_the_staff_is_put_in_a_further_group_and_keeps_the_device(db: None) -> None:
    create_staff("sam@example.com", "--password", PASSWORD, "--group", "Support")

    printed = create_staff("sam@example.com", "--group", "Engineer")

    assert "Secret" not in printed
    assert set(User.objects.get().groups.values_list("name", flat=True)) == {"Support", "Engineer"}
    assert TOTPDevice.objects.count() == 1


def test_a_group_that_there_is_not_is_refused_with_those_there_are(db: None) -> None:
    with pytest.raises(CommandError, match="There are: Administrator, Billing desk, Engineer, Support"):
        create_staff("sam@example.com", "--password", PASSWORD, "--group", "Kings")

    assert not User.objects.exists()
