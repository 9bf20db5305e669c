"""What each part of the system says of itself, for the back office's system page.

Each is asked for a moment only. One that does not answer is told as such, and keeps nobody from seeing the others.
"""

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import django
import psutil
import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from accounts.models import Run
from accounts.templatetags.display import lasting
from billing import inbox
from config import health
from config.celery import app
from config.task_runs import BEAT, DELIVER, Runs
from webhooks.gateway import is_embedded

PATIENCE = 0.7  # seconds for each of what is asked over a connection of its own
_STATEMENT_TIMEOUT = "1500ms"
_LONG_TRANSACTION = timedelta(minutes=10)
_LONG_QUERY = timedelta(minutes=5)
_LONG_QUEUE = 1_000
_FULL = 0.9


@dataclass(frozen=True)
class Fact:
    label: str
    value: str
    # What is wrong with it, and what to do.
    warning: str = ""


@dataclass(frozen=True)
class Part:
    """A part of the system. `problem` says why nothing is known of it."""

    title: str
    facts: list[Fact] = field(default_factory=list)
    problem: str = ""

    @property
    def is_well(self) -> bool:
        return not self.problem and not any(fact.warning for fact in self.facts)


def ask_all(runs: Runs, *, now: datetime | None = None) -> list[Part]:
    """Ask each part in turn."""
    now = now or timezone.now()
    redis_part = _asked("Redis", _redis)
    if redis_part.problem:  # the workers hear of questions through it
        workers = Part("Workers", problem="They cannot be asked while Redis does not answer.")
    else:
        workers = _asked("Workers", _workers)
    return [
        _asked("Database", lambda: _database(now)),
        redis_part,
        workers,
        Part("Beat", list(_process(runs, BEAT, "It gives the periodic tasks to the queue.", now))),
        Part("Deliver", list(_process(runs, DELIVER, "It sends webhooks.", now))),
        _asked("Web server", _web),
        _asked("Outside", _outside),
    ]


def _asked(title: str, question: Callable[[], Iterator[Fact]]) -> Part:
    try:
        return Part(title, list(question()))
    except (DatabaseError, redis.RedisError, OperationalError, OSError, psutil.Error) as error:
        # Not its words: they name addresses, and perhaps passwords.
        return Part(title, problem=f"It does not answer ({type(error).__name__}).")


# ── Database ─────────────────────────────────────────────────────────────────────────────────────────────────
_ACTIVITY = """
SELECT current_setting('server_version'), pg_database_size(current_database()),
       COUNT(*) FILTER (WHERE backend_type = 'client backend'), current_setting('max_connections')::int,
       MIN(xact_start) FILTER (WHERE pid <> pg_backend_pid() AND datname = current_database()),
       MIN(query_start) FILTER (
           WHERE pid <> pg_backend_pid() AND datname = current_database() AND state = 'active'
               AND backend_type = 'client backend'),
       (SELECT COUNT(*) FROM pg_stat_replication), pg_is_in_recovery()
FROM pg_stat_activity
"""


def _database(now: datetime) -> Iterator[Fact]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'")
        cursor.execute(_ACTIVITY)
        version, size, used, most, transaction_start, query_start, followers, is_follower = cursor.fetchone()
    yield Fact("Version", f"PostgreSQL {version}")
    yield Fact("Size", _bytes(size))
    yield Fact(
        "Connections",
        f"{used} of {most}",
        "Few are left: look for what holds them, or raise max_connections." if used > most * _FULL else "",
    )
    yield _running("Oldest transaction", transaction_start, _LONG_TRANSACTION, now)
    yield _running("Longest query", query_start, _LONG_QUERY, now)
    yield Fact(
        "Replication",
        f"{followers} follow it" if followers else "none",
        "This one only follows: nothing can be written." if is_follower else "",
    )
    missing = health.missing_migrations()
    yield Fact(
        "Migrations",
        f"{missing} not applied" if missing else "all applied",
        "Run `python manage.py migrate`." if missing else "",
    )


def _running(label: str, since: datetime | None, longest: timedelta, now: datetime) -> Fact:
    if since is None:
        return Fact(label, "none")
    runs_for = max(now - since, timedelta())
    warning = (
        "It keeps old rows from being cleaned away; pg_stat_activity names it." if runs_for > longest else ""
    )
    return Fact(label, lasting(runs_for), warning)


