"""The catalogue: every event type that is sent, what it means, and what its payload looks like.

Payloads have the form of Standard Webhooks: `{"type", "timestamp", "data"}`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec


@dataclass(frozen=True)
class EventType:
    """`schema` is the JSON Schema of the payload's `data`, and `example` such data."""

    name: str
    description: str
    schema: dict[str, Any]
    example: dict[str, Any]


def _job_schema(status: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["job_id", "organization_id", "type", "status", "created_at"],
        "properties": {
            "job_id": {"type": "string", "description": "The job's id, as the API answered it."},
            "organization_id": {"type": "string"},
            "type": {
                "type": "string",
                "enum": ["Parse", "Extract", "Split", "Edit", "Pipeline", "Classify"],
            },
            "status": {"const": status},
            "created_at": {"type": "string", "format": "date-time"},
            "duration": {"type": ["number", "null"], "description": "Seconds."},
            "num_pages": {"type": ["integer", "null"], "description": "Pages processed."},
            "credits": {"type": "number", "description": "What it cost; 0 for a job that failed."},
            "region": {"type": "string"},
            "metadata": {"description": "What the caller gave the job to carry, unchanged."},
            "error": {"description": "Why the job failed; absent when it did not."},
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

_encode = msgspec.json.Encoder().encode
EVENT_TYPES = {event_type.name: event_type for event_type in (JOB_COMPLETED, JOB_FAILED)}


def utc(moment: datetime) -> str:
    """A time as messages tell it, such as `2026-06-18T09:30:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def payload(event_type: str, timestamp: datetime, data: dict[str, Any]) -> str:
    """Return the JSON text of a message. KeyError for a type that is not in the catalogue."""
    return _encode({"type": EVENT_TYPES[event_type].name, "timestamp": utc(timestamp), "data": data}).decode()
