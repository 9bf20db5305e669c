"""The system page: what answers, what does not, and running a periodic task out of its turn."""

import time
from collections.abc import Callable

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.audit import Action
from accounts.models import AuditEntry, Run, User
from config import celery_app, health, parts, staff_groups, task_runs, waiting
from tests.conftest import colleague, sign_in_verified

FOLD = "usage.tasks.fold_margins"
Page = Callable[[], str]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PATIENCE", 0.2)
    monkeypatch.setattr(health, "_migrated", True)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that are given to the queue."""
    found: list[str] = []
    monkeypatch.setattr(celery_app, "send_task", lambda name, **_: found.append(name))
    return found


@pytest.fixture
def page(back_office: Client) -> Page:
    return lambda: back_office.get(reverse("admin:system")).content.decode()


def run_url(task: str = FOLD) -> str:
    return reverse("admin:system_run", args=[task])


# ── Seeing ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_part_and_each_task_is_there(page: Page) -> None:
    shown = page()

    for part in ("Database", "Redis", "Workers", "Beat", "Deliver", "Web server", "Outside"):
        assert part in shown
    assert "PostgreSQL" in shown
    assert shown.count("Run now…") == len(django_settings.CELERY_BEAT_SCHEDULE)


def test_who_may_see_the_system_finds_it_in_the_sidebar(page: Page) -> None:
    assert f'href="{reverse("admin:system")}"' in page()


@pytest.mark.parametrize(
    ("groups", "status"), [((), 403), ((staff_groups.SUPPORT,), 403), ((staff_groups.ENGINEER,), 200)]
)
def test_it_is_for_those_who_may_see_the_system(db: None, groups: tuple[str, ...], status: int) -> None:
    client = Client()
    sign_in_verified(client, colleague("Sam", *groups))

    assert client.get(reverse("admin:system")).status_code == status
    link = f'href="{reverse("admin:system")}"' in client.get("/admin/").content.decode()
    assert link == (status == 200)


def test_who_may_only_look_has_no_buttons_and_is_refused(db: None, sent: list[str]) -> None:
    client, looking = Client(), colleague("Sam", staff_groups.SUPPORT)
    looking.user_permissions.add(Permission.objects.get(codename="view_system"))
    sign_in_verified(client, looking)

    assert "Database" in client.get(reverse("admin:system")).content.decode()
    assert "Run now…" not in client.get(reverse("admin:system")).content.decode()
    assert client.post(run_url(), {"reason": "because"}).status_code == 403
    assert sent == []


def test_a_failing_task_comes_first_with_its_problem(page: Page) -> None:
    now = timezone.now()
    Run.objects.create(
        name="webhooks.tasks.prune_webhooks",
        started_at=now,
        ended_at=now,
        problem="ValueError: no",
        failing_since=now,
    )

    shown = page()

    assert "failed: ValueError: no" in shown
    assert shown.index("Prune webhooks") < shown.index("Attach partitions")


def test_it_costs_the_same_whatever_is_written_down(
    back_office: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for task in task_runs.TASKS:
        Run.objects.create(name=task, started_at=timezone.now(), ended_at=timezone.now())

    # Of them four for each queue: a savepoint around the question, and its limit of time.
    with django_assert_max_num_queries(19 + 4 * len(waiting.QUEUES)):
        back_office.get(reverse("admin:system"))


# ── What does not answer ─────────────────────────────────────────────────────────────────────────────────────
def test_a_redis_that_is_away_is_told_as_such_without_its_address(page: Page, settings: Settings) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"

    shown = page()

    assert "It does not answer (ConnectionError)." in shown
    assert "They cannot be asked while Redis does not answer." in shown
    assert "hunter2" not in shown
    assert "PostgreSQL" in shown


def test_without_a_worker_the_page_is_there_soon_and_says_so(page: Page) -> None:
    begun = time.monotonic()

    shown = page()

    assert "Nobody takes up tasks" in shown
    assert time.monotonic() - begun < 10


def test_processes_that_were_never_seen_are_told_as_such(page: Page) -> None:
    shown = page()

    assert "It sends webhooks. Start `python manage.py deliver`." in shown
    assert "celery --app config beat" in shown


def test_a_redis_that_throws_things_away_is_told(page: Page, clean_redis: object) -> None:
    clean_redis.config_set("maxmemory", "512mb")  # type: ignore[attr-defined]
    clean_redis.config_set("maxmemory-policy", "allkeys-lru")  # type: ignore[attr-defined]
    try:
        assert "set maxmemory-policy to noeviction" in page()
    finally:
        clean_redis.config_set("maxmemory", "0")  # type: ignore[attr-defined]
        clean_redis.config_set("maxmemory-policy", "noeviction")  # type: ignore[attr-defined]


def test_no_password_of_a_mail_server_is_shown(page: Page, settings: Settings) -> None:
    settings.EMAIL_URL = "smtp+tls://postmaster:hunter2@mail.example.com:587"

    shown = page()

    assert "mail.example.com" in shown
    assert "hunter2" not in shown


# ── Running now ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_task_is_queued_with_a_reason_and_leaves_a_trace(
    back_office: Client, staff: User, sent: list[str]
) -> None:
    response = back_office.post(run_url(), {"reason": "margins look old"}, follow=True)

    assert sent == [FOLD]
    assert "It is queued." in response.content.decode()
    assert "queued by hand" in response.content.decode()
    entry = AuditEntry.objects.get(action=Action.SWEEP_RUN)
    assert (entry.actor, entry.target_name, entry.after) == (staff, FOLD, {"reason": "margins look old"})


def test_asking_twice_queues_once(back_office: Client, sent: list[str]) -> None:
    back_office.post(run_url(), {"reason": "margins look old"})
    response = back_office.post(run_url(), {"reason": "margins look old"}, follow=True)

    assert sent == [FOLD]
    assert "not queued a second time" in response.content.decode()
    assert AuditEntry.objects.filter(action=Action.SWEEP_RUN).count() == 1


def test_it_is_asked_first(back_office: Client, sent: list[str]) -> None:
    response = back_office.get(run_url())

    assert "Run now: Fold margins" in response.content.decode()
    assert sent == []


def test_without_a_reason_nothing_is_queued(back_office: Client, sent: list[str]) -> None:
    assert back_office.post(run_url(), {"reason": " "}).status_code == 400
    assert sent == []


def test_what_is_not_in_the_schedule_is_not_run(back_office: Client, sent: list[str]) -> None:
    url = run_url("billing.tasks.tell_stripe_of_customer")

    assert back_office.post(url, {"reason": "because"}).status_code == 404
    assert sent == []


def test_a_queue_that_is_away_leaves_no_trace(back_office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError

    monkeypatch.setattr(celery_app, "send_task", refuse)

    response = back_office.post(run_url(), {"reason": "margins look old"})

    assert response.status_code == 400
    assert "The queue does not answer. Nothing was asked for." in response.content.decode()
    assert not AuditEntry.objects.filter(action=Action.SWEEP_RUN).exists()
    assert not Run.objects.filter(asked_at__isnull=False).exists()
