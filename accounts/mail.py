"""Letters: plain text and HTML of the same words, with a line that says why they come and a way to end them.

A letter is two templates. `mail/<template>.txt`: the subject on the first line, an empty one, then the words; nothing
in it is escaped, and `mail/footer.txt` follows by itself. `mail/<template>.html`:

    {% extends "mail/base.html" %}
    {% block content %}
      <h1>…</h1>
      <p>…</p>
      {% include "mail/button.html" with url=url label="Open the team" %}
    {% endblock %}

Besides its own context each has BRAND, BASE_URL and SUPPORT_EMAIL. Links in letters are whole: BASE_URL + path.
"""

import logging

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import Context
from django.template.loader import get_template, render_to_string

logger = logging.getLogger(__name__)


UNSUBSCRIBE = "Stop letters like this one"


def frame(
    *, reason: str, unsubscribe_url: str = "", unsubscribe_label: str = UNSUBSCRIBE
) -> dict[str, object]:
    """What the letters' base and footer need. `reason` completes "You get this letter because …"."""
    return {
        "BRAND": settings.BRAND,
        "BASE_URL": settings.BASE_URL,
        "SUPPORT_EMAIL": settings.SUPPORT_EMAIL,
        "reason": reason,
        "unsubscribe_url": unsubscribe_url,
        "unsubscribe_label": unsubscribe_label,
    }


def send(
    template: str,
    *,
    to: str,
    context: dict[str, object],
    reason: str,
    unsubscribe_url: str = "",
    unsubscribe_label: str = UNSUBSCRIBE,
    message_id: str = "",
) -> None:
    """Send the letter of these templates. Raises what the mail server's refusal raises."""
    context = context | frame(
        reason=reason, unsubscribe_url=unsubscribe_url, unsubscribe_label=unsubscribe_label
    )
    subject, _, text = _text(f"mail/{template}.txt", context).partition("\n")
    message = EmailMultiAlternatives(
        _one_line(subject), f"{text.strip()}\n\n{_text('mail/footer.txt', context).strip()}\n", to=[to]
    )
    message.attach_alternative(render_to_string(f"mail/{template}.html", context), "text/html")
    # Programs that answer for people who are away leave such letters alone.
    message.extra_headers["Auto-Submitted"] = "auto-generated"
    if unsubscribe_url:
        message.extra_headers["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        message.extra_headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if message_id:
        message.extra_headers["Message-ID"] = message_id
    message.send()


def try_to_send(
    template: str,
    *,
    to: str,
    context: dict[str, object],
    reason: str,
    unsubscribe_url: str = "",
    unsubscribe_label: str = UNSUBSCRIBE,
) -> bool:
    """Send a letter that somebody waits for at a page. Says whether the mail server took it; a refusal is logged.

    A page that promises a letter offers to send another, and must not tell one address from another.
    """
    try:
        send(
            template,
            to=to,
            context=context,
            reason=reason,
            unsubscribe_url=unsubscribe_url,
            unsubscribe_label=unsubscribe_label,
        )
    except OSError as error:  # smtplib's errors are among them, and their words name the address
        logger.warning("letter %s not sent (%s)", template, type(error).__name__)
        return False
    return True


def _text(template: str, context: dict[str, object]) -> str:
    """Render what is no HTML, so that a name such as "Fish & Chips" reaches its reader as it is."""
    return str(get_template(template).template.render(Context(context, autoescape=False)))  # type: ignore[attr-defined]


def _one_line(subject: str) -> str:
    """A subject without anything that could end its line, whatever a name in it holds."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in subject).split())
