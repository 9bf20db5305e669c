"""Getting in, getting out, and getting a new password."""

import re

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from accounts.models import Organization, User
from tests.conftest import PASSWORD


def test_somebody_signs_in_and_gets_where_they_wanted(
    client: Client, owner: User, organization: Organization
) -> None:
    wanted = f"/o/{organization.uid}/api-keys/"

    response = client.post(
        "/accounts/login/", {"login": "OLIVIA@example.com", "password": PASSWORD, "next": wanted}
    )

    assert response["Location"] == wanted
    assert client.get(wanted).status_code == 200


@pytest.mark.parametrize("address", ["olivia@example.com", "nobody@example.com"])
def test_a_wrong_password_and_an_unknown_address_get_one_answer(
    client: Client, owner: User, address: str
) -> None:
    response = client.post("/accounts/login/", {"login": address, "password": "wrong"})

    assert response.context["form"].non_field_errors() == [
        "The email address and/or password you specified are not correct."
    ]


def test_somebody_switched_off_stays_out(client: Client, owner: User) -> None:
    User.objects.update(is_active=False)

    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    assert "_auth_user_id" not in client.session


def test_signing_out_takes_a_button_not_a_link(client: Client, owner: User) -> None:
    client.force_login(owner)

    asked = client.get("/accounts/logout/")
    still_in = "_auth_user_id" in client.session
    client.post("/accounts/logout/")

    assert b"Sign out?" in asked.content
    assert still_in
    assert "_auth_user_id" not in client.session


def test_where_sign_up_is_closed_nobody_signs_up_alone(client: Client, db: None, settings: Settings) -> None:
    settings.SIGN_UP_OPEN = False

    page = client.get("/accounts/signup/").content
    client.post(
        "/accounts/signup/", {"name": "New", "email": "new@example.com", "password1": "a long password"}
    )

    assert b"Ask somebody who manages your organization" in page
    assert not User.objects.exists()


def test_a_forgotten_password_is_replaced_by_mail(
    client: Client,
    owner: User,
    organization: Organization,
    mailoutbox: list[EmailMessage],
    settings: Settings,
) -> None:
    client.post("/accounts/password/reset/", {"email": owner.email})
    (mail,) = mailoutbox
    (link,) = re.findall(rf"{settings.BASE_URL}(/\S+)", str(mail.body))

    form = client.get(link, follow=True).redirect_chain[-1][0]
    done = client.post(form, {"password1": "another long one", "password2": "another long one"}, follow=True)

    assert mail.subject == "Choose a new password · Countinghouse"
    assert b"Your new password is saved" in done.content
    assert b"This link works no more" in client.get(link, follow=True).content
    assert client.login(email=owner.email, password="another long one")


def test_a_stranger_who_guesses_does_not_lock_the_owner_out(client: Client, owner: User) -> None:
    stranger = Client(REMOTE_ADDR="198.51.100.7")
    for _ in range(7):
        guess = stranger.post("/accounts/login/", {"login": owner.email, "password": "wrong"})

    response = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})

    assert "Too many failed login attempts" in guess.content.decode()
    assert response.status_code == 302
