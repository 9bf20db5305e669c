from typing import ClassVar

from django.db import models


class PeerJob(models.Model):
    organization_id = models.BigIntegerField()
    job_id = models.CharField(max_length=128)
    api_key_id = models.CharField(max_length=40)
    type = models.CharField(max_length=16)
    status = models.CharField(max_length=16)
    created_at = models.DateTimeField()
    duration = models.FloatField(null=True)
    num_pages = models.IntegerField(null=True)
    region = models.CharField(max_length=32)
    source = models.JSONField(null=True)
    config = models.JSONField(null=True)
    metadata = models.JSONField(null=True)

    objects: ClassVar[models.Manager["PeerJob"]] = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization_id", "job_id"], name="peer_job_once")]
        indexes = [models.Index(fields=["organization_id", "-created_at", "-id"], name="peer_job_log")]

    def __str__(self) -> str:
        return self.job_id


class PeerRecord(models.Model):
    organization_id = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=255)
    job_id = models.CharField(max_length=128)
    api_key_id = models.CharField(max_length=40)
    product = models.CharField(max_length=16)
    feature = models.CharField(max_length=32)
    file_type = models.CharField(max_length=32)
    pages = models.IntegerField()
    credits = models.DecimalField(max_digits=30, decimal_places=6)
    timestamp = models.DateTimeField()

    objects: ClassVar[models.Manager["PeerRecord"]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "idempotency_key"], name="peer_record_once")
        ]
        indexes = [models.Index(fields=["organization_id", "-timestamp", "-id"], name="peer_record_log")]

    def __str__(self) -> str:
        return self.idempotency_key


class PeerDay(models.Model):
    organization_id = models.BigIntegerField()
    day = models.DateField()
    api_key_id = models.CharField(max_length=40)
    product = models.CharField(max_length=16)
    feature = models.CharField(max_length=32)
    file_type = models.CharField(max_length=32)
    requests = models.BigIntegerField()
    pages = models.BigIntegerField()
    credits = models.DecimalField(max_digits=30, decimal_places=6)

    objects: ClassVar[models.Manager["PeerDay"]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "day", "api_key_id", "product", "feature", "file_type"],
                name="peer_day_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.day}"
