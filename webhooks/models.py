"""The outbox, and the tables of the embedded engine, which stands in where no Svix server is configured.

The engine's rows mirror Svix's own words: application, endpoint, message, attempt. There is an application
for each organization that takes part, whatever the engine: it says since when, and signs what goes to a URL
that a job named.
"""

import base64
import json
import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from accounts.ids import new_uid
from accounts.models import Organization, User, uid_field
from accounts.words import Words
from webhooks import encryption

SECRET_BYTES = 24
MOST_OLD_SECRETS = 10
LONGEST_WAIT = timedelta(minutes=5)
LONGEST_ERROR = 2_000
# What stands for a payload that is gone, as a Svix server shows it.
EXPIRED = '{"expired":true}'


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def new_stored_secret() -> str:
    return encryption.encrypt(new_secret())


class Signing(models.Model):
    """Something whose messages are signed with a secret of its own."""

    stored_secret = models.TextField(default=new_stored_secret, editable=False)

    class Meta:
        abstract = True

    @property
    def secret(self) -> str:
        """The secret as its receiver knows it. Nothing else reads `stored_secret`."""
        return encryption.decrypt(self.stored_secret)

    @secret.setter
    def secret(self, secret: str) -> None:
        self.stored_secret = encryption.encrypt(secret)


