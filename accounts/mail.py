"""Letters: plain text and HTML of the same words, with a line that says why they come and a way to end them."""

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string


def send(
    template: str,
    *,
    to: str,
    context: dict[str, object],
    reason: str,
    unsubscribe_url: str = "",
    message_id: str = "",
) -> None:
    """Send `mail/<template>.txt` and `.html` (their first line is the subject of the text).

    `reason` completes "You get this letter because …". Raises what the mail server's refusal raises.
    """
    context = context | {
        "BRAND": settings.BRAND,
        "BASE_URL": settings.BASE_URL,
        "SUPPORT_EMAIL": settings.SUPPORT_EMAIL,
        "reason": reason,
        "unsubscribe_url": unsubscribe_url,
    }
    subject, _, text = render_to_string(f"mail/{template}.txt", context).partition("\n")
    message = EmailMultiAlternatives(" ".join(subject.split()), text.lstrip("\n"), to=[to])
    message.attach_alternative(render_to_string(f"mail/{template}.html", context), "text/html")
    if unsubscribe_url:
        message.extra_headers["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        message.extra_headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if message_id:
        message.extra_headers["Message-ID"] = message_id
    message.send()
