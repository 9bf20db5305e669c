"""What was asked for (jobs), what was used (records), the totals kept beside them, and what each customer may do.

The tables follow from measurements: `UsageRecord` is partitioned by month, `IdempotencyKey` by hash; the totals are
written in the transaction of the records they add up, so they agree at any moment. What ingest writes carries no
foreign key constraint: it would look up and lock the organization for every row. Partitioned tables and the
totals' composite keys are made by SQL in the first migration.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils import timezone

from accounts.models import ApiKey, Organization, User, uid_field


class Product(models.TextChoices):
    PARSE = "parse"
    EXTRACT = "extract"
    SPLIT = "split"
    EDIT = "edit"
    CLASSIFY = "classify"
    PIPELINE = "pipeline"


class Feature(models.TextChoices):
    STANDARD = "standard"
    COMPLEX = "complex"
    AGENTIC = "agentic"
    AGENTIC_COMPLEX = "agentic_complex"
    TEXT = "text"
    SPREADSHEET = "spreadsheet"
    SPREADSHEET_ACCURATE = "spreadsheet_accurate"
    CHART = "chart"
    DEEP = "deep"


class JobType(models.TextChoices):
    PARSE = "Parse"
    EXTRACT = "Extract"
    SPLIT = "Split"
    EDIT = "Edit"
    PIPELINE = "Pipeline"
    CLASSIFY = "Classify"


class JobStatus(models.TextChoices):
    PENDING = "Pending"
    IN_PROGRESS = "InProgress", "In progress"
    COMPLETING = "Completing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    IDLE = "Idle"
    CANCELLED = "Cancelled"


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
# How far a job has come. A report of an earlier stage arriving late changes nothing.
STAGE: dict[str, int] = {
    JobStatus.PENDING: 0,
    JobStatus.IN_PROGRESS: 1,
    JobStatus.IDLE: 1,
    JobStatus.COMPLETING: 2,
    **dict.fromkeys(TERMINAL, 3),
}


class CreditRate(models.Model):
    """A line of the price book: what a unit of a feature costs from a moment on. Published rates never change."""

    class Unit(models.TextChoices):
        PAGE = "page"
        CELLS_5000 = "5000_cells", "5,000 cells"
        CELLS_1000 = "1000_cells", "1,000 cells"
        CHART = "chart"

    product = models.CharField(max_length=16, choices=Product.choices)
    feature = models.CharField(max_length=32, choices=Feature.choices)
    unit = models.CharField(max_length=16, choices=Unit.choices, default=Unit.PAGE)
    credits_per_unit = models.DecimalField(max_digits=12, decimal_places=6)
    minimum_credits = models.DecimalField(
        max_digits=12, decimal_places=6, default=Decimal(0), help_text="Per record."
    )
    batch_factor = models.DecimalField(
        max_digits=6, decimal_places=4, default=Decimal(1), help_text="Times this when the priority is batch."
    )
    effective_from = models.DateTimeField(default=timezone.now)
    note = models.CharField(max_length=200, blank=True, help_text="What customers read beside it.")
    reason = models.CharField(max_length=200, blank=True, editable=False, help_text="Why it was published.")
    # Rates that were published at once share it, and by it are published once.
    publication = models.CharField(max_length=40, blank=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["product", "feature", "effective_from"], name="credit_rate_version"
            ),
            models.UniqueConstraint(
                fields=["publication", "product", "feature"],
                name="credit_rate_published_once",
                condition=~models.Q(publication=""),
            ),
            models.CheckConstraint(
                name="credit_rate_not_negative",
                condition=models.Q(credits_per_unit__gte=0, minimum_credits__gte=0, batch_factor__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product} {self.feature} from {self.effective_from:%Y-%m-%d}"


# What the staff reads for `Entitlement.refusal`.
STANDINGS = {
    "": "allowed",
    "SUSPENDED": "suspended",
    "SPEND_CAP_REACHED": "spend cap reached",
    "OUT_OF_CREDITS": "out of credits",
}


class Entitlement(models.Model):
    """What an organization may do now. Written by billing; read by verify, which never adds anything up.

    Remaining credits are `credits_ceiling − credits_used`: ingest bumps the one, billing raises the other.
    """

    organization = models.OneToOneField(
        Organization, models.CASCADE, primary_key=True, related_name="entitlement"
    )
    plan = models.CharField(max_length=32)
    may_call = models.BooleanField(default=True)
    reason = models.CharField(max_length=200, blank=True, help_text="Why not, in words for the customer.")
    requests_per_minute = models.PositiveIntegerField()
    credit_price = models.DecimalField(
        max_digits=10, decimal_places=6, help_text="List price of a credit, in dollars."
    )
    credits_used = models.DecimalField(max_digits=30, decimal_places=6, default=Decimal(0), editable=False)
    credits_ceiling = models.DecimalField(max_digits=30, decimal_places=6, null=True, blank=True)
    overage_allowed = models.BooleanField(default=False, help_text="Calls go on when the credits are spent.")
    # A moment, not a mark: the cap ends with its month, whether or not anybody is there to lift it.
    spend_cap_reached_until = models.DateTimeField(null=True, blank=True, editable=False)
    retention_days = models.PositiveIntegerField(default=90)

    def __str__(self) -> str:
        return f"{self.plan} of {self.organization}"

    @property
    def credits_remaining(self) -> Decimal | None:
        """Credits left, never below 0; None when nothing limits them."""
        if self.credits_ceiling is None:
            return None
        return max(self.credits_ceiling - self.credits_used, Decimal(0))

    def standing(self, now: datetime) -> str:
        """Whether its keys are let through now, in words for the staff: "allowed", or why not."""
        return STANDINGS[self.refusal(now)]

    def refusal(self, now: datetime) -> str:
        """The code with which verify refuses each of the organization's keys now, or ""; in verify's order."""
        if not self.may_call:
            return "SUSPENDED"
        if self.spend_cap_reached_until and self.spend_cap_reached_until > now:
            return "SPEND_CAP_REACHED"
        return "OUT_OF_CREDITS" if self.credits_remaining == 0 and not self.overage_allowed else ""


class PipelineConfig(models.Model):
    """A job's configuration as the JSON text it was reported in, kept once however many jobs ran with it."""

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    sha256 = models.CharField(max_length=64)
    text = models.TextField()
    # The hour in which the last job that ran with it ended, or was last heard of.
    used_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "sha256"], name="pipeline_config_once")
        ]
        indexes = [models.Index(fields=["organization", "used_at"], name="pipeline_config_unused")]

    def __str__(self) -> str:
        return self.sha256[:12]


