"""Telling people that an alert fired. What a dead process left untold, the next run tells."""

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from time import monotonic
from typing import Any
from urllib.parse import urlencode

from django.db import transaction
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from accounts import notifications
from accounts.ids import new_uid
from accounts.models import ApiKey, NoticeKind, Notification, Organization, User
from accounts.permissions import Permission, roles_with
from usage import alert_periods, alert_words, firings
from usage.models import DailyUsage, Product, TriggeredAlert, UsageAlert
from webhooks import outbox

logger = logging.getLogger(__name__)

# Seconds after which a run leaves the rest to the next one.
RUN = 25
SHOWN = 3


def tell() -> int:
    """Tell people of the firings that nobody was told of, for as long as a run may take. Returns how many."""
    end = monotonic() + RUN
    told, last = 0, 0
    while monotonic() < end:
        try:
            with transaction.atomic():
                firing = (
                    TriggeredAlert.objects.filter(told_at=None, pk__gt=last)
                    .select_for_update(skip_locked=True, of=("self",))
                    .select_related("alert", "organization")
                    .order_by("pk")
                    .first()
                )
                if firing is None:
                    break
                last = firing.pk
                _tell(firing)
        except Exception:  # one firing that cannot be told must not keep the others
            logger.exception("firing %d could not be told", last)
        else:
            told += 1
    return told


def _tell(firing: TriggeredAlert) -> None:
    people = audience(firing.organization)
    uid = new_uid("evt")
    is_sent = _send(firing.organization, people, notice_key(firing), _report(firing), uid)
    firing.notified = {"people": [person.uid for person in people], "message": uid if is_sent else None}
    firing.told_at = timezone.now()
    firing.save(update_fields=["notified", "told_at"])


def _send(organization: Organization, people: list[User], key: str, report: "_Report", uid: str) -> bool:
    """Tell these people, and the organization's endpoints under this id. Says whether there are any."""
    notifications.notify(
        people,
        kind=NoticeKind.USAGE,
        key=key,
        title=report.title,
        body=report.body,
        url=report.url,
        organization=organization,
    )
    return outbox.send(
        organization=organization, event_type="usage_alert.triggered", data=report.data, uid=uid
    )


def notice_key(firing: TriggeredAlert) -> str:
    """What the notices of a firing are known by."""
    return f"usage_alert:{firing.uid}"


def audience(organization: Organization) -> list[User]:
    """Who is told of alerts: the members who may see them."""
    members = User.objects.filter(
        is_active=True,
        memberships__organization=organization,
        memberships__organization__deleted_at=None,
        memberships__role__in=roles_with(Permission.ALERTS_VIEW),
    )
    return list(members.order_by("pk"))


@dataclass(frozen=True)
class Tested:
    """Who a test of an alert was sent to, and the id of its webhook message, if there is an endpoint."""

    people: list[User]
    message: str | None


@transaction.atomic
def test(alert: UsageAlert, *, now: datetime | None = None) -> Tested:
    """Tell what the alert would tell, marked as a test; nothing counts as fired. Sent once, if asked twice a minute."""
    now = now or timezone.now()
    organization = Organization.objects.select_for_update(no_key=True).get(pk=alert.organization_id)
    standing = firings.standings(organization, now=now).get(alert.pk)
    draft = TriggeredAlert(
        alert=alert,
        organization=organization,
        metric=alert.metric,
        period=alert.period,
        period_start=alert_periods.current(organization, alert.period, now=now).start,
        scope=alert_words.scope(alert),
        value=standing.value if standing else Decimal(0),
        threshold=alert.threshold,
    )
    report = _report(draft, is_test=True)
    people = audience(organization)
    key = f"usage_alert.test:{alert.uid}:{now:%Y%m%dT%H%M}"
    uid = f"evt_{alert.uid.removeprefix('alr_')}{now:%Y%m%d%H%M}"
    if Notification.objects.filter(user__in=people, key=key).exists():
        return Tested(people, uid if outbox.subscribed([organization.pk]) else None)
    return Tested(people, uid if _send(organization, people, key, report, uid) else None)


