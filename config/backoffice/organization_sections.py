"""The parts of an organization's page in the back office.

Each is asked for in a fixed number of questions, however much there is: lists end after some rows, and counting after
a thousand. A part is shown to whoever may see all that it is of, so no link of it is closed to them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db.models import Case, Exists, F, Func, OuterRef, Q, QuerySet, Subquery, TextField, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, Left, Now
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import audit_sentences
from accounts.bounded import Counted
from accounts.models import ApiKey, AuditEntry, Invitation, Membership, Note, Organization, OwnershipOffer
from accounts.permissions import Role
from billing import summary
from billing.calls import Calls
from billing.hosted import at_stripe
from billing.models import CreditGrant, EntitlementOverride, Invoice
from billing.summary import Summary
from usage import alert_history, alert_periods, alert_words, spending, today
from usage.models import Entitlement, Job, JobStatus, TriggeredAlert, UsageAlert, UsageExportFile
from usage.spending import Cap
from usage.today import Today
from webhooks import deliveries
from webhooks.gateway import EmbeddedSvix, get_svix
from webhooks.models import Attempt, Delivery, Endpoint, OutboxMessage, Replay, Status

MOST_COUNTED = 1_000
# Rows of each list.
JOBS = NOTES = 10
KEYS = MEMBERS = 8
ENDPOINTS = INVOICES = 6
AGREEMENTS = INVITATIONS = ALERTS = WORKS = 5
ENTRIES = 15
BUSIEST = 3
LONGEST_ERROR = 160


@dataclass(frozen=True)
class Subject:
    """The organization that a page is about, at one moment, with what several parts of the page lean on."""

    organization: Organization
    calls: Calls | None
    overrides: list[EntitlementOverride]
    now: datetime

    @cached_property
    def counts(self) -> dict[str, str]:
        """How many there are of what is listed in part, all in one question: "12", or "1,000+"."""
        ours = {"organization": OuterRef("pk")}
        rows: dict[str, QuerySet[Any]] = {
            "keys": ApiKey.objects.filter(**ours),
            "live_keys": ApiKey.objects.live().filter(**ours),
            "members": Membership.objects.filter(**ours),
            "invitations": Invitation.objects.open().filter(**ours),
            "endpoints": Endpoint.objects.existing().filter(**ours),
            "waiting": OutboxMessage.objects.filter(**ours, handed_over_at=None, refused_at=None),
            "refused": deliveries.refused(self.organization),
            "alerts": UsageAlert.objects.filter(**ours, is_enabled=True),
        }
        counted = {
            f"{name}_counted": Counted(each.order_by().values("pk")[: MOST_COUNTED + 1])
            for name, each in rows.items()
        }
        found = Organization.objects.filter(pk=self.organization.pk).annotate(**counted)
        counts = found.values_list(*counted).get()
        return {name: _bounded(count) for name, count in zip(rows, counts, strict=True)}


def _bounded(count: int) -> str:
    return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"


# ── Plan, credits and money ──────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class PlanAndCredits:
    summary: Summary
    entitlement: Entitlement | None
    agreements: list[tuple[EntitlementOverride, str]]
    # What is left of the grants, by what they are to the customer.
    pots: dict[str, Decimal]
    cap: Cap

    @property
    def state(self) -> str:
        """How it pays, in words."""
        return self.summary.state.replace("_", " ").capitalize()


_POTS = {CreditGrant.Kind.INCLUDED: "Included", CreditGrant.Kind.PURCHASED: "Bought"}


def plan_and_credits(subject: Subject) -> PlanAndCredits | None:
    calls, organization = subject.calls, subject.organization
    if calls is None:
        return None
    found = summary.of(calls, now=subject.now)
    pots = {"Included": Decimal(0), "Bought": Decimal(0), "Gifts": Decimal(0)}
    for each in found.grants:
        pots[_POTS.get(CreditGrant.Kind(each.grant.kind), "Gifts")] += each.left
    month = alert_periods.current(organization, alert_periods.Kind.MONTHLY, now=subject.now)
    cap = getattr(calls.account.organization, "spend_cap", None)
    until = calls.entitlement.spend_cap_reached_until if calls.entitlement else None
    return PlanAndCredits(
        summary=found,
        entitlement=calls.entitlement,
        agreements=[(override, _agreed(override)) for override in subject.overrides[-AGREEMENTS:]],
        pots={name: left for name, left in pots.items() if left},
        cap=Cap(
            amount=cap.amount if cap else None,
            spent=spending.spend(organization, month),
            month=month,
            reached_until=until if until and until > subject.now else None,
        ),
    )


def _agreed(override: EntitlementOverride) -> str:
    """What an override changes, in words."""
    words = [
        "suspended" if override.is_suspended else "",
        _counted(override.requests_per_minute, "requests a minute"),
        _counted(override.retention_days, "days of retention"),
        _counted(override.included_credits, "credits a month"),
        "" if override.credit_price is None else f"${override.credit_price.normalize():f} a credit",
    ]
    return ", ".join(filter(None, words))


def _counted(number: Decimal | int | None, unit: str) -> str:
    return "" if number is None else f"{number:,.0f} {unit}"


@dataclass(frozen=True)
class Payments:
    calls: Calls | None
    invoices: list[Invoice]
    customer: str
    subscription: str
    simulator: str


def payments(subject: Subject) -> Payments:
    listed = Invoice.objects.filter(organization=subject.organization).defer("lines")
    account = subject.calls.account if subject.calls else None
    return Payments(
        calls=subject.calls,
        invoices=list(listed.order_by("-created_at", "-id")[:INVOICES]),
        customer=at_stripe("customers", account.stripe_customer) if account else "–",
        subscription=at_stripe("subscriptions", account.stripe_subscription) if account else "–",
        simulator=f"{settings.STRIPE_API_BASE}/" if settings.STRIPE_IS_SIMULATED else "",
    )


# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────
# Of the small chart, as it is drawn: its height, and how far one day is from the next.
CHART_HEIGHT, STEP = 44, 10


@dataclass(frozen=True)
class Bar:
    """A day of the small chart, and what it is in words."""

    x: int
    height: float
    words: str
    is_today: bool

    @property
    def y(self) -> float:
        return CHART_HEIGHT - self.height


@dataclass(frozen=True)
class UsageToday:
    today: Today
    bars: list[Bar]
    most: int
    # The keys with the most credits today, and each one's share in percent.
    keys: list[tuple[ApiKey, int]]

    @property
    def credits(self) -> Decimal:
        return sum((used.credits for used in self.today.products.values()), Decimal(0))

    @property
    def products(self) -> list[tuple[str, int]]:
        """Those with the most credits in these days, and each one's share in percent."""
        total = self.credits
        if not total:
            return []
        return [
            (name, int(100 * used.credits / total)) for name, used in list(self.today.products.items())[:4]
        ]


