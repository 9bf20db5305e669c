"""Periodic work. Each is a sweep: what one run missed, the next one finds."""

from celery import shared_task

from accounts import sessions


@shared_task
def clear_ended_sessions() -> None:
    sessions.clear_ended()
