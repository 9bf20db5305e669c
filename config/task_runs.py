"""What the worker and beat tell of themselves, and what that says of each periodic task.

In one place, by Celery's signals, so that no task has to think of it. Only what `CELERY_BEAT_SCHEDULE` names is written
down: other tasks are done once, and whoever asked for them sees what became of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import Task, signals
from celery.schedules import crontab
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts import runs
from accounts.models import Run

BEAT, DELIVER = "beat", "deliver"
# Beat sends something every 20 s, and deliver says every 10 s that it lives.
SILENT_AFTER = timedelta(seconds=90)
# How late a task may be before it is called overdue: there may be much in the queue.
_LATE = timedelta(minutes=2)
_LATE_BY_CLOCK = timedelta(minutes=15)

_SCHEDULE: dict[str, dict[str, Any]] = settings.CELERY_BEAT_SCHEDULE
TASKS = frozenset(entry["task"] for entry in _SCHEDULE.values())


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────
@signals.task_prerun.connect
def _begin(task: Task[..., Any], **_: Any) -> None:
    if task.name in TASKS:
        runs.began(task.name)


@signals.task_postrun.connect
def _end(task: Task[..., Any], retval: Any, **_: Any) -> None:
    if task.name in TASKS:
        runs.ended(task.name, retval if isinstance(retval, BaseException) else None)


@signals.beat_init.connect
def _follow_beat(**_: Any) -> None:
    """Beat lives as long as it sends tasks, and Redis takes them."""
    pulse = runs.Pulse(BEAT)

    def beat(**_: Any) -> None:
        close_old_connections()  # nobody else does so in this process
        pulse.beat()

    signals.after_task_publish.connect(beat, weak=False)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Periodic:
    """A task of the schedule, and its last run."""

    entry: str
    task: str
    about: str
    schedule: str
    run: Run | None
    due_at: datetime | None
    is_overdue: bool

    @property
    def title(self) -> str:
        return self.entry.replace("-", " ").capitalize()

    @property
    def is_failing(self) -> bool:
        return bool(self.run and self.run.problem)

    @property
    def is_running(self) -> bool:
        run = self.run
        return bool(run and run.started_at and (run.ended_at is None or run.ended_at < run.started_at))

    @property
    def is_queued(self) -> bool:
        """Whether somebody asked for it and it has not begun since."""
        run = self.run
        return bool(run and run.asked_at and (run.started_at is None or run.started_at < run.asked_at))

    @property
    def took(self) -> timedelta | None:
        run = self.run
        if run is None or run.started_at is None or run.ended_at is None or self.is_running:
            return None
        return run.ended_at - run.started_at


@dataclass(frozen=True)
class Runs:
    """All that is known of periodic work, in one look."""

    tasks: list[Periodic]
    processes: dict[str, Run]

    def is_silent(self, process: str, *, now: datetime) -> bool:
        """A sign from ahead of now is of before the clock was put back: it says nothing of now."""
        run = self.processes.get(process)
        return run is None or run.seen_at is None or abs(now - run.seen_at) > SILENT_AFTER

    @property
    def last_begun(self) -> datetime | None:
        """When a worker last took up anything."""
        return max(
            (task.run.started_at for task in self.tasks if task.run and task.run.started_at), default=None
        )


def read(*, now: datetime | None = None) -> Runs:
    """What is known of each task and process: one question to the database."""
    now = now or timezone.now()
    found = Run.objects.in_bulk()
    tasks = [
        _periodic(name, entry, found.get(entry["task"]), found.get(BEAT), now)
        for name, entry in _SCHEDULE.items()
    ]
    return Runs(tasks, {name: found[name] for name in (BEAT, DELIVER) if name in found})


def _periodic(name: str, entry: dict[str, Any], run: Run | None, beat: Run | None, now: datetime) -> Periodic:
    schedule = entry["schedule"]
    # One that never ran is counted from when beat began, or not at all.
    last = (run and run.started_at) or (beat and beat.started_at)
    due_at = _next(schedule, last) if last else None
    late = _LATE_BY_CLOCK if isinstance(schedule, crontab) else max(_LATE, timedelta(seconds=2 * schedule))
    return Periodic(
        entry=name,
        task=entry["task"],
        about=_about(entry["task"]),
        schedule=in_words(schedule),
        run=run,
        due_at=due_at,
        is_overdue=due_at is not None and due_at + late < now,
    )


def _next(schedule: crontab | float, last: datetime) -> datetime:
    if isinstance(schedule, crontab):
        start, ahead, _ = schedule.remaining_delta(last)
        return start + ahead  # type: ignore[no-any-return]
    return last + timedelta(seconds=schedule)


def _about(task: str) -> str:
    """What a task does, as its docstring begins. A web process has not imported all of them."""
    return (import_string(task).run.__doc__ or "").strip().partition("\n")[0]


def in_words(schedule: crontab | float) -> str:
    """A schedule for people: every 30 seconds · hourly at :25 · daily at 04:20 UTC."""
    if not isinstance(schedule, crontab):
        return _every(int(schedule))
    hour, minute = schedule._orig_hour, schedule._orig_minute  # type: ignore[attr-defined]
    if str(minute).startswith("*/"):
        return _every(60 * int(str(minute)[2:]))
    if hour == "*":
        return f"hourly at :{int(minute):02}"
    return f"daily at {int(hour):02}:{int(minute):02} UTC"


def _every(seconds: int) -> str:
    number, unit = (seconds // 60, "minute") if seconds % 60 == 0 else (seconds, "second")
    return f"every {unit}" if number == 1 else f"every {number} {unit}s"