def usage_today(subject: Subject) -> UsageToday:
    found = today.of(subject.organization, now=subject.now)
    most = max(used.requests for used in found.days.values())
    bars = [
        Bar(
            x=STEP * place + 1,
            height=round(CHART_HEIGHT * max(used.requests, 0) / most, 1) if most > 0 else 0,
            words=f"{day:%a %-d %b}: {used.requests:,} requests, {used.credits:,.0f} credits",
            is_today=day == found.day,
        )
        for place, (day, used) in enumerate(found.days.items())
    ]
    return UsageToday(found, bars, most, _busiest(found))


def _busiest(found: Today) -> list[tuple[ApiKey, int]]:
    total = sum((used.credits for used in found.keys.values()), Decimal(0))
    if total <= 0:
        return []
    first = list(found.keys)[:BUSIEST]
    known = ApiKey.objects.only("name", "prefix", "last_four", "kind").in_bulk(first)
    return [(known[pk], int(100 * found.keys[pk].credits / total)) for pk in first if pk in known]


def _jobs(organization: Organization) -> QuerySet[Job]:
    """With the names of their keys, of which some may be gone, and the beginning of what they failed with."""
    key = ApiKey.objects.filter(pk=OuterRef("api_key_id"))
    as_text = Func(F("error"), template="%(expressions)s #>> '{}'", output_field=TextField())
    words = Coalesce(KeyTextTransform("message", "error"), as_text)
    shown = ("job_id", "type", "status", "created_at", "num_pages", "credits", "organization", "erased")
    return (
        Job.objects.filter(organization=organization)
        .newest_first()
        .only(*shown)
        .annotate(
            key_name=Subquery(key.values("name")[:1]),
            error_code=KeyTextTransform("code", "error"),
            error_words=Left(words, LONGEST_ERROR),
        )
    )


def last_jobs(subject: Subject) -> list[Job]:
    return list(_jobs(subject.organization)[:JOBS])


def last_failures(subject: Subject) -> list[Job]:
    return list(_jobs(subject.organization).filter(status=JobStatus.FAILED)[:JOBS])


@dataclass(frozen=True)
class Alerts:
    on: list[tuple[UsageAlert, str]]
    count: str
    # Of the month it is: what was reached, and of which rule.
    fired: list[tuple[TriggeredAlert, str, str]]
    month: date


