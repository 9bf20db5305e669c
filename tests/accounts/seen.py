"""What people get to see: letters, and pages."""

import re

from django.conf import settings
from django.core.mail import EmailMessage


def link_in(mail: EmailMessage) -> str:
    """The path that the first link of a letter leads to."""
    found = re.search(rf"{settings.BASE_URL}(/\S+)", str(mail.body))
    assert found, mail.body
    return found[1]


def without_tokens(page: bytes) -> list[bytes]:
    """A page without what differs from one time to the next."""
    return [line for line in page.splitlines() if b"csrf" not in line.lower()]
