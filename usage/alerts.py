"""The life of usage alerts: made, several at once, changed, switched, deleted. Each change is audited.

An alert that is made or changed counts from the period it is in: if that is over the threshold already, it fires. Of
periods that were over by then it tells nobody, whatever is reported late.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import ApiKey, Organization
from accounts.names import validate_name
from usage import firings
from usage.models import Product, UsageAlert

MOST = 100  # in an organization
MOST_AT_ONCE = 10
LARGEST = Decimal(10**12)  # threshold, exclusive
LARGEST_PERCENTAGE = 1000
LONGEST_NAME = 120

# What makes two alerts the same.
RULE = ("metric", "threshold", "period", "api_key", "product")

# The finest threshold of each metric.
STEPS: dict[str, Decimal] = {
    UsageAlert.Metric.PAGES: Decimal(1),
    UsageAlert.Metric.CREDITS: Decimal("0.000001"),
    UsageAlert.Metric.COST: Decimal("0.01"),
}
_WRONG_STEP = {
    UsageAlert.Metric.PAGES: "A number of pages is a whole one.",
    UsageAlert.Metric.CREDITS: "Use at most 6 decimal places.",
    UsageAlert.Metric.COST: "Use at most 2 decimal places.",
}


class TooMany(Exception):
    """The organization has as many alerts as one may have."""


class Duplicate(Exception):
    """The organization has an alert, `alert`, with the same rule."""

    def __init__(self, alert: UsageAlert) -> None:
        super().__init__(alert)
        self.alert = alert


# ── What an alert may be given ───────────────────────────────────────────────────────────────────────────────


def _clean_name(name: Any) -> str:
    if not isinstance(name, str) or len(name.strip()) > LONGEST_NAME:
        raise ValidationError(f"Use at most {LONGEST_NAME} characters.")
    validate_name(name.strip())
    return name.strip()


def _clean_choice(choices: Iterable[str]) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        if value not in choices:
            raise ValidationError(f"One of: {', '.join(filter(None, choices))}.")
        return str(value)

    return clean


def _clean_threshold(threshold: Any) -> Decimal:
    number = Decimal(threshold)
    if not number.is_finite() or not 0 < number < LARGEST:
        raise ValidationError("More than 0, and less than a trillion.")
    return number


_CLEAN: dict[str, Callable[[Any], Any]] = {
    "name": _clean_name,
    "metric": _clean_choice(UsageAlert.Metric.values),
    "threshold": _clean_threshold,
    "period": _clean_choice(UsageAlert.Period.values),
    "api_key": lambda key: key,
    "product": _clean_choice(["", *Product.values]),
    "is_enabled": bool,
}


def _clean(organization: Organization, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A whole alert in the form it is kept in. Raises ValidationError with a message for each bad field."""
    cleaned, errors = {}, {}
    for name, value in fields.items():
        try:
            cleaned[name] = _CLEAN[name](value)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise ValidationError(errors)
    step = STEPS[cleaned["metric"]]
    if cleaned["threshold"] != (rounded := cleaned["threshold"].quantize(step)):
        raise ValidationError({"threshold": _WRONG_STEP[cleaned["metric"]]})
    cleaned["threshold"] = rounded
    key: ApiKey | None = cleaned["api_key"]
    if key and key.organization_id != organization.pk:
        raise ValidationError({"api_key": "There is no such key in this organization."})
    if key and cleaned["product"]:
        raise ValidationError({"product": "An alert looks at one key or at one product, not at both."})
    return cleaned


def shares(total: Decimal, percentages: Iterable[int], *, metric: str) -> dict[Decimal, int]:
    """The thresholds at these percentages of a number, rounded up to what the metric can be, and the percentages."""
    if total.is_nan() or not 0 < total < LARGEST:
        raise ValidationError({"threshold": "More than 0, and less than a trillion."})
    percentages = sorted(set(percentages))
    if not percentages or len(percentages) > MOST_AT_ONCE:
        raise ValidationError({"percentages": f"From 1 to {MOST_AT_ONCE} of them."})
    if any(not 1 <= percent <= LARGEST_PERCENTAGE for percent in percentages):
        raise ValidationError({"percentages": f"Whole numbers from 1 to {LARGEST_PERCENTAGE}."})
    step = STEPS.get(metric, Decimal(1))
    found: dict[Decimal, int] = {}
    for percent in percentages:
        found.setdefault((total * percent / 100).quantize(step, ROUND_CEILING), percent)
    return found


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────────────────


