"""The words of mailed links: whoever reads the log must not be able to use one."""

import io
import logging
from typing import Any

from django.conf import settings
from django.test import Client

from accounts import links


def test_a_refused_request_leaves_no_word_in_the_log(db: None) -> None:
    token, _ = links.new_token()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(links.WithoutWords())
    logging.getLogger("django.request").addHandler(handler)

    Client().put(f"/invitations/{token}/")
    logging.getLogger("django.request").removeHandler(handler)

    assert "/invitations/…/" in stream.getvalue()
    assert token not in stream.getvalue()


def test_every_handler_leaves_them_out() -> None:
    configured: dict[str, Any] = settings.LOGGING

    assert all("words" in handler["filters"] for handler in configured["handlers"].values())


def test_other_words_stay() -> None:
    for text in ("key_2nXw8rTfZ0aYcQ5LbKdM", "a" * 31, "a" * 33, "%s of %s"):
        record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)

        links.WithoutWords().filter(record)

        assert record.getMessage() == text
