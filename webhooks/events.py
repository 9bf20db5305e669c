"""The catalogue: every event type that is sent, what it means, and what its payload looks like.

Payloads have the form of Standard Webhooks: `{"type", "timestamp", "data"}`. A type that nothing sends is not in here,
for nobody should wait for it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec


@dataclass(frozen=True)
class EventType:
    """`schema` is the JSON Schema of the payload's `data`, and `example` such data.

    Fields may be added to a version; whoever takes one away or changes what it means begins the next.
    """

    name: str
    description: str
    schema: dict[str, Any]
    example: dict[str, Any]
    version: int = 1

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


_ORGANIZATION = {"type": "string", "description": "The organization that it concerns."}
_PERIOD_START = {"type": "string", "format": "date", "description": "The period's first day."}


def _job_schema(status: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["job_id", "organization_id", "type", "status", "created_at"],
        "properties": {
            "job_id": {"type": "string", "description": "The job's id, as the API answered it."},
            "organization_id": _ORGANIZATION,
            "type": {
                "type": "string",
                "enum": ["Parse", "Extract", "Split", "Edit", "Pipeline", "Classify"],
                "description": "What was to be done.",
            },
            "status": {"const": status, "description": "How it ended."},
            "created_at": {"type": "string", "format": "date-time", "description": "When it was asked for."},
            "duration": {"type": ["number", "null"], "description": "Seconds."},
            "num_pages": {"type": ["integer", "null"], "description": "Pages processed."},
            "credits": {"type": "number", "description": "What it cost; 0 for a job that failed."},
            "region": {"type": "string", "description": "Where it was done."},
            "metadata": {"description": "What the caller gave the job to carry, unchanged."},
            "error": {"description": "Why the job failed; absent when it did not."},
            "details_url": {
                "type": "string",
                "format": "uri",
                "description": "Only where metadata and error are too large to be sent, over about 20 kB: they are "
                "null here, and GET answers them with the job, to an API key.",
            },
        },
    }


_COMPLETED_JOB = {
    "job_id": "5f0c6f6a-7a1e-4d0f-9d4c-2b8f1f6f3a11",
    "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
    "type": "Parse",
    "status": "Completed",
    "created_at": "2026-03-04T09:30:00.000000Z",
    "duration": 4.2,
    "num_pages": 12,
    "credits": 24.0,
    "region": "eu-central-1",
    "metadata": {"invoice": "A-1017"},
}

JOB_COMPLETED = EventType(
    name="job.completed",
    description="A job has finished and its result can be fetched.",
    schema=_job_schema("Completed"),
    example=_COMPLETED_JOB,
)
JOB_FAILED = EventType(
    name="job.failed",
    description="A job has ended without a result. It is not charged.",
    schema=_job_schema("Failed"),
    example=_COMPLETED_JOB
    | {
        "status": "Failed",
        "num_pages": 0,
        "credits": 0.0,
        "error": {"message": "The document is password protected."},
    },
)

_SHARES: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["value"],
        "properties": {
            "api_key_id": {"type": ["string", "null"], "description": "Null for a key that is gone."},
            "name": {"type": "string"},
            "product": {"type": "string"},
            "value": {"type": "number"},
        },
    },
}
USAGE_ALERT_TRIGGERED = EventType(
    name="usage_alert.triggered",
    description="Usage has reached the threshold of an alert. Sent once a period.",
    schema={
        "type": "object",
        "required": ["alert_id", "organization_id", "metric", "threshold", "value", "period", "period_start"],
        "properties": {
            "alert_id": {"type": "string", "description": "The alert's id, as the API answers it."},
            "alert_name": {"type": "string", "description": "The name that it was given."},
            "firing_id": {"type": ["string", "null"], "description": "Null for a test."},
            "organization_id": _ORGANIZATION,
            "metric": {
                "type": "string",
                "enum": ["pages", "credits", "cost"],
                "description": "What the alert counts.",
            },
            "threshold": {"type": "number", "description": "From where on it fires; dollars for cost."},
            "value": {
                "type": "number",
                "description": "What was used when the alert fired; dollars for cost.",
            },
            "period": {
                "type": "string",
                "enum": ["daily", "weekly", "monthly"],
                "description": "How long it counts before it begins anew.",
            },
            "period_start": _PERIOD_START,
            "period_end": {"type": "string", "format": "date", "description": "The period's last day."},
            "api_key_id": {
                "type": ["string", "null"],
                "description": "The key that the alert looks at alone.",
            },
            "product": {"type": ["string", "null"], "description": "The product that it looks at alone."},
            "top_keys": _SHARES | {"description": "The keys that used the most, first the most."},
            "top_products": _SHARES | {"description": "The products that were used the most."},
            "is_test": {"type": "boolean", "description": "Somebody tests the alert: nothing was reached."},
        },
    },
    example={
        "alert_id": "alr_2nXw8rTfZ0aYcQ5LbKdM",
        "alert_name": "80 % of the month",
        "firing_id": "trg_7bUq1sVdE3kPzHx9RwGm",
        "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
        "metric": "pages",
        "threshold": 8000.0,
        "value": 8012.0,
        "period": "monthly",
        "period_start": "2026-03-01",
        "period_end": "2026-03-31",
        "api_key_id": None,
        "product": None,
        "top_keys": [{"api_key_id": "key_5sKq9rTfZ0aYcQ5LbKdM", "name": "checkout", "value": 7100.0}],
        "top_products": [{"product": "parse", "value": 8012.0}],
        "is_test": False,
    },
)
SPEND_CAP_REACHED = EventType(
    name="spend_cap.reached",
    description="An organization has spent what it allows itself in a month. Its keys are refused until the month "
    "ends, or until the cap is raised or removed.",
    schema={
        "type": "object",
        "required": ["organization_id", "amount", "spend", "period_start", "reached_until"],
        "properties": {
            "organization_id": _ORGANIZATION,
            "amount": {"type": "number", "description": "The cap, in dollars a month."},
            "spend": {"type": "number", "description": "Dollars spent this month."},
            "period_start": _PERIOD_START,
            "period_end": {"type": "string", "format": "date", "description": "The month's last day."},
            "reached_until": {"type": "string", "format": "date-time", "description": "When the month ends."},
        },
    },
    example={
        "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
        "amount": 500.0,
        "spend": 500.4,
        "period_start": "2026-03-01",
        "period_end": "2026-03-31",
        "reached_until": "2026-04-01T00:00:00.000000Z",
    },
)

_KEY_EXAMPLE = {
    "api_key_id": "key_5sKq9rTfZ0aYcQ5LbKdM",
    "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
    "name": "checkout",
    "last_four": "NmAs",
    "kind": "organization",
    "environment": "production",
}


def _key_schema(**fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*_KEY_EXAMPLE, *fields],
        "properties": {
            "api_key_id": {"type": "string", "description": "The key's id, as the API answers it."},
            "organization_id": _ORGANIZATION,
            "name": {"type": "string", "description": "The name that it was given."},
            "last_four": {
                "type": "string",
                "description": "The last characters of its secret; empty if unknown.",
            },
            "kind": {
                "type": "string",
                "enum": ["organization", "personal"],
                "description": "Whether it is the organization's or a member's own.",
            },
            "environment": {
                "type": "string",
                "enum": ["production", "staging", "development"],
                "description": "What it was made for.",
            },
            **fields,
        },
    }


API_KEY_EXPIRING = EventType(
    name="api_key.expiring",
    description="An API key will stop working soon. Sent 30 days, 7 days and 1 day before, where its life is longer "
    "than that.",
    schema=_key_schema(
        expires_at={"type": "string", "format": "date-time", "description": "When it stops working."},
        days_left={
            "type": "integer",
            "description": "How near the end is: at most so many days.",
            "minimum": 1,
        },
    ),
    example=_KEY_EXAMPLE | {"expires_at": "2026-03-11T00:00:00.000000Z", "days_left": 7},
)
API_KEY_REVOKED = EventType(
    name="api_key.revoked",
    description="An API key has been ended for good: requests with it are refused.",
    schema=_key_schema(
        revoked_at={"type": "string", "format": "date-time", "description": "When it was ended."}
    ),
    example=_KEY_EXAMPLE | {"revoked_at": "2026-03-04T09:30:00.000000Z"},
)
API_KEY_LEAKED = EventType(
    name="api_key.leaked",
    description="The secret of an API key was found where others can read it, and works no longer.",
    schema=_key_schema(
        place={"type": "string", "description": "Where it was found, in words or as an address."},
        is_revoked={
            "type": "boolean",
            "description": "False where only the secret before the last rotation was found: the key goes on.",
        },
    ),
    example=_KEY_EXAMPLE | {"place": "https://github.com/example/shop/blob/main/.env", "is_revoked": True},
)

_CREDITS_EXAMPLE = {
    "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
    "remaining": 18_400.0,
    "granted": 100_000.0,
    "overage_allowed": True,
}


def _credits_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(_CREDITS_EXAMPLE),
        "properties": {
            "organization_id": {"type": "string"},
            "remaining": {"type": "number", "description": "Credits left."},
            "granted": {
                "type": "number",
                "description": "How many credits there were in the grants that are not used up.",
            },
            "overage_allowed": {
                "type": "boolean",
                "description": "Whether calls go on once none are left, and are billed; otherwise they are refused.",
            },
        },
    }


CREDITS_LOW = EventType(
    name="credits.low",
    description="No more than a fifth of an organization's credits is left. Sent once, until more credits come.",
    schema=_credits_schema(),
    example=_CREDITS_EXAMPLE,
)
CREDITS_DEPLETED = EventType(
    name="credits.depleted",
    description="An organization has used up its credits. Sent once, until more credits come.",
    schema=_credits_schema(),
    example=_CREDITS_EXAMPLE | {"remaining": 0.0},
)

_INVOICE_EXAMPLE = {
    "invoice_id": "ivc_8dRw2kTfZ0aYcQ5LbKdM",
    "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
    "number": "CH-0042",
    "currency": "usd",
    "total": 811.5,
    "amount_paid": 811.5,
    "amount_due": 0.0,
    "period_start": "2026-02-04T09:30:00.000000Z",
    "period_end": "2026-03-04T09:30:00.000000Z",
}


def _invoice_schema(**fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*_INVOICE_EXAMPLE, *fields],
        "properties": {
            "invoice_id": {"type": "string"},
            "organization_id": {"type": "string"},
            "number": {"type": "string", "description": "As it stands on the invoice."},
            "currency": {"type": "string"},
            "total": {"type": "number", "description": "In the currency, as the other amounts."},
            "amount_paid": {"type": "number"},
            "amount_due": {"type": "number"},
            "period_start": {"type": ["string", "null"], "format": "date-time"},
            "period_end": {"type": ["string", "null"], "format": "date-time"},
            **fields,
        },
    }


INVOICE_PAID = EventType(
    name="invoice.paid",
    description="An invoice has been paid.",
    schema=_invoice_schema(paid_at={"type": ["string", "null"], "format": "date-time"}),
    example=_INVOICE_EXAMPLE | {"paid_at": "2026-03-04T09:30:00.000000Z"},
)
INVOICE_PAYMENT_FAILED = EventType(
    name="invoice.payment_failed",
    description="The payment of an invoice was tried, and failed. Sent after each try.",
    schema=_invoice_schema(
        attempts={"type": "integer", "minimum": 1, "description": "How often it was tried."},
        next_attempt_at={
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it is tried again by itself; null for never.",
        },
    ),
    example=_INVOICE_EXAMPLE
    | {
        "amount_paid": 0.0,
        "amount_due": 811.5,
        "attempts": 1,
        "next_attempt_at": "2026-03-07T09:30:00.000000Z",
    },
)
SUBSCRIPTION_UPDATED = EventType(
    name="subscription.updated",
    description="What an organization is subscribed to has changed: its plan, how it is paid, or when it ends.",
    schema={
        "type": "object",
        "required": ["organization_id", "plan", "interval", "status", "renews_at", "ends_at", "next_plan"],
        "properties": {
            "organization_id": {"type": "string"},
            "plan": {"type": "string", "description": "By its short name, as `pro`."},
            "interval": {
                "enum": ["month", "year", None],
                "description": "How the plan is paid; null where only usage is.",
            },
            "status": {
                "type": "string",
                "description": "`none` for prepaid, `invoiced` where it is invoiced by hand, otherwise as Stripe says: "
                "`active`, `past_due`, `unpaid`, `canceled`…",
            },
            "renews_at": {"type": ["string", "null"], "format": "date-time"},
            "ends_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "When the plan ends, where it was asked to.",
            },
            "next_plan": {"type": ["string", "null"], "description": "What follows then; null for nothing."},
        },
    },
    example={
        "organization_id": "org_4Fz0kQw1dXv8mN2bT7yR",
        "plan": "pro",
        "interval": "month",
        "status": "active",
        "renews_at": "2026-04-04T09:30:00.000000Z",
        "ends_at": None,
        "next_plan": None,
    },
)

_encode = msgspec.json.Encoder().encode
EVENT_TYPES = {
    event_type.name: event_type
    for event_type in (
        JOB_COMPLETED,
        JOB_FAILED,
        USAGE_ALERT_TRIGGERED,
        SPEND_CAP_REACHED,
        API_KEY_EXPIRING,
        API_KEY_REVOKED,
        API_KEY_LEAKED,
        CREDITS_LOW,
        CREDITS_DEPLETED,
        INVOICE_PAID,
        INVOICE_PAYMENT_FAILED,
        SUBSCRIPTION_UPDATED,
    )
}


def utc(moment: datetime) -> str:
    """A time as messages tell it, such as `2026-06-18T09:30:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def payload(event_type: str, timestamp: datetime, data: dict[str, Any]) -> str:
    """Return the JSON text of a message. KeyError for a type that is not in the catalogue."""
    return _encode({"type": EVENT_TYPES[event_type].name, "timestamp": utc(timestamp), "data": data}).decode()
