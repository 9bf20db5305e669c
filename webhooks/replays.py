"""Sending what an endpoint missed while it was disabled: asked for by a person, done by a worker, whatever the engine.

A worker holds a replay by a lease that it renews with each message. Whoever takes up what a dead worker had begun
looks at the last part of the list again, where what was sent is not missing any more.
"""

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import EndpointOut, EndpointPatch

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from webhooks import deliveries, endpoints
from webhooks.gateway import get_svix
from webhooks.models import Endpoint, Replay, ReplayQuerySet

logger = logging.getLogger(__name__)

State = Replay.State

LEASE = timedelta(seconds=60)
# Seconds of work on one replay, after which others have their turn.
TURN = 10.0
# Seconds that somebody waits to be told how much a replay would send.
LONGEST_LOOK = 2.0
# One whose engine does not answer for so long is not taken up any more.
GIVEN_UP = timedelta(days=1)


class UnderWay(Exception):
    """What the endpoint missed is being sent already."""


class _Lost(Exception):
    """Another worker has taken the replay up, or it was erased."""


def start(
    *,
    organization: Organization,
    endpoint_id: str,
    since: datetime,
    until: datetime,
    actor: Actor,
    reason: str = "",
) -> Replay:
    """Have sent what an endpoint would have got in this time but never did.

    Raises `deliveries.Disabled`, `UnderWay`.
    """
    endpoint = deliveries.enabled(organization, endpoint_id)
    until = min(until, timezone.now())
    try:
        with transaction.atomic():
            replay = Replay.objects.create(
                organization=organization,
                endpoint_id=endpoint.id,
                created_by=actor.answerable,
                since=since,
                until=until,
            )
            audit.record(
                audit.Action.ENDPOINT_REPLAYED,
                actor=actor,
                organization=organization,
                target=Endpoint(uid=endpoint.id, url=endpoint.url),
                after={"since": since, "until": until} | audit.with_reason(reason),
            )
    except IntegrityError as error:
        if "replay_once_at_a_time" in str(error):
            raise UnderWay from error
        raise
    return replay


def resume(
    *, organization: Organization, endpoint_id: str, since: datetime | None, actor: Actor, reason: str
) -> Replay | None:
    """Turn an endpoint on again and, told since when, have sent what it missed. Raises UnderWay."""
    endpoints.update(
        organization=organization,
        endpoint_id=endpoint_id,
        changes=EndpointPatch(disabled=False),
        actor=actor,
        reason=reason,
    )
    if since is None:
        return None
    return start(
        organization=organization,
        endpoint_id=endpoint_id,
        since=since,
        until=timezone.now(),
        actor=actor,
        reason=reason,
    )


def expected(
    *, organization: Organization, endpoint_id: str, since: datetime, until: datetime
) -> tuple[int, bool]:
    """How many messages a replay would send, and whether there are more than were counted. Nobody waits long."""
    endpoint = endpoints.get(organization=organization, endpoint_id=endpoint_id)
    end = monotonic() + LONGEST_LOOK
    found, place = 0, ""
    while monotonic() < end:
        part = deliveries.missed(
            organization=organization, endpoint=endpoint, since=since, until=until, place=place
        )
        found, place = found + len(part.messages), part.place
        if not place:
            return found, False
    return found, True


def of(organization: Organization, endpoint_id: str) -> ReplayQuerySet:
    """The replays for an endpoint, newest first."""
    return Replay.objects.filter(organization=organization, endpoint_id=endpoint_id).order_by("-pk")


def go_on() -> bool:
    """Work on a replay that waits, or whose worker died, for a while. Says whether there may be more to do at once."""
    replay = _claim()
    if replay is None:
        return False
    end = monotonic() + TURN
    try:
        while monotonic() < end:
            if _is_done_after_a_part(replay):
                return True
        _save(replay, leased_until=timezone.now())
    except _Lost:
        pass
    except deliveries.Disabled:
        _fail(
            replay,
            "The endpoint was turned off meanwhile. Resume it, and begin again: what was sent is not sent twice.",
        )
    except (HttpError, HTTPValidationError) as error:
        _stop(replay, error)
    return True


def prune(*, before: datetime) -> int:
    """Forget those that ended before then. Returns how many."""
    deleted, _ = Replay.objects.filter(finished_at__lt=before).delete()
    return deleted


@transaction.atomic
def _claim() -> Replay | None:
    """Take a lease on one, those first that were not worked on for the longest time."""
    now = timezone.now()
    free = Replay.objects.unfinished().filter(
        Q(leased_until=None) | Q(leased_until__lt=now), organization__deleted_at=None
    )
    locked = free.select_related("organization").select_for_update(skip_locked=True, of=("self",))
    replay = locked.order_by(F("leased_until").asc(nulls_first=True), "pk").first()
    if replay is not None:
        replay.leased_until = now + LEASE
        replay.save(update_fields=["leased_until"])
    return replay


def _is_done_after_a_part(replay: Replay) -> bool:
    """Count or send one part of the list, as far as an engine tells at once."""
    organization = replay.organization
    endpoint = deliveries.enabled(organization, replay.endpoint_id)
    part = deliveries.missed(
        organization=organization,
        endpoint=endpoint,
        since=replay.since,
        until=replay.until,
        place=replay.place,
    )
    if replay.state == State.COUNTING:
        state = State.COUNTING if part.place else State.SENDING
        _save(replay, total=replay.total + len(part.messages), place=part.place, state=state)
        return False
    for message in part.messages:
        if _resend(organization, endpoint, message.id):
            _save(replay, sent=replay.sent + 1)
    deliveries.enabled(
        organization, replay.endpoint_id
    )  # turned off meanwhile, it was not sent what was taken
    if part.place:
        _save(replay, place=part.place)
        return False
    _save(replay, state=State.DONE, finished_at=timezone.now())
    return True


def _resend(organization: Organization, endpoint: EndpointOut, message_id: str) -> bool:
    try:
        get_svix().message_attempt.resend(organization.uid, message_id, endpoint.id)
    except HttpError as error:
        # Its content is erased, or it was deleted since it was listed: there is nothing to send.
        if error.status_code == 404 or (error.status_code == 400 and error.code == "missing_payload"):
            return False
        raise
    return True


def _save(replay: Replay, **values: Any) -> None:
    """Write what was done, and renew the lease. Raises _Lost."""
    held = replay.leased_until
    values.setdefault("leased_until", timezone.now() + LEASE)
    if not Replay.objects.unfinished().filter(pk=replay.pk, leased_until=held).update(**values):
        raise _Lost
    for name, value in values.items():
        setattr(replay, name, value)


def _stop(replay: Replay, error: HttpError | HTTPValidationError) -> None:
    """Leave the rest to whoever finds the lease ended, as long as there is hope."""
    is_away = error.status_code >= 500 or error.status_code in (401, 403, 429)
    if error.status_code == 404:
        _fail(replay, "The endpoint was deleted meanwhile.")
    elif not is_away:
        _fail(replay, endpoints.sentence(error))
    elif replay.created_at < timezone.now() - GIVEN_UP:
        _fail(
            replay,
            "The server that sends webhooks did not answer for a day. Begin again: nothing is sent twice.",
        )
    else:
        logger.warning("replay %s waits, for Svix answered %s", replay.uid, error.status_code)


def _fail(replay: Replay, problem: str) -> None:
    with suppress(_Lost):
        _save(replay, state=State.FAILED, problem=problem, finished_at=timezone.now())