class OutboxMessage(models.Model):
    """A message written in the transaction of its fact, until `deliver` has handed it to the engine.

    `uid` is the engine's `event_id`, so a second handing over is known for what it is. An organization's
    messages are handed over in the order of `id`; while the first is leased or waits, so do the rest.
    """

    uid = models.CharField(max_length=40, editable=False, default=partial(new_uid, "evt"))
    # No constraint: it would look up and lock the organization for every message of a batch.
    organization = models.ForeignKey(
        Organization, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    event_type = models.CharField(max_length=64)
    payload = models.TextField(help_text="The JSON text that is signed and sent.")
    channels = ArrayField(models.TextField(), null=True)
    url = models.TextField(default="", help_text="Where this message alone goes, when its job named a URL.")
    next_attempt_at = models.DateTimeField(default=timezone.now)
    attempts = models.IntegerField(default=0)
    last_error = models.TextField(default="")
    created_at = models.DateTimeField(default=timezone.now)
    handed_over_at = models.DateTimeField(null=True)
    refused_at = models.DateTimeField(null=True, help_text="When the engine said that it will never take it.")

    class Meta:
        # Of the staff; `config/staff_groups.py` says who has which.
        permissions: ClassVar[Any] = [
            ("resend_outboxmessage", "Can send a message again"),
            ("retry_outboxmessage", "Can have messages handed over again"),
        ]
        # As a constraint, for `unique=True` would bring a second index that nobody reads.
        constraints = [models.UniqueConstraint(fields=["uid"], name="outbox_uid")]
        indexes = [
            models.Index(fields=["organization", "-id"], name="outbox_of_organization"),
            models.Index(
                fields=["organization", "id"],
                name="outbox_waiting",
                condition=Q(handed_over_at=None, refused_at=None),
            ),
            models.Index(
                fields=["organization", "created_at"],
                name="outbox_refused_with_content",
                condition=Q(refused_at__isnull=False) & ~Q(payload=EXPIRED),
            ),
            models.Index(fields=["-id"], name="outbox_refused", condition=Q(refused_at__isnull=False)),
            BrinIndex(fields=["created_at"], name="outbox_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return self.uid

    def postpone(self, error: str) -> None:
        """Have it tried again, twice as much later each time, up to five minutes."""
        self.attempts += 1
        self.last_error = error[:LONGEST_ERROR]
        self.next_attempt_at = timezone.now() + min(
            timedelta(seconds=2 ** min(self.attempts, 20)), LONGEST_WAIT
        )
        self.save(update_fields=["attempts", "last_error", "next_attempt_at"])

    def refuse(self, error: str) -> None:
        """Give it up, because the engine will never take it."""
        self.attempts += 1
        self.last_error = error[:LONGEST_ERROR]
        self.refused_at = timezone.now()
        self.save(update_fields=["attempts", "last_error", "refused_at"])


class ApplicationQuerySet(models.QuerySet["Application"]):
    def subscribed(self) -> Self:
        return self.exclude(subscribed_at=None)


class Application(Signing):
    """An organization as the engine knows it. Its secret signs direct deliveries."""

    uid = uid_field("app")
    organization = models.OneToOneField(Organization, models.CASCADE, related_name="webhook_application")
    name = models.CharField(max_length=120)
    subscribed_at = models.DateTimeField(
        null=True, help_text="When the organization first had an endpoint; before, nothing is written for it."
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ApplicationQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    def existing(self) -> Self:
        """Those not deleted; deleted ones stay behind the attempts made to them."""
        return self.filter(deleted_at=None)

    def unwell(self) -> Self:
        """Those that are disabled, or have failed since their last success."""
        return self.existing().filter(Q(disabled=True) | Q(failing_since__isnull=False))


class Endpoint(Signing):
    """A URL that wants an organization's messages. None in `event_types` or `channels` means all of them."""

    uid = uid_field("ep")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    url = models.TextField()
    description = models.TextField(default="", blank=True)
    event_types = ArrayField(models.TextField(), null=True, blank=True)
    channels = ArrayField(models.TextField(), null=True, blank=True)
    # Svix's `uid`: a name of the caller's choice, which stands for the id in paths.
    own_name = models.CharField(max_length=256, null=True, editable=False)  # noqa: DJ001 (unique where there is one)
    metadata = models.JSONField(default=dict, editable=False)
    throttle_rate = models.PositiveIntegerField(
        null=True, blank=True, help_text="Messages a second at most; empty for no limit."
    )
    # The earliest moment for its next message, where the rate is limited.
    next_slot_at = models.DateTimeField(null=True, editable=False)
    # A JSON object of the headers that go with every message, encrypted, for some are passwords.
    stored_headers = models.TextField(default="", editable=False)
    # Those that were replaced: encrypted, each with the moment until which it goes on signing beside the new one.
    old_secrets = models.JSONField(default=list, editable=False)
    disabled = models.BooleanField(default=False)
    disabled_reason = models.CharField(max_length=300, default="", editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    # The first failure, and the first message given up, with no success since.
    failing_since = models.DateTimeField(null=True, editable=False)
    exhausted_since = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = EndpointQuerySet.as_manager()

    class Meta:
        permissions: ClassVar[Any] = [("replay_endpoint", "Can send an endpoint what it missed")]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "own_name"],
                name="endpoint_own_name",
                condition=Q(deleted_at=None),
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="endpoint_of_organization"),
            # Few of very many, of which staff are told.
            models.Index(
                fields=["failing_since"],
                name="endpoint_unwell",
                condition=(Q(disabled=True) | Q(failing_since__isnull=False)) & Q(deleted_at=None),
            ),
            GinIndex(Words("url"), name="endpoint_words"),
        ]

    def __str__(self) -> str:
        return self.url

    @property
    def receives(self) -> bool:
        return not self.disabled and self.deleted_at is None

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every message besides the engine's own headers."""
        return json.loads(encryption.decrypt(self.stored_headers)) if self.stored_headers else {}

    @headers.setter
    def headers(self, headers: dict[str, str]) -> None:
        self.stored_headers = encryption.encrypt(json.dumps(headers)) if headers else ""

    def signing_secrets(self, now: datetime) -> list[str]:
        """The secrets that sign a message sent now: the present one, then those replaced, the newest first."""
        return [self.secret, *(encryption.decrypt(old["secret"]) for old in reversed(self._in_force(now)))]

    def rotate(self, secret: str | None, *, grace: timedelta, now: datetime) -> bool:
        """Put another secret in place, a new one if none is given, and let the old ones sign on for a while.

        Without a grace period they all end. Says whether it did: not while too many old ones are in force.
        """
        replaced = {"secret": self.stored_secret, "expires_at": (now + grace).isoformat()}
        old = [*self._in_force(now), replaced] if grace else []
        if len(old) > MOST_OLD_SECRETS:
            return False
        self.old_secrets = old
        self.secret = secret or new_secret()
        self.save(update_fields=["stored_secret", "old_secrets", "updated_at"])
        return True

    def old_secrets_end(self, now: datetime) -> list[datetime]:
        """When each secret that was replaced and still signs stops, the last at the end."""
        return sorted(datetime.fromisoformat(old["expires_at"]) for old in self._in_force(now))

    def switch(self, *, disabled: bool, now: datetime, reason: str = "") -> None:
        """Turn it off or on, without saving. Turned on, it starts without a history of failures."""
        self.disabled = disabled
        self.disabled_at = now if disabled else None
        self.disabled_reason = reason
        if not disabled:
            self.failing_since = self.exhausted_since = None

    def _in_force(self, now: datetime) -> list[dict[str, str]]:
        return [old for old in self.old_secrets if datetime.fromisoformat(old["expires_at"]) > now]


class Message(models.Model):
    """A notice as the embedded engine took it in. `payload` is the text that each attempt signs and sends."""

    uid = uid_field("msg")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    event_id = models.CharField(max_length=256, null=True)  # noqa: DJ001 (unique where there is one)
    event_type = models.CharField(max_length=256)
    payload = models.TextField()
    channels = ArrayField(models.TextField(), null=True)
    # When its payload was erased: it is known of, and can no longer be sent.
    expunged_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "event_id"], name="message_once")]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="message_of_organization"),
            models.Index(fields=["organization", "event_type", "-created_at", "-id"], name="message_of_type"),
            models.Index(
                fields=["organization", "created_at"],
                name="message_with_content",
                condition=Q(expunged_at=None),
            ),
            BrinIndex(fields=["created_at"], name="message_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return self.uid


class Status(models.IntegerChoices):
    """Svix's numbers."""

    SUCCESS = 0
    PENDING = 1
    FAIL = 2
    SENDING = 3
    CANCELED = 4


# What was canceled, and is asked for again, waits like any other.
_WAITING_AGAIN = Case(
    When(status=Status.CANCELED, then=Value(Status.PENDING)),
    default=F("status"),
    output_field=models.SmallIntegerField(),
)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def send_now(self, message: Message, endpoint: Endpoint, *, is_manual: bool) -> None:
        """Have a message sent to an endpoint, once more if it was before, whatever the endpoint filters."""
        due = {"is_manual": is_manual, "next_attempt_at": TransactionNow()}  # by the queue's clock
        self.update_or_create(
            message=message,
            endpoint=endpoint,
            defaults=due | {"status": _WAITING_AGAIN},
            create_defaults=due
            | {
                "organization_id": message.organization_id,
                "lane": endpoint.pk,
                "created_at": message.created_at,
            },
        )

    def to_urls(self) -> Self:
        """Those to URLs that jobs named."""
        return self.filter(endpoint=None)

    def send_again(self) -> int:
        """Have these sent once more now, and not again if that fails. Returns how many they are."""
        return self.update(is_manual=True, next_attempt_at=TransactionNow(), status=_WAITING_AGAIN)


class Delivery(models.Model):
    """The queue: one row for each receiver of a message, due at `next_attempt_at`, finished when it is empty.

    Who claims a row moves `next_attempt_at` to the end of a lease, so what a dead worker had claimed falls
    due again. Deliveries of one `lane` share a limit of how many are under way: an endpoint's id, or for URLs that
    jobs named minus what stands for the organization and for one of sixteen parts of all hosts. So a host that hangs
    leaves most others of its organization alone, and no organization takes many lanes by naming many hosts.
    """

    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    message = models.ForeignKey(Message, models.CASCADE, related_name="deliveries", db_index=False)
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, null=True, related_name="+", db_index=False)
    url = models.TextField(default="", help_text="The URL that the job named; empty for an endpoint's.")
    lane = models.BigIntegerField()
    status = models.SmallIntegerField(choices=Status.choices, default=Status.PENDING)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, default=timezone.now)
    # Asked for by somebody: tried once, and not again if it fails.
    is_manual = models.BooleanField(default=False, db_default=False)
    # Claimed, and not recorded yet: as long as `next_attempt_at`, the end of the lease, lies ahead.
    is_under_way = models.BooleanField(default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["message", "endpoint"], name="delivery_once"),
            models.CheckConstraint(
                name="delivery_has_a_receiver",
                condition=Q(endpoint=None) & ~Q(url="") | Q(endpoint__isnull=False, url=""),
            ),
        ]
        indexes = [
            models.Index(
                fields=["lane", "next_attempt_at"],
                name="delivery_due",
                condition=Q(next_attempt_at__isnull=False),
            ),
            models.Index(
                fields=["lane"],
                name="delivery_under_way",
                condition=Q(is_under_way=True, next_attempt_at__isnull=False),
            ),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="delivery_of_endpoint"),
            models.Index(
                fields=["endpoint", "status", "-created_at", "-id"],
                name="delivery_unsuccessful",
                condition=Q(status__in=(Status.FAIL, Status.CANCELED)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.message} to {self.target_url}"

    @property
    def target_url(self) -> str:
        return self.endpoint.url if self.endpoint else self.url

    @property
    def receives(self) -> bool:
        if self.organization.deleted_at:
            return False
        return self.endpoint is None or self.endpoint.receives


class Attempt(models.Model):
    """One try to deliver. `status_code` is 0 when there was no answer; `response` then says why."""

    class Trigger(models.IntegerChoices):
        SCHEDULED = 0
        MANUAL = 1

    uid = uid_field("atmpt")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    message = models.ForeignKey(Message, models.CASCADE, related_name="attempts")
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, null=True, related_name="+", db_index=False)
    url = models.TextField()
    status = models.SmallIntegerField(choices=Status.choices)
    status_code = models.IntegerField()
    response = models.TextField(help_text="At most 20,000 bytes of it; base64 where it is not text.")
    duration_ms = models.IntegerField()
    trigger = models.SmallIntegerField(choices=Trigger.choices, default=Trigger.SCHEDULED)
    timestamp = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="attempt_of_organization"),
            models.Index(
                fields=["endpoint", "-timestamp", "-id"], name="attempt_of_endpoint", include=["status"]
            ),
            models.Index(
                fields=["endpoint", "-timestamp", "-id"],
                name="attempt_unsuccessful",
                condition=Q(status=Status.FAIL),
            ),
            models.Index(fields=["-id"], name="attempt_failed", condition=Q(status=Status.FAIL)),
            models.Index(fields=["-id"], name="attempt_manual", condition=Q(trigger=1)),
            BrinIndex(fields=["timestamp"], name="attempt_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return self.uid


class EndpointHour(models.Model):
    """How an hour's attempts at an endpoint went, counted when it is over: by the hour, for none is read twice."""

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    arrived = models.IntegerField()
    failed = models.IntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["endpoint", "hour"], name="endpoint_hour_once")]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.hour:%Y-%m-%d %H:%M}"


