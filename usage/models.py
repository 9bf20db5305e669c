"""What was asked for (jobs), what was used (records), the totals kept beside them, and what each customer may do.

The tables follow from measurements: `UsageRecord` is partitioned by month, `IdempotencyKey` by hash; the totals are
written in the transaction of the records they add up, so they agree at any moment. What ingest writes carries no
foreign key constraint: it would look up and lock the organization for every row. Partitioned tables and the
totals' composite keys are made by SQL in the first migration.
"""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.models import ApiKey, Organization


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
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["product", "feature", "effective_from"], name="credit_rate_version"
            ),
            models.CheckConstraint(
                name="credit_rate_not_negative",
                condition=models.Q(credits_per_unit__gte=0, minimum_credits__gte=0, batch_factor__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product} {self.feature} from {self.effective_from:%Y-%m-%d}"


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
    spend_cap_reached = models.BooleanField(default=False, editable=False)
    retention_days = models.PositiveIntegerField(default=90)

    def __str__(self) -> str:
        return f"{self.plan} of {self.organization}"

    @property
    def credits_remaining(self) -> Decimal | None:
        """Credits left, never below 0; None when nothing limits them."""
        if self.credits_ceiling is None:
            return None
        return max(self.credits_ceiling - self.credits_used, Decimal(0))


class PipelineConfig(models.Model):
    """A job's configuration as the JSON text it was reported in, kept once however many jobs ran with it."""

    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    sha256 = models.CharField(max_length=64)
    text = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "sha256"], name="pipeline_config_once")
        ]

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
    source = models.JSONField(null=True)
    config_sha256 = models.CharField(max_length=64, default="")
    webhook = models.JSONField(null=True)
    metadata = models.JSONField(null=True)
    error = models.JSONField(null=True)
    report_digest = models.CharField(max_length=64)
    updated_at = models.DateTimeField()

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "job_id"], name="job_once")]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="job_log"),
            models.Index(fields=["organization", "api_key", "-created_at", "-id"], name="job_log_of_key"),
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
