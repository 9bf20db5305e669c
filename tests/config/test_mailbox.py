"""The demo's mailbox shows the mail that was written, and nothing else of the disk."""

from pathlib import Path

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from config.mailbox import EmailBackend

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    settings.DEMO = True
    settings.EMAIL_URL = ""
    return tmp_path / "mail"


def send(folder: Path, subject: str, html: str = "") -> None:
    message = mail.EmailMultiAlternatives(
        subject, f"Text of {subject}: https://example.com/x", "a@example.com", ["b@example.com"]
    )
    if html:
        message.attach_alternative(html, "text/html")
    EmailBackend(file_path=str(folder)).send_messages([message])


def test_it_is_friendly_when_empty(client: Client, folder: Path) -> None:
    response = client.get("/demo/mail/")

    assert b"No mail yet" in response.content


def test_it_lists_messages_and_shows_one(client: Client, folder: Path) -> None:
    send(folder, "Grüße")

    (listed,) = client.get("/demo/mail/").context["mails"]
    page = client.get(f"/demo/mail/{listed.file}/{listed.number}/").content.decode()

    assert listed.subject == "Grüße"
    assert "Text of Grüße" in page
    assert 'href="https://example.com/x"' in page


def test_html_is_shown_in_a_frame_that_may_do_nothing(client: Client, folder: Path) -> None:
    send(folder, "Letter", html="<script>alert(1)</script>")

    (listed,) = client.get("/demo/mail/").context["mails"]
    page = client.get(f"/demo/mail/{listed.file}/{listed.number}/").content.decode()

    assert "sandbox" in page
    assert "<script>alert" not in page


def test_links_of_html_open_beside_it_and_the_text_is_there_too(client: Client, folder: Path) -> None:
    send(
        folder,
        "Letter",
        html="<html><head></head><body><a href='https://example.com/stop'>Stop</a></body></html>",
    )

    (listed,) = client.get("/demo/mail/").context["mails"]
    page = client.get(f"/demo/mail/{listed.file}/{listed.number}/").content.decode()

    assert "&lt;base target=&quot;_blank&quot;&gt;" in page
    assert "allow-scripts" not in page
    assert "Text of Letter" in page


def test_only_its_owner_may_enter_the_folder(folder: Path) -> None:
    folder.mkdir(mode=0o755)

    send(folder, "Reset your password")

    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name", ["..%2Fsecrets.json", "%2e%2e/secrets.json", "/etc/passwd", "x.log", "..%5Csecrets.json"]
)
def test_nothing_but_its_own_files_is_read(client: Client, folder: Path, name: str) -> None:
    folder.mkdir()
    (folder.parent / "secrets.json").write_text("secret")
    (folder.parent / "outside.log").write_text("secret")

    assert client.get(f"/demo/mail/{name}/0/").status_code == 404


@pytest.mark.parametrize(("demo", "email_url"), [(False, ""), (True, "smtp://mail.example.com")])
def test_it_is_not_there_in_production(
    client: Client, folder: Path, settings: Settings, demo: bool, email_url: str
) -> None:
    send(folder, "Private")
    settings.DEMO = demo
    settings.EMAIL_URL = email_url

    assert client.get("/demo/mail/").status_code == 404
    assert client.get(f"/demo/mail/{next(folder.iterdir()).name}/0/").status_code == 404
