"""The demo's mailbox: mail that a real installation would send, readable in the browser."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.mail.backends import filebased
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.access import public

FILES_SHOWN = 100
# Links in a message open beside it: the frame that shows it leads nowhere itself.
LINKS_OPEN_BESIDE = '<base target="_blank">'
# Django's file backend writes one file a connection, and this line after each message.
SEPARATOR = b"\n" + b"-" * 79 + b"\n"


class EmailBackend(filebased.EmailBackend):
    """Django's file backend in a folder that only its owner may enter: letters hold links that open accounts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Path(self.file_path).chmod(0o700)


@dataclass(frozen=True)
class Mail:
    """One message, named by its file and its place in it."""

    file: str
    number: int
    subject: str
    sender: str
    recipients: str
    sent_at: datetime | None
    text: str
    html: str


@public
@require_safe
@never_cache
def mailbox(request: HttpRequest) -> HttpResponse:
    """List the last messages, newest first."""
    mails = [mail for path in _files()[:FILES_SHOWN] for mail in reversed(_read(path))]
    return render(request, "demo/mailbox.html", {"mails": mails})


@public
@require_safe
@never_cache
def message(request: HttpRequest, file: str, number: int) -> HttpResponse:
    """Show one message. The name only chooses among the files that are there; no path is made of it."""
    for path in _files():
        mails = _read(path) if path.name == file else []
        if number < len(mails):
            return render(request, "demo/message.html", {"mail": mails[number]})
    raise Http404


def _files() -> list[Path]:
    """The files of the mailbox, newest first; their names begin with the time."""
    if not settings.DEMO or settings.EMAIL_URL:
        raise Http404
    return sorted(Path(settings.EMAIL_FILE_PATH).glob("*.log"), reverse=True)


def _read(path: Path) -> list[Mail]:
    parts = path.read_bytes().split(SEPARATOR)
    return [_mail(path.name, number, part) for number, part in enumerate(parts) if part.strip()]


def _mail(file: str, number: int, content: bytes) -> Mail:
    parsed = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
    date = parsed["Date"]
    return Mail(
        file=file,
        number=number,
        subject=parsed["Subject"] or "(no subject)",
        sender=parsed["From"] or "",
        recipients=parsed["To"] or "",
        sent_at=date.datetime.astimezone(UTC) if date else None,
        text=_body(parsed, "plain"),
        html=_body(parsed, "html").replace("<head>", f"<head>{LINKS_OPEN_BESIDE}", 1),
    )


def _body(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body(preferencelist=(kind,))
    return str(part.get_content()) if part else ""
