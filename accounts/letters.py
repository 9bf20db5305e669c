"""Letters that somebody waits for at a page."""

import logging

from accounts import mail

logger = logging.getLogger(__name__)


def send(template: str, *, to: str, context: dict[str, object], reason: str) -> None:
    """Send a letter now. If the mail server does not take it, say so in the log only.

    The page that promises the letter offers to send another, and must not tell one address from another.
    """
    try:
        mail.send(template, to=to, context=context, reason=reason)
    except OSError as error:  # smtplib's errors are among them, and their words name the address
        logger.warning("letter %s not sent (%s)", template, type(error).__name__)