# ── What is told ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Report:
    """A firing in words, and as the data of its webhook message."""

    title: str
    body: str
    url: str
    data: dict[str, Any]


@dataclass(frozen=True)
class _Share:
    """What a key adds to the number."""

    uid: str | None
    name: str
    value: Decimal


def _report(firing: TriggeredAlert, *, is_test: bool = False) -> _Report:
    alert, metric, start = firing.alert, firing.metric, firing.period_start
    following = alert_periods.bounds(firing.period, start)[1]
    last = following - alert_periods.DAY
    usage = DailyUsage.objects.filter(
        organization_id=firing.organization_id, day__gte=start, day__lt=following
    )
    is_product = firing.scope in Product.values
    key = None
    if is_product:
        usage = usage.filter(product=firing.scope)
    elif firing.scope:
        key = ApiKey.objects.filter(organization=firing.organization_id, uid=firing.scope).first()
        usage = usage.filter(api_key_id=key.pk if key else -1)
    sums = usage.values_list("api_key_id", "product").annotate(Sum(metric)).order_by()
    of_keys: dict[int, Decimal] = {}
    of_products: dict[str, Decimal] = {}
    for key_id, product, value in sums:
        of_keys[key_id] = of_keys.get(key_id, Decimal(0)) + value
        of_products[product] = of_products.get(product, Decimal(0)) + value
    top_keys = _named_keys(_largest(of_keys))
    top_products = _largest(of_products)
    about = alert_words.about(firing.scope, {key.uid: key.name} if key else {})
    when = alert_words.when(firing.period, start)
    reached = f"{alert_words.amount(metric, firing.value)} {about}".strip()
    rule = alert_words.rule(firing, about)
    name = f" “{alert.name}”" if alert.name else ""
    paragraphs = [
        "This is a test: somebody wanted to see who hears of this alert. It has not fired."
        if is_test
        else "",
        f"{firing.organization.name} has used {reached} {when}. The alert{name} is set to {rule}.",
        _line("By API key", metric, [(share.name, share.value) for share in top_keys]),
        _line("By product", metric, [(Product(name).label, value) for name, value in top_products]),
    ]
    query = {"from": start.isoformat(), "to": last.isoformat()}
    if firing.scope:
        query["product" if is_product else "api_key"] = firing.scope
    return _Report(
        title=f"{'Test of a usage alert' if is_test else 'Usage alert'}: {reached} {when}, set to "
        + alert_words.amount(metric, firing.threshold),
        body="\n\n".join(filter(None, paragraphs)),
        url=f"{reverse('usage:dashboard', args=[firing.organization.uid])}?{urlencode(query)}",
        data={
            "alert_id": alert.uid,
            "alert_name": alert.name,
            "firing_id": None if is_test else firing.uid,
            "organization_id": firing.organization.uid,
            "metric": metric,
            "threshold": float(firing.threshold),
            "value": float(firing.value),
            "period": firing.period,
            "period_start": start.isoformat(),
            "period_end": last.isoformat(),
            "api_key_id": None if is_product else firing.scope or None,
            "product": firing.scope if is_product else None,
            "top_keys": [
                {"api_key_id": share.uid, "name": share.name, "value": float(share.value)}
                for share in top_keys
            ],
            "top_products": [{"product": name, "value": float(value)} for name, value in top_products],
            "is_test": is_test,
        },
    )


def _largest(sums: dict[Any, Decimal]) -> list[tuple[Any, Decimal]]:
    found = sorted(sums.items(), key=lambda item: (-item[1], str(item[0])))
    return [item for item in found[:SHOWN] if item[1] > 0]


def _named_keys(sums: list[tuple[int, Decimal]]) -> list[_Share]:
    names = {key.pk: key for key in ApiKey.objects.filter(pk__in=[key for key, _ in sums])}
    return [
        _Share(names[pk].uid, names[pk].name, value) if pk in names else _Share(None, "a deleted key", value)
        for pk, value in sums
    ]


def _line(title: str, metric: str, shares: list[tuple[str, Decimal]]) -> str:
    parts = [f"{name} {alert_words.amount(metric, value)}" for name, value in shares]
    return f"{title}: {', '.join(parts)}." if parts else ""
