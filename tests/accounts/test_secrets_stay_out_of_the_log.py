"""Words of mailed links, signatures, keys: whoever reads the log must not be able to use one."""

import io
import logging
import sys
from typing import Any

import pytest
from django.conf import settings
from django.core import signing
from django.test import Client
from pytest_django import Settings

from accounts import links, notification_preferences, redaction, secrets
from accounts.models import NoticeKind, User
from webhooks.models import new_secret


def test_a_refused_request_leaves_no_word_in_the_log(db: None) -> None:
    token, _ = links.new_token()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(redaction.WithoutSecrets())
    logging.getLogger("django.request").addHandler(handler)

    Client().put(f"/invitations/{token}/")
    logging.getLogger("django.request").removeHandler(handler)

    assert "/invitations/…/" in stream.getvalue()
    assert token not in stream.getvalue()


def test_every_handler_leaves_them_out() -> None:
    configured: dict[str, Any] = settings.LOGGING

    assert all("secrets" in handler["filters"] for handler in configured["handlers"].values())


@pytest.mark.parametrize("before", ["", "Bearer ", "x=", "ch_", '{"key": "'])
def test_of_a_key_only_its_prefix_stays(before: str) -> None:
    key = secrets.generate("production")

    assert redaction.redacted(f"{before}{key.plaintext} was") == f"{before}{key.prefix}… was"


def test_a_key_that_was_cut_off_or_mistyped_goes_too(settings: Settings) -> None:
    settings.KEY_BRAND = "acme"
    key = secrets.generate("service").plaintext

    for damaged in (key[:-10], key[:-1] + "_", key + "ab"):
        assert key[-20:-12] not in redaction.redacted(damaged)


def test_signatures_and_secrets_of_others_go(owner: User) -> None:
    unsubscribe = notification_preferences.unsubscribe_url(
        user=owner, organization=None, kind=NoticeKind(NoticeKind.values[0])
    )
    signed, secret = signing.dumps({"pk": 1}, salt="x"), new_secret()

    stripe = f"sk_live_{'51Nx' * 6}"

    text = redaction.redacted(f"{unsubscribe} {signed} {secret} {stripe}")

    assert unsubscribe[-44:-1] not in text
    assert signed[-43:] not in text
    assert secret[6:] not in text
    assert stripe[8:] not in text


def test_the_words_of_an_error_are_cleared_too() -> None:
    key = secrets.generate("production")
    try:
        raise ValueError(f"{key.plaintext} is wrong")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "broken", None, sys.exc_info())

    redaction.WithoutSecrets().filter(record)

    line = logging.Formatter().format(record)
    assert key.plaintext not in line
    assert f"ValueError: {key.prefix}… is wrong" in line


def test_other_words_stay() -> None:
    for text in ("key_2nXw8rTfZ0aYcQ5LbKdM", "a" * 31, "a" * 33, "%s of %s", "ch_3MtwBwLkdIwHu7ix28a3tqPa"):
        record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)

        redaction.WithoutSecrets().filter(record)

        assert record.getMessage() == text
