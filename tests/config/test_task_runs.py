"""What is written down of periodic tasks and processes, and what follows from it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from celery import signals
from celery.schedules import crontab
from django.conf import settings
from django.db import DatabaseError, connection

from accounts import runs, volatile
from accounts.audit import Actor
from accounts.models import Run, User
from accounts.tasks import save_last_used
from billing.tasks import tell_stripe_of_customer
from config import celery_app, sweeps, task_runs
from usage import margins
from usage.tasks import fold_margins

NOON = datetime(2026, 6, 18, 12, 0, 30, tzinfo=UTC)
FOLD = "usage.tasks.fold_margins"


def periodic(task: str, *, now: datetime = NOON) -> task_runs.Periodic:
    return next(each for each in task_runs.read(now=now).tasks if each.task == task)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> int:
        raise ValueError("olivia@example.com at redis://:hunter2@10.0.0.1\nand more")

    monkeypatch.setattr(margins, "fold", fail)


@pytest.mark.django_db
def test_each_task_says_by_itself_what_it_does() -> None:
    about = {task.task: task.about for task in task_runs.read(now=NOON).tasks}

    assert [task for task, words in about.items() if not words.endswith(".")] == []
    torn = ("The same", "Do so", "Do all of that", "Returns")
    assert [words for words in about.values() if any(each in words for each in torn)] == []
    assert len(set(about.values())) == len(about)


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_a_run_is_written_down() -> None:
    fold_margins.apply()

    run = Run.objects.get(name=FOLD)
    assert run.started_at and run.ended_at and run.started_at <= run.ended_at
    assert (run.problem, run.failing_since) == ("", None)


@pytest.mark.django_db
def test_a_failure_is_written_down_without_what_is_private(broken: None) -> None:
    fold_margins.apply()

    assert Run.objects.get(name=FOLD).problem == "ValueError: …@… at redis://…@10.0.0.1"


@pytest.mark.parametrize(
    ("words", "scrubbed"),
    [
        ("key ch_production_0123456789abcdefABCDEF of it", "key ch_production_0123… of it"),
        ('relation "webhooks_outboxmessage_old" is gone', 'relation "webhooks_outboxmessage_old" is gone'),
        ("signed by whsec_abcdefghijklmnopqrstuvwxyz", "signed by …"),
        (
            "invalid literal for int() with base 10: 'Meridian Freight'",
            "invalid literal for int() with base 10: …",
        ),
        ('invalid input syntax for type bigint: "Meridian"', "invalid input syntax for type bigint: …"),
        ("", ""),
    ],
)
def test_secrets_are_no_part_of_a_problem(words: str, scrubbed: str) -> None:
    assert runs.scrubbed(ValueError(words)) == f"ValueError: {scrubbed}".removesuffix(": ")


@pytest.mark.django_db
def test_it_fails_since_the_first_failure(broken: None) -> None:
    fold_margins.apply()
    first = Run.objects.get(name=FOLD).failing_since

    fold_margins.apply()

    assert first is not None
    assert Run.objects.get(name=FOLD).failing_since == first


@pytest.mark.django_db
def test_a_success_ends_the_failing(broken: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fold_margins.apply()
    monkeypatch.setattr(margins, "fold", lambda: 0)

    fold_margins.apply()

    run = Run.objects.get(name=FOLD)
    assert (run.problem, run.failing_since) == ("", None)


@pytest.mark.django_db
def test_what_is_done_once_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_stripe_of_customer, "run", lambda pk: None)

    tell_stripe_of_customer.apply((1,))

    assert not Run.objects.exists()


@pytest.mark.django_db
def test_a_task_is_done_although_nothing_can_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(Run.objects, "bulk_create", fail)
    monkeypatch.setattr(Run.objects, "filter", fail)

    assert save_last_used.apply().result == 0


@pytest.mark.django_db
def test_beat_lives_as_long_as_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runs, "close_old_connections", lambda: None)
    followed = list(signals.after_task_publish.receivers or [])
    task_runs._follow_beat()

    signals.after_task_publish.send(sender=FOLD)
    signals.after_task_publish.receivers = followed

    assert not task_runs.read().is_silent(task_runs.BEAT, now=datetime.now(UTC))


@pytest.mark.django_db
def test_a_process_writes_now_and_then_that_it_lives() -> None:
    pulse = runs.Pulse("deliver")

    pulse.beat()
    first = Run.objects.get(name="deliver").seen_at
    pulse.beat()

    assert first is not None
    assert Run.objects.get(name="deliver").seen_at == first


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "is_silent"), [(-60, False), (0, False), (3600, True)])
def test_a_sign_of_life_from_before_the_clock_was_put_back_is_none(seconds: int, is_silent: bool) -> None:
    Run.objects.create(name="beat", seen_at=NOON + timedelta(seconds=seconds))

    assert task_runs.read(now=NOON).is_silent("beat", now=NOON) == is_silent


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (30, "every 30 seconds"),
        (60, "every minute"),
        (300, "every 5 minutes"),
        (crontab(minute="5"), "hourly at :05"),
        (crontab(minute="*/10"), "every 10 minutes"),
        (crontab(hour="4", minute="20"), "daily at 04:20 UTC"),
    ],
)
def test_a_schedule_is_told_in_words(schedule: crontab | int, words: str) -> None:
    assert task_runs.in_words(schedule) == words


@pytest.mark.parametrize("entry", settings.CELERY_BEAT_SCHEDULE.values(), ids=lambda entry: entry["task"])
def test_every_schedule_there_is_has_words(entry: dict[str, crontab | int]) -> None:
    assert task_runs.in_words(entry["schedule"])


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "is_overdue"), [(1, False), (2, False), (4, True)])
def test_what_comes_every_minute_is_overdue_after_some(minutes: int, is_overdue: bool) -> None:
    Run.objects.create(name=FOLD, started_at=NOON - timedelta(minutes=minutes))

    assert periodic(FOLD).is_overdue == is_overdue


@pytest.mark.django_db
@pytest.mark.parametrize(("hours", "is_overdue"), [(2, False), (7, False), (9, True)])
def test_what_comes_by_the_clock_is_overdue_once_its_moment_has_passed(hours: int, is_overdue: bool) -> None:
    """It is due at 04:20, which lies between the last two."""
    Run.objects.create(name="accounts.tasks.prune_notifications", started_at=NOON - timedelta(hours=hours))

    assert periodic("accounts.tasks.prune_notifications").is_overdue == is_overdue


@pytest.mark.django_db
def test_what_never_ran_is_due_from_when_beat_began() -> None:
    assert periodic(FOLD).due_at is None
    Run.objects.create(name="beat", started_at=NOON - timedelta(minutes=30))

    assert periodic(FOLD).is_overdue


@pytest.mark.django_db
def test_it_is_queued_until_it_begins(staff: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_app, "send_task", lambda *_, **__: None)

    sweeps.run(task=FOLD, reason="margins look old", actor=Actor(staff))
    queued = periodic(FOLD).is_queued
    fold_margins.apply()

    assert queued
    assert not periodic(FOLD).is_queued


@pytest.mark.django_db
@pytest.mark.parametrize("seconds", [-11, 3600], ids=["after a while", "the clock was put back"])
def test_it_is_asked_for_again(staff: User, seconds: int) -> None:
    Run.objects.create(name=FOLD, asked_at=datetime.now(UTC) + timedelta(seconds=seconds))

    sweeps.run(task=FOLD, reason="again", actor=Actor(staff))


@pytest.mark.django_db
def test_nothing_waits_for_a_queue_that_is_away(staff: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery would wait for minutes, and with it whoever writes down the same task."""

    def away(_: object) -> None:
        raise volatile.Unavailable

    def wait(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(volatile, "ask", away)
    monkeypatch.setattr(celery_app, "send_task", wait)

    with pytest.raises(sweeps.QueueAway):
        sweeps.run(task=FOLD, reason="margins look old", actor=Actor(staff))

    assert not Run.objects.exists()


# ── A real worker ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A worker on this test's database and queue."""
    server, _ = os.environ["DATABASE_URL"].rsplit("/", 1)
    environment = os.environ | {"DATABASE_URL": f"{server}/{connection.settings_dict['NAME']}"}
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "config", "worker", "--pool", "solo"]
    process = subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"],
        cwd=settings.BASE_DIR,
        env=environment,
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_what_staff_ask_for_and_writes_it_down(
    staff: User, worker: subprocess.Popen[bytes]
) -> None:
    sweeps.run(task=FOLD, reason="margins look old", actor=Actor(staff))

    end = time.monotonic() + 60
    while not Run.objects.filter(name=FOLD, ended_at__isnull=False).exists():
        assert worker.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    run = Run.objects.get(name=FOLD)
    assert run.asked_at and run.started_at and run.asked_at <= run.started_at
    assert run.problem == ""
