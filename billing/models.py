"""Plans, what each organization is on and owes, and the ledger of credits.

Stripe's ids are kept as text: what they name lives there, and in dj-stripe's mirror, which may be purged.
`BillingAccount` is the row that everything which changes credits or access locks first.
"""

from decimal import Decimal
from typing import Any, Self

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Organization, User, uid_field

ZERO = Decimal(0)


def credits_field(**options: Any) -> "models.DecimalField[Decimal, Decimal]":
    """Credits, to the millionth, as usage counts them."""
    return models.DecimalField(max_digits=30, decimal_places=6, **options)


def dollars_field(**options: Any) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(max_digits=12, decimal_places=2, **options)


# ── What is on offer ─────────────────────────────────────────────────────────────────────────────────────────
class Plan(models.Model):
    """A plan on offer: what it costs and what it entitles to. Edited in the admin, sent to Stripe by `sync_stripe`."""

    slug = models.SlugField(max_length=32, unique=True)
    name = models.CharField(max_length=60)
    summary = models.CharField(max_length=200, blank=True, help_text="One line under its name.")
    monthly_price = dollars_field(null=True, blank=True, help_text="Dollars; empty for none.")
    yearly_price = dollars_field(
        null=True, blank=True, help_text="Dollars; empty where it is not sold by year."
    )
    credit_price = models.DecimalField(
        max_digits=10, decimal_places=6, default=Decimal("0.01"), help_text="Dollars for a credit of overage."
    )
    included_credits = credits_field(
        default=ZERO, help_text="Granted each month, also where it is paid by year."
    )
    sign_up_credits = credits_field(
        default=ZERO, help_text="Granted once, to a new organization on this plan."
    )
    rolls_over = models.BooleanField(
        "included credits roll over", default=False, help_text="They then outlive their month."
    )
    is_unlimited = models.BooleanField(
        default=False, help_text="Nothing limits calls by credits, and no balance is shown to programs."
    )
    is_custom = models.BooleanField(
        default=False, help_text="Sold by agreement: invoiced by hand, with “Contact sales” on the page."
    )
    requests_per_minute = models.PositiveIntegerField()
    retention_days = models.PositiveIntegerField(help_text="Most days that job details are kept; 0 for none.")
    # The comparison on the page, where words say it better than the numbers above.
    price_text = models.CharField(max_length=120, blank=True)
    billing_text = models.CharField(max_length=120, blank=True)
    credits_text = models.CharField(max_length=120, blank=True)
    rate_limit_text = models.CharField(max_length=120, blank=True)
    support_text = models.CharField(max_length=120, blank=True)
    retention_text = models.CharField(max_length=120, blank=True)
    compliance_text = models.CharField(max_length=120, blank=True)
    is_offered = models.BooleanField(
        default=True, help_text="Shown to choose from. Who is on it stays on it."
    )
    position = models.PositiveSmallIntegerField(default=0)
    stripe_product = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(
                name="plan_not_negative",
                condition=Q(credit_price__gte=0, included_credits__gte=0, sign_up_credits__gte=0),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_metered(self) -> bool:
        """Whether it costs nothing but what is used."""
        return not (self.monthly_price or self.yearly_price or self.is_custom)

    def price(self, interval: str) -> Decimal | None:
        """Dollars for a month or a year; None where it is not sold so."""
        return self.yearly_price if interval == Interval.YEAR else self.monthly_price

    def rank(self, interval: str) -> tuple[Decimal, bool]:
        """By which a change goes upwards: what a month costs, then a year before a month."""
        return self.monthly_price or (self.yearly_price or ZERO) / 12, interval == Interval.YEAR

    def lookup_key(self, interval: str) -> str:
        """By which Stripe finds the price."""
        return f"{self.slug}_{interval}ly"

    @property
    def usage_lookup_key(self) -> str:
        """By which Stripe finds the price of a credit of overage."""
        return f"{self.slug}_usage"


class Interval(models.TextChoices):
    MONTH = "month", "Monthly"
    YEAR = "year", "Yearly"


class CreditPack(models.Model):
    """Credits to buy at once."""

    slug = models.SlugField(max_length=32, unique=True)
    credits = credits_field()
    price = dollars_field()
    valid_days = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: they do not expire.")
    is_offered = models.BooleanField(default=True)
    position = models.PositiveSmallIntegerField(default=0)
    stripe_product = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        ordering = ["position", "credits"]
        constraints = [
            models.CheckConstraint(name="credit_pack_above_nothing", condition=Q(credits__gt=0, price__gt=0))
        ]

    def __str__(self) -> str:
        return f"{self.credits.normalize():,f} credits"

    @property
    def lookup_key(self) -> str:
        return f"pack_{self.slug}"


# ── What an organization is on ───────────────────────────────────────────────────────────────────────────────
class Subscription(models.TextChoices):
    """The state of a subscription, in Stripe's words; empty where there is none."""

    NONE = "", "None"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    PAUSED = "paused"


# While it is in one of these, Stripe bills what credits do not cover.
BILLED = frozenset({Subscription.TRIALING, Subscription.ACTIVE, Subscription.PAST_DUE})


class BillingAccount(models.Model):
    """What an organization is on and how it pays. Whoever changes credits or access locks it: `credits.lock()`.

    `balance` is the sum of its ledger; `settled` what of its usage the ledger knows; `uncovered` what of that no
    credits paid for and nobody bills: new credits pay for it first. `overage_pending` is not yet reported to the meter,
    as Stripe counts whole credits, and may be below 0 after a correction. What is invoiced by hand never gets there.
    """

    organization = models.OneToOneField(
        Organization, models.CASCADE, primary_key=True, related_name="billing_account"
    )
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="+")
    is_invoiced = models.BooleanField(
        "invoiced by hand", default=False, help_text="Staff put it on its plan; Stripe bills nothing."
    )
    interval = models.CharField(max_length=8, choices=Interval.choices, blank=True)
    stripe_customer = models.CharField(max_length=64, blank=True, editable=False)
    stripe_subscription = models.CharField(max_length=64, blank=True, editable=False)
    subscription_status = models.CharField(max_length=24, choices=Subscription.choices, blank=True)
    credit_price = models.DecimalField(
        max_digits=10,
        decimal_places=6,
        null=True,
        blank=True,
        editable=False,
        help_text="Dollars for a credit of overage by its subscription; empty: the plan's.",
    )
    # Of the metered item: what usage is billed in. Months, also where the plan is paid by year.
    period_start = models.DateTimeField(null=True, blank=True, editable=False)
    period_end = models.DateTimeField(null=True, blank=True, editable=False)
    renews_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Of the plan's own price."
    )
    # From here on months are counted for included credits.
    anchor = models.DateTimeField(default=timezone.now, editable=False)
    past_due_since = models.DateTimeField(null=True, blank=True, editable=False)
    grace_until = models.DateTimeField(
        null=True, blank=True, help_text="Calls go on until then although a payment is due."
    )
    ends_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When it was asked to end."
    )
    # What follows then: another plan, or nothing.
    next_plan = models.ForeignKey(
        Plan, models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    next_interval = models.CharField(max_length=8, choices=Interval.choices, blank=True, editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True, editable=False)
    card = models.CharField(max_length=60, blank=True, editable=False, help_text="As “Visa •••• 4242”.")
    card_ends_at = models.DateTimeField(null=True, editable=False, help_text="When its card expires.")
    # Each reading of Stripe takes a number before it begins: what was read earlier never replaces what was read later.
    readings = models.PositiveBigIntegerField(default=0, editable=False)
    last_reading = models.PositiveBigIntegerField(default=0, editable=False, help_text="The newest applied.")
    # ── credits
    balance = credits_field(default=ZERO, editable=False)
    settled = credits_field(default=ZERO, editable=False)
    uncovered = credits_field(default=ZERO, editable=False)
    overage_pending = credits_field(default=ZERO, editable=False)
    # Counts the grants: who was told that credits are low is told again after the next one.
    grants = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="billing_account_not_negative", condition=Q(balance__gte=0, uncovered__gte=0)
            ),
            models.UniqueConstraint(
                fields=["stripe_customer"], name="billing_account_customer", condition=~Q(stripe_customer="")
            ),
            models.UniqueConstraint(
                fields=["stripe_subscription"],
                name="billing_account_subscription",
                condition=~Q(stripe_subscription=""),
            ),
        ]
        indexes = [
            # Few of very many, of which staff are told.
            models.Index(
                fields=["past_due_since"],
                name="billing_account_past_due",
                condition=Q(subscription_status=Subscription.PAST_DUE),
            )
        ]

    def __str__(self) -> str:
        return f"{self.organization} on {self.plan}"

    @property
    def is_subscribed(self) -> bool:
        """Whether Stripe has a subscription of it that is not over, paid or not."""
        return self.subscription_status in {
            Subscription.TRIALING,
            Subscription.ACTIVE,
            Subscription.PAST_DUE,
            Subscription.UNPAID,
            Subscription.PAUSED,
        }

    @property
    def bills_overage(self) -> bool:
        """Whether somebody is billed for what credits do not cover."""
        return self.is_invoiced or self.subscription_status in BILLED