def alerts(subject: Subject) -> Alerts:
    organization = subject.organization
    month = alert_periods.current(organization, alert_periods.Kind.MONTHLY, now=subject.now)
    enabled = UsageAlert.objects.filter(organization=organization, is_enabled=True)
    fired = TriggeredAlert.objects.filter(organization=organization, period_start__gte=month.start)
    return Alerts(
        on=[
            (alert, alert_history.rule(alert))
            for alert in enabled.select_related("api_key").order_by("-id")[:ALERTS]
        ],
        count=subject.counts["alerts"],
        fired=[
            (
                firing,
                alert_words.amount(firing.metric, firing.value),
                alert_words.rule(firing, alert_words.about(firing.scope, {})),
            )
            for firing in fired.order_by("-fired_at")[:ALERTS]
        ],
        month=month.start,
    )


# ── Keys and people ──────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Keys:
    keys: list[ApiKey]
    count: str
    live: str
    now: datetime


def keys(subject: Subject) -> Keys:
    """Those that work first, the last used of them at the top."""
    works = Q(revoked_at=None, disabled_at=None) & (Q(expires_at=None) | Q(expires_at__gt=subject.now))
    ranked = subject.organization.api_keys.defer("secret_hash", "previous_secret_hash").order_by(
        Case(When(works, then=Value(0)), default=Value(1)),
        F("last_used_at").desc(nulls_last=True),
        "-created_at",
        "-id",
    )
    counts = subject.counts
    return Keys(list(ranked[:KEYS]), counts["keys"], counts["live_keys"], subject.now)


@dataclass(frozen=True)
class Members:
    members: list[Membership]
    count: str
    invitations: list[Invitation]
    invited: str
    offer: OwnershipOffer | None
    two_factor_from: datetime | None

    @property
    def owner(self) -> Membership | None:
        return next((each for each in self.members if each.role == Role.OWNER), None)

    @property
    def has_owner_who_may_act(self) -> bool:
        return self.owner is not None and self.owner.user.is_active


def memberships(organization: Organization) -> QuerySet[Any]:
    """Its members, with whether they have a second factor and a verified address."""
    device = TOTPDevice.objects.filter(user=OuterRef("user_id"), confirmed=True)
    address = EmailAddress.objects.filter(
        user=OuterRef("user_id"), verified=True, email=OuterRef("user__email")
    )
    found = Membership.objects.filter(organization=organization).select_related("user")
    return found.annotate(has_two_factor=Exists(device), is_verified=Exists(address))


def members(subject: Subject) -> Members:
    """The owner first, then by role; of a role those who were here last."""
    organization = subject.organization
    roles = [When(role=role, then=Value(place)) for place, role in enumerate(Role.values)]
    listed = memberships(organization).order_by(
        Case(*roles, default=Value(9)), F("last_active_at").desc(nulls_last=True), "id"
    )
    invited = Invitation.objects.open().filter(organization=organization).defer("token_hash")
    return Members(
        members=list(listed[:MEMBERS]),
        count=subject.counts["members"],
        invitations=list(invited.order_by("-created_at", "-id")[:INVITATIONS]),
        invited=subject.counts["invitations"],
        offer=getattr(organization, "ownership_offer", None),
        two_factor_from=organization.two_factor_required_from,
    )


# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Receiver:
    """An endpoint, how many messages wait for it or are retried, and how many were given up."""

    endpoint: Endpoint
    queued: str
    given_up: str


@dataclass(frozen=True)
class Webhooks:
    # None where a Svix server keeps them.
    receivers: list[Receiver] | None
    count: str
    waiting: str
    refused: str
    # The first in the outbox, which holds up the rest.
    oldest: OutboxMessage | None


def webhooks(subject: Subject) -> Webhooks:
    organization, counts = subject.organization, subject.counts
    listed = _receivers(organization) if isinstance(get_svix(), EmbeddedSvix) else None
    return Webhooks(
        receivers=listed,
        count=counts["endpoints"],
        waiting=counts["waiting"],
        refused=counts["refused"],
        oldest=deliveries.waiting(organization).first(),
    )


