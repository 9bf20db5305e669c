"""Where alerts stand, and what became of their firings: who was told, and whether it arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Self

from django.db.models import F, QuerySet

from accounts.models import Notification, Organization, User
from usage import alert_notices, alert_periods, alert_words, firings
from usage.models import Product, TriggeredAlert, UsageAlert
from webhooks import outbox


@dataclass(frozen=True)
class State:
    """An alert and its current period: what was counted, and when it fired, if it did. `end` is the last day."""

    alert: UsageAlert
    start: date
    end: date
    value: Decimal
    fired_at: datetime | None

    @property
    def api_key(self) -> str | None:
        return self.alert.api_key.uid if self.alert.api_key else None

    @property
    def product(self) -> str | None:
        return self.alert.product or None

    @property
    def percent(self) -> int:
        """Of the threshold, rounded down: 100 is said only when it is reached."""
        return int(self.value * 100 // self.alert.threshold)

    @property
    def rule(self) -> str:
        return rule(self.alert)

    @property
    def used(self) -> str:
        return alert_words.amount(self.alert.metric, self.value)

    @property
    def so_far(self) -> str:
        return alert_words.so_far(self.alert.period)


def rule(alert: UsageAlert) -> str:
    """8,000 pages a month with the API key checkout."""
    key = alert.api_key
    names = {key.uid: key.name} if key else {}
    return alert_words.rule(alert, alert_words.about(alert_words.scope(alert), names))


def states(
    organization: Organization, alerts: Sequence[UsageAlert], *, now: datetime | None = None
) -> list[State]:
    """Where each of these alerts of the organization stands."""
    standings = firings.standings(organization, now=now)
    starts = {standing.period_start for standing in standings.values()}
    fired = {
        (firing.alert_id, firing.period_start, *_rule(firing), firing.scope): firing.fired_at
        for firing in TriggeredAlert.objects.filter(alert__in=alerts, period_start__in=starts)
    }
    found = []
    for alert in alerts:
        standing = standings.get(alert.pk)
        if standing is None:  # deleted a moment ago
            continue
        start, following = alert_periods.bounds(alert.period, standing.period_start)
        place = (alert.pk, start, *_rule(alert), alert_words.scope(alert))
        found.append(State(alert, start, following - alert_periods.DAY, standing.value, fired.get(place)))
    return found


def _rule(rule: UsageAlert | TriggeredAlert) -> tuple[str, str, Decimal]:
    return rule.metric, rule.period, rule.threshold


def firings_of(alert: UsageAlert) -> "QuerySet[TriggeredAlert, TriggeredAlert]":
    """Its firings, with a `created_at` as all lists have."""
    return alert.firings.annotate(created_at=F("fired_at"))


@dataclass(frozen=True)
class Told:
    """Somebody who was told. `emailed_at` says when the mail server took the letter."""

    person: User
    notice: Notification | None

    @property
    def emailed_at(self) -> datetime | None:
        return self.notice.emailed_at if self.notice else None

    @property
    def mail(self) -> str:
        """`mailed`, `waiting`, `not mailed` (unwanted, or given up), `unknown` when the notice is no longer kept."""
        if self.notice is None:
            return "unknown"
        if self.notice.emailed_at:
            return "mailed"
        return "waiting" if self.notice.by_mail else "not mailed"


@dataclass(frozen=True)
class Arrival:
    """A firing, with who was told, and the id and fate of its webhook message, if one was sent."""

    firing: TriggeredAlert
    rule: str
    when: str
    used: str
    told: list[Told]
    message: str | None
    fate: str

    @property
    def end(self) -> date:
        """The last day of the period."""
        return alert_periods.bounds(self.firing.period, self.firing.period_start)[1] - alert_periods.DAY

    @property
    def api_key(self) -> str | None:
        return None if self.product else self.firing.scope or None

    @property
    def product(self) -> str | None:
        return self.firing.scope if self.firing.scope in Product.values else None

    @property
    def webhook(self) -> Self | None:
        return self if self.message else None


def arrivals(organization: Organization, fired: Sequence[TriggeredAlert]) -> list[Arrival]:
    """What became of these firings of the organization, in a fixed number of questions."""
    uids = {uid for firing in fired for uid in firing.notified.get("people", ())}
    people = {person.uid: person for person in User.objects.filter(uid__in=uids)}
    notices = {
        (notice.user_id, notice.key): notice
        for notice in Notification.objects.filter(
            user__in=people.values(), key__in=[alert_notices.notice_key(firing) for firing in fired]
        )
    }
    fates = outbox.fates(filter(None, (firing.notified.get("message") for firing in fired)))
    names = dict(
        organization.api_keys.filter(uid__in={firing.scope for firing in fired}).values_list("uid", "name")
    )
    return [_arrival(firing, people, notices, fates, names) for firing in fired]


def _arrival(
    firing: TriggeredAlert,
    people: dict[str, User],
    notices: dict[tuple[int, str], Notification],
    fates: dict[str, str],
    names: dict[str, str],
) -> Arrival:
    told = [people[uid] for uid in firing.notified.get("people", ()) if uid in people]
    key = alert_notices.notice_key(firing)
    message = firing.notified.get("message")
    return Arrival(
        firing=firing,
        rule=alert_words.rule(firing, alert_words.about(firing.scope, names)),
        when=alert_words.when(firing.period, firing.period_start),
        used=alert_words.amount(firing.metric, firing.value),
        told=[Told(person, notices.get((person.pk, key))) for person in told],
        message=message,
        fate=fates.get(message, "unknown") if message else "",
    )
