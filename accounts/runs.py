"""When periodic work last ran, and when the processes beside the web server last gave a sign of life.

Kept in the database and not in Redis, which is the queue: when that is lost, this is what tells since when nothing ran.
Writing it down never harms the work itself.
"""

import logging
from datetime import timedelta
from time import monotonic

from django.db import Error
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import Run
from accounts.redaction import without_private

logger = logging.getLogger(__name__)

ALIVE_EVERY = 10.0  # seconds
# Within it, asking for a piece of work twice is asking once.
ASKED_JUST_NOW = timedelta(seconds=10)
_LONGEST_PROBLEM = 300


class AskedJustNow(Exception):
    """Somebody has asked for it a moment ago."""


def began(name: str) -> None:
    """Write down that a piece of work begins."""
    _write(Run(name=name, started_at=timezone.now()), "started_at")


def ended(name: str, error: BaseException | None = None) -> None:
    """Write down that it has ended, and what it failed with."""
    now = timezone.now()
    since = Coalesce("failing_since", now) if error else None
    try:
        Run.objects.filter(name=name).update(
            ended_at=now, problem=scrubbed(error) if error else "", failing_since=since
        )
    except Error as failure:
        logger.warning("The end of %s is not written down: %s", name, failure)


class Pulse:
    """The signs of life of this process, from now on: one now and then, however often it is called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started_at = timezone.now()
        self._due_at = 0.0

    def beat(self) -> None:
        if monotonic() < self._due_at:
            return
        self._due_at = monotonic() + ALIVE_EVERY
        run = Run(name=self._name, started_at=self._started_at, seen_at=timezone.now())
        _write(run, "started_at", "seen_at")


def ask(name: str) -> Run:
    """Write down that a piece of work is asked for by hand. Raises AskedJustNow."""
    now = timezone.now()
    run, _ = Run.objects.get_or_create(name=name)
    # Ahead of now it was before the clock was put back.
    free = Q(asked_at=None) | Q(asked_at__lt=now - ASKED_JUST_NOW) | Q(asked_at__gt=now + ASKED_JUST_NOW)
    if not Run.objects.filter(free, name=name).update(asked_at=now):
        raise AskedJustNow
    return run


def scrubbed(error: BaseException) -> str:
    """An exception's class and the first line of its words, without what is private."""
    words = without_private(next(iter(str(error).splitlines()), ""))
    return f"{type(error).__name__}: {words}"[:_LONGEST_PROBLEM].removesuffix(": ")


def _write(run: Run, *fields: str) -> None:
    try:
        Run.objects.bulk_create(
            [run], update_conflicts=True, unique_fields=["name"], update_fields=list(fields)
        )
    except Error as failure:
        logger.warning("What %s does is not written down: %s", run.name, failure)