class EntitlementOverride(models.Model):
    """What staff agreed with an organization beside its plan, or a suspension. For each field the newest counts."""

    uid = uid_field("ovr")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="entitlement_overrides")
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    retention_days = models.PositiveIntegerField(null=True, blank=True)
    credit_price = models.DecimalField(max_digits=10, decimal_places=6, null=True, blank=True)
    included_credits = credits_field(null=True, blank=True)
    is_suspended = models.BooleanField(
        default=False, help_text="No calls; the reason is shown to the customer."
    )
    reason = models.CharField(max_length=200)
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is ended.")
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "id"], name="override_in_force", condition=Q(ended_at=None)),
            models.Index(fields=["until"], name="override_until", condition=Q(ended_at=None)),
        ]

    def __str__(self) -> str:
        return self.reason


# ── Credits ──────────────────────────────────────────────────────────────────────────────────────────────────
class CreditGrantQuerySet(models.QuerySet["CreditGrant"]):
    def open(self) -> Self:
        return self.filter(is_open=True)

    def in_burn_order(self) -> Self:
        """As they are used up: by priority, then what expires first, then the oldest."""
        return self.order_by("priority", F("expires_at").asc(nulls_last=True), "created_at", "id")


class CreditGrant(models.Model):
    """Credits that came in. `remaining` follows the ledger's entries about it, and is never below 0."""

    class Kind(models.TextChoices):
        FREE = "free"
        INCLUDED = "included"
        PURCHASED = "purchased"
        PROMOTIONAL = "promotional"
        GOODWILL = "goodwill"

    # What lapses soonest goes first, what was paid for last.
    PRIORITY: dict[str, int] = {
        Kind.INCLUDED: 10,
        Kind.FREE: 20,
        Kind.PROMOTIONAL: 20,
        Kind.GOODWILL: 30,
        Kind.PURCHASED: 40,
    }

    uid = uid_field("grt")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    key = models.CharField(max_length=200, help_text="What it was granted for: once.")
    amount = credits_field()
    remaining = credits_field()
    # Indexes go by this and not by what remains: so a grant that is drawn on stays where they point to.
    is_open = models.GeneratedField(
        expression=Q(remaining__gt=0),  # type: ignore[arg-type]
        output_field=models.BooleanField(),
        db_persist=True,
    )
    priority = models.PositiveSmallIntegerField()
    expires_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, help_text="In words for the customer.")
    # What it was paid with, where it was bought: an invoice or payment of Stripe's.
    stripe_object = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = CreditGrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "key"], name="credit_grant_once"),
            models.CheckConstraint(
                name="credit_grant_within_amount",
                condition=Q(amount__gt=0, remaining__gte=0, remaining__lte=F("amount")),
            ),
        ]
        indexes = [
            models.Index(
                fields=["organization", "priority"], name="credit_grant_open", condition=Q(is_open=True)
            ),
            models.Index(
                fields=["expires_at"],
                name="credit_grant_expiring",
                condition=Q(is_open=True, expires_at__isnull=False),
            ),
            models.Index(fields=["organization", "-created_at", "-id"], name="credit_grant_list"),
            models.Index(fields=["kind", "-id"], name="credit_grant_of_kind"),
            BrinIndex(fields=["created_at"], name="credit_grant_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.amount.normalize():,f} {self.get_kind_display().lower()} credits"


class CreditEntry(models.Model):
    """A line of the ledger. Append-only: what was wrong is put right by another line.

    `amount` changes the balance, and `balance` is what it then was. `overage` are credits that are billed instead
    (below 0: no longer billed). What was used is told by day, as usage counts days.
    """

    class Kind(models.TextChoices):
        GRANT = "grant"
        USAGE = "usage"
        OVERAGE = "overage"
        RETURN = "return", "Given back"
        EXPIRY = "expiry", "Expired"
        CORRECTION = "correction"

    uid = uid_field("cre")
    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount = credits_field(default=ZERO)
    overage = credits_field(default=ZERO)
    balance = credits_field()
    grant = models.ForeignKey(
        CreditGrant, models.CASCADE, null=True, related_name="entries", db_index=False, db_constraint=False
    )
    day = models.DateField(null=True)
    job_id = models.CharField(max_length=128, blank=True, help_text="Where it is about one job.")
    meter_report = models.ForeignKey(
        "MeterReport", models.SET_NULL, null=True, related_name="entries", db_index=False, db_constraint=False
    )
    key = models.CharField(max_length=300, blank=True, help_text="Of what may happen once; empty for others.")
    reason = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", db_index=False, db_constraint=False
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "credit entries"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "key"], name="credit_entry_once", condition=~Q(key="")
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="credit_entry_list"),
            models.Index(fields=["organization", "day"], name="credit_entry_of_day"),
            models.Index(fields=["grant"], name="credit_entry_of_grant"),
            models.Index(
                fields=["meter_report"], name="credit_entry_reported", condition=Q(meter_report__isnull=False)
            ),
            # Most lines tell of what was used.
            models.Index(
                fields=["kind", "-id"],
                name="credit_entry_of_kind",
                condition=~Q(kind="usage"),
            ),
            BrinIndex(fields=["created_at"], name="credit_entry_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount.normalize():f}"


class SettledDay(models.Model):
    """How much of a day's usage the ledger knows; of that, what is billed as overage, and what nobody paid for yet.

    The rest was taken out of grants, as the day's entries tell.
    """

    pk = models.CompositePrimaryKey("organization_id", "day")
    organization_id = models.BigIntegerField()
    day = models.DateField()
    credits = credits_field()
    overage = credits_field(default=ZERO)
    uncovered = credits_field(default=ZERO)

    class Meta:
        constraints = [models.CheckConstraint(name="settled_day_not_negative", condition=Q(uncovered__gte=0))]


class SettlementMark(models.Model):
    """Up to when all changes of usage have been settled. One row."""

    settled_until = models.DateTimeField()


class CreditNotice(models.Model):
    """That an organization was told how few credits are left, once after each grant."""

    class Level(models.TextChoices):
        LOW = "low"
        DEPLETED = "depleted"

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    level = models.CharField(max_length=16, choices=Level.choices)
    grants = models.PositiveIntegerField(help_text="How many grants the account had had at that time.")
    remaining = credits_field()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "level", "grants"], name="credit_notice_once")
        ]

    def __str__(self) -> str:
        return f"{self.level} at {self.remaining.normalize():f}"


