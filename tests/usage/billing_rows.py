"""The air-gapped billing export in tests: rows in its queue, calls, and reading the files back."""

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.test import Client

from usage import files
from usage.billing_export import manifest_name
from usage.models import BillingExportFile, BillingExportRow

NOON = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
Json = dict[str, Any]


def queued(*keys: str, **fields: Any) -> list[BillingExportRow]:
    """Rows of three parsed pages, a minute apart in the order of their keys; name what differs."""
    return BillingExportRow.objects.bulk_create(
        BillingExportRow(
            **{
                "idempotency_key": key,
                "organization_id": 1,
                "type": "parse",
                "num_pages": 3,
                "timestamp": NOON + timedelta(minutes=minute),
            }
            | fields
        )
        for minute, key in enumerate(keys)
    )


def waiting() -> list[str]:
    """The keys of the rows in the queue, oldest first."""
    rows = BillingExportRow.objects.order_by("timestamp", "id")
    return list(rows.values_list("idempotency_key", flat=True))


def ask(client: Client, body: Any = None) -> HttpResponse:
    """Call the export with this body, as JSON or as it is."""
    data = body if isinstance(body, bytes) else json.dumps({} if body is None else body)
    response: Any = client.post("/billing-usage", data, content_type="application/json")
    return response


def answer(client: Client, **body: Any) -> Json:
    """Call the export, which must succeed."""
    response = ask(client, body)
    assert response.status_code == 200, response.content
    found: Json = json.loads(response.content)
    return found


def fetch(client: Client, url: str) -> bytes:
    """What a link to a folder's file leads to."""
    response: Any = client.get(url.removeprefix("http://127.0.0.1:8000"))
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def lines(packed: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode(), newline="")))


def keys(packed: bytes) -> list[str]:
    return [line["idempotency_key"] for line in lines(packed)]


def stored(name: str) -> bytes:
    with files.exports().open(name) as file:
        content: bytes = file.read()
    return content


def manifest_of(file: BillingExportFile) -> Json:
    found: Json = json.loads(stored(manifest_name(file.name)))
    return found