class JobQuerySet(models.QuerySet["Job"]):
    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")

    def after(self, created_at: datetime, id: int) -> Self:
        """The jobs that follow this place in the log, newest first."""
        return self.filter(created_at__lte=created_at).exclude(created_at=created_at, id__gte=id)

    def before(self, created_at: datetime, id: int) -> Self:
        """The jobs that precede this place in the log, newest first."""
        return self.filter(created_at__gte=created_at).exclude(created_at=created_at, id__lte=id)


class Job(models.Model):
    """A unit of work a customer asked for; the request log lists these. `job_id` is the data plane's own."""

    # What a job was given and what it said. It is erased under the organization's retention; the rest stays.
    DETAILS: ClassVar[list[str]] = ["configuration", "source", "webhook", "metadata", "error"]

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="jobs", db_index=False, db_constraint=False
    )
    job_id = models.CharField(max_length=128)
    api_key = models.ForeignKey(
        ApiKey, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    type = models.CharField(max_length=16, choices=JobType.choices)
    status = models.CharField(max_length=16, choices=JobStatus.choices)
    stage = models.SmallIntegerField()
    created_at = models.DateTimeField()
    duration = models.FloatField(null=True, help_text="Seconds.")
    num_pages = models.IntegerField(null=True)
    total_pages = models.IntegerField(null=True)
    credits = models.DecimalField(max_digits=30, decimal_places=6, default=Decimal(0))
    usage_items = models.IntegerField(default=0)
    region = models.CharField(max_length=32, default="")
    file_type = models.CharField(max_length=32, default="", help_text="Of the first usage item that came.")
    source = models.JSONField(null=True)
    config_sha256 = models.CharField(max_length=64, default="")
    webhook = models.JSONField(null=True)
    metadata = models.JSONField(null=True)
    error = models.JSONField(null=True)
    report_digest = models.CharField(max_length=64)
    updated_at = models.DateTimeField()
    # What of DETAILS was erased, or never stored; when, and under how many days of retention.
    erased = ArrayField(models.CharField(max_length=16), null=True, editable=False)
    erased_at = models.DateTimeField(null=True, editable=False)
    erased_under = models.PositiveIntegerField(null=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            # The operator class lets the same index find ids by how they begin, in any collation.
            models.UniqueConstraint(
                fields=["organization", "job_id"],
                name="job_once",
                opclasses=["int8_ops", "varchar_pattern_ops"],
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="job_log"),
            models.Index(fields=["organization", "api_key", "-created_at", "-id"], name="job_log_of_key"),
            # Few jobs are anything else for long, and those few are what people look for.
            models.Index(
                fields=["organization", "status", "-created_at", "-id"],
                name="job_log_not_completed",
                condition=~models.Q(status=JobStatus.COMPLETED),
            ),
            # The same for staff, who look at all organizations; and by time, in whose order most rows lie.
            models.Index(
                fields=["status", "-id"],
                name="job_not_completed",
                condition=~models.Q(status=JobStatus.COMPLETED),
            ),
            BrinIndex(fields=["created_at"], name="job_by_time", autosummarize=True),
            # What is erased, or had nothing to erase, leaves it.
            models.Index(
                fields=["organization", "created_at"],
                name="job_to_erase",
                condition=~models.Q(config_sha256="")
                | models.Q(source__isnull=False)
                | models.Q(webhook__isnull=False)
                | models.Q(metadata__isnull=False)
                | models.Q(error__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.job_id

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


class UsageRecord(models.Model):
    """A metered fact. Append-only: a correction is a negative record with the original's timestamp and its own key."""

    organization = models.ForeignKey(
        Organization, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    idempotency_key = models.CharField(max_length=255)
    job_id = models.CharField(max_length=128)
    api_key = models.ForeignKey(
        ApiKey, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    product = models.CharField(max_length=16, choices=Product.choices)
    feature = models.CharField(max_length=32, choices=Feature.choices)
    file_type = models.CharField(max_length=32)
    region = models.CharField(max_length=32, default="")
    priority = models.CharField(max_length=16, default="standard")
    requests = models.SmallIntegerField()
    pages = models.IntegerField()
    quantity = models.DecimalField(max_digits=30, decimal_places=6, null=True)
    credits = models.DecimalField(max_digits=30, decimal_places=6)
    cost = models.DecimalField(
        max_digits=30, decimal_places=6, help_text="List cost: credits times the price of one."
    )
    rate_id = models.BigIntegerField(null=True, help_text="The line of the price book that applied.")
    unrated = models.BooleanField(default=False, help_text="No rate was in force: recorded at 0 credits.")
    corrects = models.CharField(
        max_length=255, default="", help_text="The idempotency key of the record it corrects."
    )
    reason = models.CharField(max_length=200, default="")
    day = models.DateField()
    timestamp = models.DateTimeField()
    attributes = models.JSONField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-timestamp", "-id"], name="usage_record_log"),
            models.Index(fields=["organization", "job_id"], name="usage_record_of_job"),
            models.Index(fields=["id"], name="usage_record_unrated", condition=models.Q(unrated=True)),
            BrinIndex(fields=["timestamp"], name="usage_record_by_time", autosummarize=True),
            # What takes something back, of which the ledger of credits tells by record.
            models.Index(
                fields=["organization", "day"],
                name="usage_record_correction",
                condition=~models.Q(corrects="") & models.Q(credits__lt=0),
            ),
        ]

    def __str__(self) -> str:
        return self.idempotency_key


class IdempotencyKey(models.Model):
    """Claims a usage item for good, in the transaction that records it, across months and partitions."""

    pk = models.CompositePrimaryKey("organization_id", "key")
    organization_id = models.BigIntegerField()
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        # Rows lie in the order they came, so an index of where which time lies is all that pruning needs.
        indexes = [BrinIndex(fields=["created_at"], name="idempotency_key_by_age")]


class DailyUsage(models.Model):
    """The cube: a day's totals in every combination of dimensions, bumped with each record."""

    pk = models.CompositePrimaryKey("organization_id", "day", "api_key_id", "product", "feature", "file_type")
    organization_id = models.BigIntegerField()
    day = models.DateField()
    api_key_id = models.BigIntegerField()
    product = models.CharField(max_length=16)
    feature = models.CharField(max_length=32)
    file_type = models.CharField(max_length=32)
    requests = models.BigIntegerField()
    pages = models.BigIntegerField()
    credits = models.DecimalField(max_digits=30, decimal_places=6)
    cost = models.DecimalField(max_digits=30, decimal_places=6)


class UsageDay(models.Model):
    """A day's totals of an organization, and by `changed_at` the mark that something of that day changed."""

    pk = models.CompositePrimaryKey("organization_id", "day")
    organization_id = models.BigIntegerField()
    day = models.DateField()
    requests = models.BigIntegerField()
    pages = models.BigIntegerField()
    credits = models.DecimalField(max_digits=30, decimal_places=6)
    cost = models.DecimalField(max_digits=30, decimal_places=6)
    changed_at = models.DateTimeField(db_index=True)
    # Up to which change the day's margins were folded from the cube; a day that changed since is read from the cube.
    folded_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["changed_at"],
                name="usage_day_to_fold",
                condition=models.Q(folded_at=None) | models.Q(folded_at__lt=models.F("changed_at")),
            )
        ]


class UsageMargin(models.Model):
    """A clean day's totals by one dimension, folded from the cube; pages and exports of long times read these."""

    pk = models.CompositePrimaryKey("organization_id", "dimension", "day", "value")
    organization_id = models.BigIntegerField()
    dimension = models.CharField(max_length=16)
    day = models.DateField()
    value = models.CharField(max_length=64)
    requests = models.BigIntegerField()
    pages = models.BigIntegerField()
    credits = models.DecimalField(max_digits=30, decimal_places=6)
    cost = models.DecimalField(max_digits=30, decimal_places=6)


class DailyJobs(models.Model):
    """A day's finished jobs by key, type, region and status, with a histogram of their durations.

    `durations[i]` counts jobs of at most `DURATION_BUCKETS[i]` seconds; the last counts the longer ones.
    """

    DURATION_BUCKETS: ClassVar[list[float]] = [
        *(
            0.1,
            0.25,
            0.5,
            0.75,
            1,
            1.5,
            2,
            3,
            4,
            5,
            7.5,
            10,
            15,
            20,
            30,
            45,
            60,
            90,
            120,
            180,
            300,
            600,
            1800,
            3600,
        )
    ]

    pk = models.CompositePrimaryKey("organization_id", "day", "api_key_id", "type", "region", "status")
    organization_id = models.BigIntegerField()
    day = models.DateField()
    api_key_id = models.BigIntegerField()
    type = models.CharField(max_length=16)
    region = models.CharField(max_length=32)
    status = models.CharField(max_length=16)
    jobs = models.BigIntegerField()
    durations = ArrayField(models.BigIntegerField())

    class Meta:
        indexes = [models.Index(fields=["organization_id", "region"], name="daily_jobs_region")]


class JobMargin(models.Model):
    """A day's finished jobs of all keys and types, bumped with `DailyJobs`; pages read these where nothing is filtered.

    They are few however many jobs there are, and histograms are what takes long to add up.
    """

    pk = models.CompositePrimaryKey("organization_id", "day", "region", "status")
    organization_id = models.BigIntegerField()
    day = models.DateField()
    region = models.CharField(max_length=32)
    status = models.CharField(max_length=16)
    jobs = models.BigIntegerField()
    durations = ArrayField(models.BigIntegerField())

    class Meta:
        # For the day's total of all organizations. It is never written again, for a bump changes no day.
        indexes = [models.Index(fields=["day"], name="job_margin_of_day")]


class UsageTotal(models.Model):
    """What all organizations together used on a day of their own, as it was counted at some time: see `totals`.

    Of a day that runs a reading is kept every few minutes, so that another day can be compared with it as it then was.
    """

    pk = models.CompositePrimaryKey("day", "slot")
    day = models.DateField()
    slot = models.DateTimeField(help_text="The few minutes whose last reading it is.")
    counted_at = models.DateTimeField()
    organizations = models.BigIntegerField(help_text="Of which there was a request.")
    requests = models.BigIntegerField()
    pages = models.BigIntegerField()
    credits = models.DecimalField(max_digits=30, decimal_places=6)
    cost = models.DecimalField(max_digits=30, decimal_places=6)
    jobs = models.BigIntegerField(help_text="That have ended.")
    failed = models.BigIntegerField()


class PipelineDraft(models.Model):
    """A configuration taken from a job, or written anew, to be inspected, changed and kept under a name."""

    uid = uid_field("pip")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="pipeline_drafts")
    name = models.CharField(max_length=120)
    type = models.CharField(max_length=16, choices=JobType.choices, default=JobType.PIPELINE)
    text = models.TextField(help_text="JSON, as it was typed.")
    # What it was taken from, to show the difference.
    original = models.TextField(blank=True)
    job_id = models.CharField(max_length=128, blank=True)
    # Counts the changes: whoever changes it says which of them they saw.
    version = models.PositiveIntegerField(default=1)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["organization", "-created_at", "-id"], name="pipeline_draft_list")]

    def __str__(self) -> str:
        return self.name


