"""Whether this process runs, and whether the whole of it can serve.

`/healthz` answers as long as the process does. `/readyz` answers 200 once everything a page needs is there, and names
each part; what is wrong with one goes to the log in full, and to the caller without addresses or passwords.
"""

import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.access import public

logger = logging.getLogger(__name__)

OK = "ok"


@public
@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


@public
@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    checks: dict[str, Callable[[], str]] = {"database": _database, "redis": _redis, "migrations": _migrations}
    if settings.DEMO:
        checks["demo"] = _demo
    parts = {name: check() for name, check in checks.items()}
    return JsonResponse(parts, status=200 if set(parts.values()) == {OK} else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("The database does not answer: %s", error)
        return "does not answer"
    return OK


def _redis() -> str:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except redis.RedisError as error:
        logger.warning("Redis does not answer: %s", error)
        return "does not answer"
    return OK


# Once applied, migrations stay applied, and looking takes most of a second.
_migrated = False


def missing_migrations() -> int:
    """How many migrations are not applied yet. Raises DatabaseError."""
    global _migrated
    if _migrated:
        return 0
    executor = MigrationExecutor(connection)
    missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    _migrated = not missing
    return missing


def _migrations() -> str:
    try:
        missing = missing_migrations()
    except DatabaseError:
        return "unknown while the database does not answer"
    return f"{missing} not applied yet" if missing else OK


def _demo() -> str:
    return OK if (settings.VAR_DIR / "demo.json").exists() else "still being made"
