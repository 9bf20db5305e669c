"""Taking out of texts what their reader could use: before they are logged, kept, or sent to who collects errors."""

import logging
import re
from functools import cache

from django.conf import settings

from accounts import links, secrets

_WORD = re.compile(rf"(?<![0-9A-Za-z])[0-9A-Za-z]{{{links.LENGTH}}}(?![0-9A-Za-z])")
# How all ends that Django signs, such as links to unsubscribe; without it the rest is worth nothing.
_SIGNATURE = re.compile(r"(?<=[.:])[0-9A-Za-z_-]{43}(?![0-9A-Za-z_-])")
# Of webhook endpoints and of Stripe.
FOREIGN_SECRET = re.compile(r"\b(sk|rk|whsec)_[0-9A-Za-z_+/=]{16,}")
# What an exception's words may quote besides: passwords in addresses of servers, addresses of people, keys of others,
# and after a colon the value that was no good, which is a customer's.
_PRIVATE = (
    (re.compile(r"//[^/\s@]+@"), "//…@"),
    (re.compile(r"[^\s@<>\"'(/]+@[\w.-]+\.[A-Za-z]{2,}"), "…@…"),
    (re.compile(r"(?=[A-Za-z+/=_-]*\d)[0-9A-Za-z+/=_-]{24,}"), "…"),
    (re.compile(r""": (["']).*\1"""), ": …"),
)
_format_exception = logging.Formatter().formatException


def redacted(text: str) -> str:
    """The text without words of mailed links, signatures and secrets. Of an API key its beginning stays."""
    text = without_keys(text)
    for secret in (_WORD, _SIGNATURE):
        text = secret.sub("…", text)
    return text


def without_private(text: str) -> str:
    """The words of an error without secrets, and without what they quote of people and customers."""
    text = redacted(text)
    for pattern, instead in _PRIVATE:
        text = pattern.sub(instead, text)
    return text


def without_keys(text: str) -> str:
    """The text without keys and other secrets that say of themselves what they are."""
    return FOREIGN_SECRET.sub("…", _key(settings.KEY_BRAND).sub(r"\1…", text))


@cache
def _key(brand: str) -> re.Pattern[str]:
    """Whatever looks like one of our keys, mistyped and cut off ones too, up to what its page shows as its prefix."""
    return re.compile(
        rf"({re.escape(brand)}_[a-z]{{1,20}}_[0-9A-Za-z]{{{secrets.SHOWN_LENGTH}}})[0-9A-Za-z]{{8,}}"
    )


class WithoutSecrets(logging.Filter):
    """Keeps them out of the log, where the path of a request or the words of an error would bring them."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if (harmless := redacted(message)) != message:
            record.msg, record.args = harmless, ()
        if record.exc_info:
            record.exc_text = redacted(_format_exception(record.exc_info))  # what formatters then take
        return True