class UsageAlert(models.Model):
    """A rule: tell the organization once a period when its usage reaches a number."""

    class Metric(models.TextChoices):
        PAGES = "pages"
        CREDITS = "credits"
        COST = "cost", "Cost ($)"

    class Period(models.TextChoices):
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    uid = uid_field("alr")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="usage_alerts")
    name = models.CharField(max_length=120, blank=True)
    metric = models.CharField(max_length=16, choices=Metric.choices)
    threshold = models.DecimalField(max_digits=20, decimal_places=6)
    period = models.CharField(max_length=16, choices=Period.choices)
    # Of one key, or of one product, or of everything.
    api_key = models.ForeignKey(ApiKey, models.CASCADE, null=True, blank=True, related_name="+")
    product = models.CharField(max_length=16, choices=Product.choices, blank=True)
    is_enabled = models.BooleanField(default=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # The organization's day since which it is as it is, and on: nobody is told of what was over before.
    in_force_from = models.DateField(default=date.today, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(threshold__gt=0), name="usage_alert_above_nothing"),
            models.UniqueConstraint(
                fields=["organization", "metric", "threshold", "period", "api_key", "product"],
                nulls_distinct=False,
                name="usage_alert_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.threshold.normalize():f} {self.metric} {self.period}"


class TriggeredAlert(models.Model):
    """That an alert fired for a period: once, whoever looked. `notified` keeps who was told, and how.

    It keeps the rule as it was then: a rule that is changed may fire again in the same period, once.
    """

    uid = uid_field("trg")
    alert = models.ForeignKey(UsageAlert, models.CASCADE, related_name="firings")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    metric = models.CharField(max_length=16, choices=UsageAlert.Metric.choices)
    period = models.CharField(max_length=16, choices=UsageAlert.Period.choices)
    period_start = models.DateField()
    scope = models.CharField(max_length=40, blank=True, help_text="A key's id, or a product; empty for all.")
    value = models.DecimalField(max_digits=30, decimal_places=6)
    threshold = models.DecimalField(max_digits=20, decimal_places=6)
    fired_at = models.DateTimeField(default=timezone.now, editable=False)
    told_at = models.DateTimeField(null=True, editable=False)
    notified = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["alert", "period_start", "period", "metric", "scope", "threshold"],
                name="triggered_alert_once_a_period",
            )
        ]
        indexes = [models.Index(fields=["fired_at"], condition=models.Q(told_at=None), name="untold_alerts")]

    def __str__(self) -> str:
        return f"{self.alert} for {self.period_start}"