@transaction.atomic
def create(
    *,
    organization: Organization,
    metric: str,
    period: str,
    thresholds: Iterable[Decimal],
    actor: Actor | None,
    name: str = "",
    api_key: ApiKey | None = None,
    product: str = "",
    is_enabled: bool = True,
) -> list[UsageAlert]:
    """Make an alert for each of the thresholds. Several `shares` have their percentage in their name.

    Raises `Duplicate`, `TooMany`, and ValidationError with a message a field.
    """
    rule = {
        "name": name,
        "metric": metric,
        "period": period,
        "api_key": api_key,
        "product": product,
        "is_enabled": is_enabled,
    }
    names: dict[Decimal, str] = {}
    if name and isinstance(thresholds, dict) and len(thresholds) > 1:
        names = {threshold: f"{name.strip()}, {percent}\u00a0%" for threshold, percent in thresholds.items()}
    wanted = [
        _clean(organization, rule | {"threshold": threshold, "name": names.get(threshold, name)})
        for threshold in thresholds
    ]
    _lock(organization)
    if UsageAlert.objects.filter(organization=organization).count() + len(wanted) > MOST:
        raise TooMany
    made = []
    for fields in wanted:
        _refuse_duplicate(organization, fields)
        alert = UsageAlert.objects.create(
            organization=organization,
            created_by=actor.answerable if actor else None,
            in_force_from=_today(organization),
            **fields,
        )
        audit.record(
            audit.Action.ALERT_CREATED,
            actor=actor,
            organization=organization,
            target=alert,
            after={name: value for name, value in _json(fields).items() if value not in (None, "")},
        )
        made.append(alert)
    firings.evaluate_organization(organization)
    return made


@transaction.atomic
def update(*, alert: UsageAlert, changes: Mapping[str, Any], actor: Actor | None) -> bool:
    """Change what is named by `changes`, and say whether anything was.

    Raises `Duplicate`, and ValidationError as `create`.
    """
    _lock(alert.organization)
    alert.refresh_from_db()
    before = {name: getattr(alert, name) for name in _CLEAN}
    after = _clean(alert.organization, before | dict(changes))
    changed = [name for name in _CLEAN if after[name] != before[name]]
    if not changed:
        return False
    _refuse_duplicate(alert.organization, after, but=alert)
    for name in changed:
        setattr(alert, name, after[name])
    if after["is_enabled"] and {"is_enabled", *RULE} & set(changed):
        alert.in_force_from = _today(alert.organization)
    alert.save(update_fields=[*changed, "in_force_from"])
    audit.record(
        audit.Action.ALERT_UPDATED,
        actor=actor,
        organization=alert.organization,
        target=alert,
        before=_json({name: before[name] for name in changed}),
        after=_json({name: after[name] for name in changed}),
    )
    firings.evaluate_organization(alert.organization)
    return True


@transaction.atomic
def delete(*, alert: UsageAlert, actor: Actor | None) -> bool:
    """Delete an alert with its history. Says whether it was still there."""
    _lock(alert.organization)
    kept = UsageAlert.objects.filter(pk=alert.pk).first()
    if kept is None:
        return False
    audit.record(
        audit.Action.ALERT_DELETED,
        actor=actor,
        organization=alert.organization,
        target=kept,
        before=_json({name: getattr(kept, name) for name in _CLEAN}),
    )
    kept.delete()
    return True


def _refuse_duplicate(
    organization: Organization, fields: Mapping[str, Any], *, but: UsageAlert | None = None
) -> None:
    same = UsageAlert.objects.filter(organization=organization, **{name: fields[name] for name in RULE})
    for alert in same.select_related("api_key"):
        if alert != but:
            raise Duplicate(alert)


def _today(organization: Organization) -> date:
    return timezone.now().astimezone(organization.zone).date()


def _lock(organization: Organization) -> None:
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def _json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as the audit trail keeps them."""

    def value_of(value: Any) -> Any:
        if isinstance(value, ApiKey):
            return value.uid
        return float(value) if isinstance(value, Decimal) else value

    return {name: value_of(value) for name, value in fields.items()}