class AutoTopUp(models.Model):
    """The wish to have a pack bought whenever few credits are left. It stops after a failed payment."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, primary_key=True, related_name="auto_top_up"
    )
    threshold = credits_field(help_text="A pack is bought when fewer credits than these are left.")
    pack = models.ForeignKey(CreditPack, models.PROTECT, related_name="+")
    monthly_limit = dollars_field(help_text="Dollars that may be spent so in a calendar month (UTC).")
    stopped_at = models.DateTimeField(null=True, blank=True)
    stopped_reason = models.CharField(max_length=200, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.pack} below {self.threshold.normalize():,f}"


class TopUp(models.Model):
    """A pack that was bought by itself. The row is there before Stripe is asked, and its uid is the idempotency key."""

    class State(models.TextChoices):
        WAITING = "waiting"
        PAID = "paid"
        FAILED = "failed"

    uid = uid_field("top")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    credits = credits_field()
    price = dollars_field()
    lookup_key = models.CharField(max_length=64)
    valid_days = models.PositiveIntegerField(null=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    stripe_invoice = models.CharField(max_length=64, blank=True)
    problem = models.CharField(max_length=300, blank=True)
    leased_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization"], name="top_up_one_at_a_time", condition=Q(state="waiting")
            )
        ]
        indexes = [models.Index(fields=["organization", "-created_at"], name="top_up_of_organization")]

    def __str__(self) -> str:
        return self.uid


# ── Stripe ───────────────────────────────────────────────────────────────────────────────────────────────────
class StripeChange(models.Model):
    """An object of Stripe's that an event told of: to be read again and applied. Written in the event's transaction.

    One row an object, whatever the number of events and their order. It is deleted once it was applied as `version`
    says; until then a sweep takes it up again.
    """

    stripe_id = models.CharField(max_length=64, primary_key=True)
    version = models.PositiveBigIntegerField(default=1, help_text="Counts the events.")
    leased_until = models.DateTimeField(null=True, help_text="While it is being applied.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["next_attempt_at"], name="stripe_change_due")]

    def __str__(self) -> str:
        return self.stripe_id


class MeterReport(models.Model):
    """Whole credits of overage on their way to Stripe's meter. Written with the entries that make it up, sent later.

    Below 0 it takes back what was reported before in the same period, never more than that.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        REFUSED = "refused"

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="In which it was settled.")
    sequence = models.PositiveIntegerField(help_text="Counts the reports of the hour.")
    quantity = models.BigIntegerField()
    identifier = models.CharField(max_length=100, unique=True, help_text="By which Stripe knows it again.")
    stripe_customer = models.CharField(max_length=64)
    stripe_subscription = models.CharField(max_length=64)
    period_start = models.DateTimeField(help_text="Of the period that it is billed in.")
    timestamp = models.DateTimeField(help_text="The moment that Stripe is told it happened at.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True)
    # Usage that came too late for its period is billed by an invoice of its own after the last one.
    billed_by = models.CharField(max_length=64, blank=True, help_text="The one-off invoice, where it is one.")
    repairs = models.ForeignKey(
        "MeterDrift",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="repairs",
        help_text="What the meter had lost, or counted too often: it is in no line of the ledger.",
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "hour", "sequence"], name="meter_report_once"),
            models.CheckConstraint(name="meter_report_of_something", condition=~Q(quantity=0)),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], name="meter_report_waiting", condition=Q(state="waiting")
            ),
            # Whose turn it is: the first that waits of an organization stands for all of it.
            models.Index(
                fields=["organization", "id"], name="meter_report_turn", condition=Q(state="waiting")
            ),
            models.Index(fields=["organization", "period_start"], name="meter_report_of_period"),
            # By which the meter counts it.
            models.Index(fields=["organization", "timestamp"], name="meter_report_of_moment"),
            models.Index(
                fields=["organization", "stripe_subscription"],
                name="meter_report_unbilled",
                condition=Q(billed_by=""),
            ),
            models.Index(fields=["id"], name="meter_report_refused", condition=Q(state="refused")),
            BrinIndex(fields=["created_at"], name="meter_report_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return self.identifier


class MeterDrift(models.Model):
    """Where Stripe's meter and our reports of a period do not agree, until they do again."""

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    reported = models.BigIntegerField(help_text="Credits that we sent.")
    counted = models.DecimalField(max_digits=30, decimal_places=6, help_text="Credits that Stripe counted.")
    found_at = models.DateTimeField(default=timezone.now)
    repair = models.CharField(max_length=200, blank=True, help_text="What was done about it.")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "period_start"], name="meter_drift_once")
        ]

    def __str__(self) -> str:
        return f"{self.reported} reported, {self.counted.normalize():f} counted"