class AlertMark(models.Model):
    """Up to when changes of usage have been looked at for alerts and caps. One row."""

    looked_until = models.DateTimeField()


class SpendCap(models.Model):
    """The most an organization will spend in a month of its own: verify refuses its keys from then on."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, primary_key=True, related_name="spend_cap"
    )
    amount = models.DecimalField(max_digits=20, decimal_places=2, help_text="Dollars a month.")
    reached_for = models.DateField(
        null=True, editable=False, help_text="First day of the month it was reached in."
    )
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"${self.amount} a month"


class UsageExportFile(models.Model):
    """A large export made in the background: asked for, made by a worker, fetched by a link until it expires."""

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    uid = uid_field("exp")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="usage_exports")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=16, help_text="jobs or records")
    filters = models.JSONField(default=dict)
    is_gzipped = models.BooleanField(default=False)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    # Whoever makes it renews this; a worker that died is followed by another.
    leased_until = models.DateTimeField(null=True, editable=False)
    rows = models.BigIntegerField(default=0)
    rows_expected = models.BigIntegerField(null=True)
    path = models.CharField(max_length=300, blank=True, editable=False)
    size = models.BigIntegerField(default=0)
    problem = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        indexes = [models.Index(fields=["organization", "-created_at", "-id"], name="usage_export_list")]

    def __str__(self) -> str:
        return self.uid


class BillingExportKey(models.Model):
    """Whose an idempotency key is in the air-gapped export, which knows no organizations: the first one's to use it.

    `digest` is the beginning of the key's SHA-256. Should two keys share one, a key is at worst qualified needlessly.
    It is never pruned, for whoever reads the files may remember keys for good: about 100 bytes a key.
    """

    digest = models.UUIDField(primary_key=True)
    organization_id = models.BigIntegerField()


class BillingExportRow(models.Model):
    """The queue of the air-gapped billing export: what was metered and not yet handed over. Written at ingest."""

    # As it is handed over: of a second organization with the same key, followed by `@` and the organization's id.
    idempotency_key = models.CharField(max_length=300)
    organization_id = models.BigIntegerField()
    type = models.CharField(max_length=16)
    num_pages = models.IntegerField()
    attributes = models.JSONField(null=True)
    timestamp = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["timestamp", "id"], name="billing_export_oldest_first")]

    def __str__(self) -> str:
        return self.idempotency_key


class BillingExportFile(models.Model):
    """A file of the air-gapped billing export, with the manifest by which its reader can tell that none is missing."""

    uid = uid_field("bef")
    name = models.CharField(max_length=200, unique=True)
    number = models.BigIntegerField(unique=True, help_text="Counts the files, without gaps.")
    num_records = models.BigIntegerField()
    first_timestamp = models.DateTimeField()
    last_timestamp = models.DateTimeField()
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    deleted_rows = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name
