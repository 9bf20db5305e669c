"""Answering the same request in the same way: what a request with an idempotency key did is not done again."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

import httpx
from django.db import connection, transaction
from django.utils import timezone

from webhooks.models import RememberedAnswer

KEPT = timedelta(hours=12)
# The SDK gives every request a key of its own, which only its own retries use again, and here there are none.
_OF_THE_SDK = "auto_"


def key_of(request: httpx.Request) -> str | None:
    """What stands for a request that wants to be done once; None for one that does not."""
    key = request.headers.get("idempotency-key")
    if request.method != "POST" or not key or key.startswith(_OF_THE_SDK):
        return None
    return hashlib.sha256(f"{key}\0{request.method}\0{request.url.raw_path.decode()}".encode()).hexdigest()


@transaction.atomic
def once(key: str, answer: Callable[[], httpx.Response]) -> httpx.Response:
    """Return the answer remembered for a key, or answer and remember that; refusals are not remembered.

    Two at once do not both act: the second waits for the first.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
    known = RememberedAnswer.objects.filter(key=key, created_at__gt=timezone.now() - KEPT).first()
    if known:
        return _response(known.status, known.body)
    response = answer()
    if response.is_success:
        body = response.content.decode()
        RememberedAnswer.objects.update_or_create(
            key=key, defaults={"status": response.status_code, "body": body, "created_at": timezone.now()}
        )
    return response


def prune() -> int:
    """Forget the answers that are too old to be given again, and return how many."""
    count, _ = RememberedAnswer.objects.filter(created_at__lte=timezone.now() - KEPT).delete()
    return count


def _response(status: int, body: str) -> httpx.Response:
    return httpx.Response(status, content=body, headers={"content-type": "application/json"})