class Invoice(models.Model):
    """An invoice of Stripe's as it was when it last changed, kept for its lists. `lines` are Stripe's, shortened."""

    uid = uid_field("ivc")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    stripe_id = models.CharField(max_length=64, unique=True)
    number = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=24)
    reason = models.CharField(max_length=40, blank=True, help_text="Stripe's word for why it was drawn up.")
    currency = models.CharField(max_length=3, default="usd")
    total = dollars_field()
    amount_due = dollars_field()
    amount_paid = dollars_field()
    period_start = models.DateTimeField(null=True)
    period_end = models.DateTimeField(null=True)
    lines = models.JSONField(default=list)
    hosted_url = models.TextField(blank=True)
    pdf_url = models.TextField(blank=True)
    receipt_url = models.TextField(blank=True)
    stripe_payment = models.CharField(max_length=64, blank=True, help_text="What it was paid with.")
    attempts = models.PositiveIntegerField(default=0, help_text="How often Stripe tried to be paid.")
    next_attempt_at = models.DateTimeField(null=True, help_text="When Stripe tries again to be paid.")
    created_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="invoice_list"),
            # For what came in of all organizations.
            models.Index(fields=["paid_at"], name="invoice_paid", condition=Q(paid_at__isnull=False)),
            # What staff find it by.
            models.Index(fields=["number"], name="invoice_number"),
            models.Index(fields=["stripe_payment"], name="invoice_payment", condition=~Q(stripe_payment="")),
            models.Index(fields=["status", "-id"], name="invoice_of_status"),
            BrinIndex(fields=["created_at"], name="invoice_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return self.number or self.stripe_id