# ── Redis, and what hears through it ─────────────────────────────────────────────────────────────────────────
def _redis() -> Iterator[Fact]:
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
    ) as client:
        info = client.info()
        waiting, taken = client.llen(app.conf.task_default_queue), client.hlen("unacked")
    yield Fact("Version", info["redis_version"])
    yield Fact("Running for", lasting(timedelta(seconds=info["uptime_in_seconds"])))
    limit = info["maxmemory"]
    policy = info["maxmemory_policy"]
    yield Fact("Memory", f"{info['used_memory_human']} of {_bytes(limit) if limit else 'no limit'}")
    yield Fact(
        "When full",
        policy,
        "It throws away what it was given, tasks and limits among it: set maxmemory-policy to noeviction."
        if limit and policy != "noeviction"
        else "",
    )
    yield Fact("Kept on disk", _persistence(info))
    yield Fact(
        "Tasks waiting",
        f"{waiting:,}",
        "The workers do not keep up, or there is none." if waiting > _LONG_QUEUE else "",
    )
    yield Fact("Tasks taken by workers", f"{taken:,}")


def _persistence(info: dict[str, object]) -> str:
    if info.get("aof_enabled"):
        return "every write"
    saved = datetime.fromtimestamp(int(str(info.get("rdb_last_save_time", 0))), UTC)
    return f"last saved {saved:%-d %b, %H:%M} UTC"


def _workers() -> Iterator[Fact]:
    with app.connection_for_write(connect_timeout=PATIENCE) as broker:
        found = app.control.inspect(timeout=PATIENCE, connection=broker).active() or {}
    if not found:
        yield Fact("Answering", "none", "Nobody takes up tasks: start `celery --app config worker`.")
    for name, tasks in sorted(found.items()):
        busy = [f"{task['name'].rpartition('.')[2]} for {_seconds(task['time_start'])}" for task in tasks]
        yield Fact(name, "; ".join(busy) or "idle")


def _seconds(start: float | None) -> str:
    return f"{max(time.time() - start, 0):.0f} s" if start else "a moment"


def _process(runs: Runs, name: str, about: str, now: datetime) -> Iterator[Fact]:
    run = runs.processes.get(name) or Run(name=name)
    start = "python manage.py deliver" if name == DELIVER else "celery --app config beat"
    warning = f"{about} Start `{start}`." if runs.is_silent(name, now=now) else ""
    yield Fact("Last sign of life", _moment(run.seen_at, now), warning)
    yield Fact("Started", _moment(run.started_at, now))


def _moment(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "none yet"
    return f"{lasting(max(now - moment, timedelta()))} ago, {moment.astimezone(UTC):%-d %b, %H:%M:%S} UTC"


# ── This process, and what lies outside ──────────────────────────────────────────────────────────────────────
def _web() -> Iterator[Fact]:
    started = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    yield Fact("Versions", f"Django {django.get_version()}, Python {platform.python_version()}")
    yield Fact("Running for", lasting(timezone.now() - started))
    disk = shutil.disk_usage(settings.VAR_DIR)
    yield Fact(
        "Disk of VAR_DIR",
        f"{_bytes(disk.free)} free of {_bytes(disk.total)}",
        "It is nearly full." if disk.free < disk.total * (1 - _FULL) else "",
    )


def _outside() -> Iterator[Fact]:
    mail = urlsplit(settings.EMAIL_URL)
    yield Fact(
        "Mail", f"{mail.scheme} {mail.hostname or ''}" if settings.EMAIL_URL else "into the demo's mailbox"
    )
    mode = "live" if settings.STRIPE_LIVE_MODE else "test mode"
    yield Fact("Stripe", "the simulator" if settings.STRIPE_IS_SIMULATED else mode)
    yield Fact("Last event of Stripe's", _moment(inbox.last_event_at(), timezone.now()))
    yield Fact(
        "Webhooks",
        "the embedded engine" if is_embedded() else f"Svix at {urlsplit(settings.SVIX_SERVER_URL).hostname}",
    )
    exports = "an S3 bucket" if settings.AWS_STORAGE_BUCKET_NAME else "a folder of this machine"
    yield Fact("Files of exports", exports)


def _bytes(size: int) -> str:
    number = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"