def _receivers(organization: Organization) -> list[Receiver]:
    """Those in trouble first, each with its last success and failure and what it has not taken."""
    tries = Attempt.objects.filter(endpoint=OuterRef("pk")).order_by("-timestamp", "-id")
    # While an endpoint fails, its last success lies before: nothing is looked through to find it.
    until = Coalesce(OuterRef("failing_since"), Now())
    succeeded = tries.filter(status=Status.SUCCESS, timestamp__lte=until)
    failed = tries.filter(status=Status.FAIL)
    # An endpoint's lane in the queue is its own number.
    queued = Delivery.objects.filter(lane=OuterRef("pk"), next_attempt_at__isnull=False)
    given_up = Delivery.objects.filter(endpoint=OuterRef("pk"), status=Status.FAIL)
    found = (
        Endpoint.objects.existing()
        .filter(organization=organization)
        .defer("stored_secret", "old_secrets", "stored_headers")
        .annotate(
            last_success=Subquery(succeeded.values("timestamp")[:1]),
            last_failure=Subquery(failed.values("timestamp")[:1]),
            last_answer=Subquery(failed.values("status_code")[:1]),
            queued_count=Counted(queued.values("pk")[: MOST_COUNTED + 1]),
            given_up_count=Counted(given_up.values("pk")[: MOST_COUNTED + 1]),
        )
        .order_by(F("failing_since").desc(nulls_last=True), "-disabled", "-id")
    )
    return [_receiver(each) for each in found[:ENDPOINTS]]


def _receiver(endpoint: Any) -> Receiver:
    """Of an endpoint that came with its counts."""
    return Receiver(endpoint, _bounded(endpoint.queued_count), _bounded(endpoint.given_up_count))


@dataclass(frozen=True)
class Work:
    """What is made or sent in the background: under way, or failed."""

    exports: list[UsageExportFile]
    replays: list[Replay]


def work(subject: Subject) -> Work:
    exports = UsageExportFile.objects.filter(organization=subject.organization)
    replays = Replay.objects.filter(organization=subject.organization)
    open_exports = exports.filter(state__in=("waiting", "running", "failed"))
    open_replays = replays.filter(state__in=("counting", "sending", "failed"))
    return Work(
        list(open_exports.order_by("-created_at", "-id")[:WORKS]), list(open_replays.order_by("-id")[:WORKS])
    )


# ── What is remembered ───────────────────────────────────────────────────────────────────────────────────────
def notes(subject: Subject) -> list[Note]:
    standing = Note.objects.standing().filter(organization=subject.organization)
    return list(standing.select_related("created_by").newest_first()[:NOTES])


@dataclass(frozen=True)
class Entry:
    """An audit entry in words."""

    entry: AuditEntry
    sentence: str

    @property
    def reason(self) -> str:
        """What was said for it, where something was."""
        return str(self.entry.after.get("reason") or "")


def audit_trail(subject: Subject) -> list[Entry]:
    entries = subject.organization.audit_entries.newest_first()[:ENTRIES]
    return [
        Entry(entry, audit_sentences.sentence(entry.action, entry.target_name, entry.after))
        for entry in entries
    ]


# ── All of them ──────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Section:
    """A card of the page: its template is named as it is, and it is shown to whoever may see all that it is of."""

    name: str
    title: str
    permissions: tuple[str, ...]
    find: Callable[[Subject], Any]

    @property
    def template(self) -> str:
        return f"admin/backoffice/organization/{self.name}.html"


_OF_PLAN = (
    "billing.view_billingaccount",
    "billing.view_plan",
    "billing.view_entitlementoverride",
    "billing.view_creditgrant",
    "billing.view_creditentry",
    "billing.view_meterreport",
    "billing.view_topup",
    "usage.view_entitlement",
    "usage.view_spendcap",
)
_OF_MEMBERS = ("accounts.view_membership", "accounts.view_user", "accounts.view_invitation")
SECTIONS: Sequence[Section] = (
    Section("plan", "Plan and credits", _OF_PLAN, plan_and_credits),
    Section("usage", "Usage today", ("usage.view_usagerecord",), usage_today),
    Section("failures", "Last failures", ("usage.view_job",), last_failures),
    Section("keys", "API keys", ("accounts.view_apikey",), keys),
    Section(
        "webhooks",
        "Webhooks",
        ("webhooks.view_endpoint", "webhooks.view_outboxmessage", "webhooks.view_message"),
        webhooks,
    ),
    Section("notes", "Notes", ("accounts.view_note",), notes),
    Section("members", "Members", _OF_MEMBERS, members),
    Section("jobs", "Last jobs", ("usage.view_job", "accounts.view_apikey"), last_jobs),
    Section(
        "payments",
        "Invoices and payment",
        ("billing.view_invoice", "billing.view_billingaccount"),
        payments,
    ),
    Section("alerts", "Alerts", ("usage.view_usagealert", "usage.view_triggeredalert"), alerts),
    Section("work", "Exports and replays", ("webhooks.view_replay",), work),
    Section("audit", "Audit", ("accounts.view_auditentry",), audit_trail),
)


def shown(subject: Subject, *, may: Callable[[str], bool]) -> Mapping[str, tuple[Section, Any]]:
    """The sections that somebody may see, each with what was found for it."""
    return {each.name: (each, each.find(subject)) for each in SECTIONS if all(map(may, each.permissions))}
