"""Where somebody is signed in: the list they see, and how sessions end.

The sessions themselves are Django's, in the database. allauth keeps a row beside each that tells its address, its
browser and its last use; only that says whose a session is.
"""

import re
import time
from collections.abc import Callable
from datetime import timedelta

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from accounts import audit, impersonation
from accounts.access import client_ip
from accounts.audit import Actor
from accounts.models import User

# The last use is known to within this.
NOTED_EVERY = timedelta(minutes=5)
# The session's key for what was last noted: its own key then, and when, in unix seconds.
NOTED = "noted"
NOWHERE = "0.0.0.0"

# The first that a browser's name for itself holds counts: each of them also claims to be some of those below it.
BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def device_in_words(user_agent: str) -> str:
    """`Firefox on Windows`, as far as the browser says so; else the first word of what it says."""
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    first_word = re.split(r"[\s/(]", user_agent, maxsplit=1)[0]
    return browser or system or first_word or "Unknown device"


def live() -> QuerySet[UserSession]:
    """The sessions in which somebody is signed in now, the last used first."""
    unexpired = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=timezone.now())
    sessions: QuerySet[UserSession] = UserSession.objects.filter(Exists(unexpired))
    return sessions.order_by("-last_seen_at", "-id")


def of(user: User) -> QuerySet[UserSession]:
    return live().filter(user=user)


def note_use(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that remembers from where and when a session was last used.

    When that was last written stands in the session itself, so most requests cost no query at all.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        # Only where the session was read anyway, and somebody is still signed in.
        if request.session.accessed and _is_due(request) and isinstance(request.user, User):
            _note(request, request.user)
        return response

    return middleware


def _is_due(request: HttpRequest) -> bool:
    # A session gets a new key with a new password, say, and keeps all else.
    key, at = request.session.get(NOTED, ("", 0))
    return bool(key != request.session.session_key or not 0 <= time.time() - at < NOTED_EVERY.total_seconds())


def _note(request: HttpRequest, user: User) -> None:
    if not request.session.session_key:  # somebody has just taken over from another person
        request.session.create()
    request.session[NOTED] = (request.session.session_key, int(time.time()))
    used = UserSession(
        session_key=request.session.session_key,
        user=user,
        ip=client_ip(request) or NOWHERE,
        user_agent=_user_agent(request),
    )
    UserSession.objects.bulk_create(
        [used],
        update_conflicts=True,
        unique_fields=["session_key"],
        update_fields=["user", "ip", "user_agent", "last_seen_at"],
    )


def _user_agent(request: HttpRequest) -> str:
    said = request.headers.get("user-agent", "").replace("\0", "")
    return said[: UserSession._meta.get_field("user_agent").max_length]


@transaction.atomic
def end_all(user: User, *, keep: str | None = None) -> int:
    """End this person's sessions at once, but the one with the key `keep`. Return how many there were."""
    rows = UserSession.objects.filter(user=user).exclude(session_key=keep)
    keys = list(rows.values_list("session_key", flat=True))
    live = Session.objects.filter(session_key__in=keys)
    ended = live.filter(expire_date__gt=timezone.now()).count()
    live.delete()
    rows.delete()
    return ended


@transaction.atomic
def end_others(*, user: User, keep: str, actor: Actor) -> int:
    """What somebody does who fears that others are signed in as them."""
    ended = end_all(user, keep=keep)
    if ended:
        audit.record(audit.Action.SESSION_ENDED, actor=actor, target=user, before={"sessions": ended})
    return ended


@transaction.atomic
def sign_out(*, user: User, reason: str, actor: Actor) -> int:
    """What support does for somebody who fears that: end all their sessions. Returns how many there were."""
    ended = end_all(user)
    audit.record(
        audit.Action.SESSION_ENDED,
        actor=actor,
        target=user,
        before={"sessions": ended},
        after={"reason": reason},
    )
    return ended


@transaction.atomic
def end(*, session: UserSession, actor: Actor) -> None:
    """End one session."""
    Session.objects.filter(session_key=session.session_key).delete()
    session.delete()
    audit.record(
        audit.Action.SESSION_ENDED,
        actor=actor,
        target=session.user,
        before={"ip": session.ip, "device": device_in_words(session.user_agent)},
    )


def stop_looking(sender: object, request: HttpRequest, user: User | None, **kwargs: object) -> None:
    """Whoever signs out looks as nobody any more; called as the session ends."""
    if user is not None:
        impersonation.end(session=request.session, actor=Actor(user, ip=client_ip(request)))


def clear_ended() -> int:
    """Forget sessions that have expired, and what was noted about sessions that are gone."""
    Session.objects.filter(expire_date__lte=timezone.now()).delete()
    gone = UserSession.objects.exclude(Exists(Session.objects.filter(session_key=OuterRef("session_key"))))
    return int(gone.delete()[0])
