"""Telling members that an endpoint of theirs does not receive: once when it begins, and again before and at its end."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.urls import reverse
from django.utils import timezone

from accounts import notifications
from accounts.models import NoticeKind, Organization, User
from accounts.permissions import Permission, roles_with

# An endpoint is turned off when it has a message given up so long after the first, with none arriving meanwhile.
PATIENCE = timedelta(hours=120)
# Before an endpoint may be turned off, members are warned once more.
LAST_WARNING = timedelta(days=1)
SHOWN = 8
LONGEST_ERROR = 200


@dataclass(frozen=True)
class Trouble:
    """An endpoint that fails. A part that is not known is empty."""

    endpoint_id: str
    url: str
    description: str
    event_types: list[str]
    since: datetime | None
    first_error: str
    last_error: str
    exhausted_since: datetime | None
    disabled_at: datetime | None
    reason: str


def tell_of_failures(organization: Organization, trouble: Trouble) -> None:
    _notify(
        organization,
        trouble,
        fact=f"failing:{_stamp(trouble.since)}",
        title=f"Webhooks to {_host(trouble)} are failing",
        advice="What fails is tried again, less and less often, for a good day. Look at what the receiver answers.",
    )


def tell_of_messages_given_up(organization: Organization, trouble: Trouble) -> None:
    """Tell of it once at the first such message, and once when the endpoint's end is near."""
    since = trouble.exhausted_since or trouble.since
    end = since + PATIENCE if since else None
    is_last = end is not None and timezone.now() > end - LAST_WARNING
    when = f"before {_moment(organization, end)}" if end else "for five days"
    _notify(
        organization,
        trouble,
        fact=f"{'ending' if is_last else 'exhausted'}:{_stamp(since)}",
        title=f"Webhooks to {_host(trouble)} "
        + ("are about to be turned off" if is_last else "were given up: they failed for over a day"),
        advice=f"If no message arrives {when}, the endpoint is turned off. Once the receiver is repaired, have the "
        "failed messages sent again on the endpoint's page.",
    )


def tell_of_end(organization: Organization, trouble: Trouble) -> None:
    _notify(
        organization,
        trouble,
        fact=f"disabled:{_stamp(trouble.disabled_at or trouble.since)}",
        title=f"Webhooks to {_host(trouble)} are turned off",
        advice="Nothing is sent to it until somebody turns it on again. Then have sent again what failed and what "
        "was missed: both are on the endpoint's page.",
    )


def audience(organization: Organization) -> list[User]:
    """Who is told of endpoints: the members who may see them."""
    members = User.objects.filter(
        is_active=True,
        memberships__organization=organization,
        memberships__organization__deleted_at=None,
        memberships__role__in=roles_with(Permission.WEBHOOKS_VIEW),
    )
    return list(members.order_by("pk"))


def _notify(organization: Organization, trouble: Trouble, *, fact: str, title: str, advice: str) -> None:
    notifications.notify(
        audience(organization),
        kind=NoticeKind.WEBHOOKS,
        key=f"endpoint:{trouble.endpoint_id}:{fact}"[:160],
        title=title,
        body=_body(organization, trouble, advice),
        url=reverse("webhooks:endpoint", args=[organization.uid, trouble.endpoint_id]),
        organization=organization,
    )


def _body(organization: Organization, trouble: Trouble, advice: str) -> str:
    types = trouble.event_types[:SHOWN]
    if len(trouble.event_types) > SHOWN:
        types.append(f"{len(trouble.event_types) - SHOWN} more")
    facts = [
        ("Endpoint", f"{trouble.url} ({trouble.description})" if trouble.description else trouble.url),
        ("Failing since", _moment(organization, trouble.since) if trouble.since else ""),
        ("Event types", ", ".join(types)),
        ("First error", _line(trouble.first_error)),
        ("Last error", _line(trouble.last_error)),
    ]
    told = "\n".join(f"{name}: {value}" for name, value in facts if value)
    return "\n\n".join(filter(None, (trouble.reason, told, advice)))


def _host(trouble: Trouble) -> str:
    return urlsplit(trouble.url).netloc[:100]


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 1]}…"


def _stamp(moment: datetime | None) -> str:
    return f"{moment:%Y%m%dT%H%M%S%f}" if moment else ""


def _moment(organization: Organization, moment: datetime) -> str:
    return f"{moment.astimezone(organization.zone):%-d %B %Y at %H:%M %Z}"