class ReplayQuerySet(models.QuerySet["Replay"]):
    def unfinished(self) -> Self:
        return self.filter(state__in=(Replay.State.COUNTING, Replay.State.SENDING))


class Replay(models.Model):
    """Sending what an endpoint missed, by a worker: first all is counted, then it is sent, oldest first.

    Who works on it moves `leased_until` ahead, so what a dead worker had begun is taken up again.
    """

    class State(models.TextChoices):
        COUNTING = "counting"
        SENDING = "sending"
        DONE = "done"
        FAILED = "failed"

    uid = uid_field("rpl")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+", db_index=False)
    endpoint_id = models.CharField(max_length=256, help_text="As the engine names it.")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    since = models.DateTimeField()
    until = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.COUNTING)
    total = models.IntegerField(default=0)
    sent = models.IntegerField(default=0)
    problem = models.TextField(default="")
    # Where the engine's list goes on.
    place = models.CharField(max_length=300, default="", editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = ReplayQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "endpoint_id"],
                name="replay_once_at_a_time",
                condition=Q(state__in=("counting", "sending")),
            )
        ]
        indexes = [models.Index(fields=["organization", "endpoint_id", "-id"], name="replay_of_endpoint")]

    def __str__(self) -> str:
        return self.uid

    @property
    def is_finished(self) -> bool:
        return self.state in (self.State.DONE, self.State.FAILED)


class CustomEventType(models.Model):
    """An event type that the embedded engine was told of, besides those of the catalogue in `events`."""

    name = models.CharField(max_length=256, unique=True)
    description = models.TextField(default="", blank=True)
    schemas = models.JSONField(null=True, blank=True)
    group_name = models.CharField(max_length=256, null=True, blank=True)  # noqa: DJ001 (null and "" differ to Svix)
    is_archived = models.BooleanField(default=False)
    is_deprecated = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class RememberedAnswer(models.Model):
    """What the embedded engine answered to a request with an idempotency key: the same request gets it again."""

    key = models.CharField(
        max_length=64, primary_key=True, help_text="SHA-256 of the key, the method and the path."
    )
    status = models.SmallIntegerField()
    body = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.key[:12]


class OperationalEvent(models.Model):
    """A Svix server's operational webhook that was heeded, so that it is once, however often it comes."""

    event_id = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event_id"], name="operational_event_once")]

    def __str__(self) -> str:
        return self.event_id
